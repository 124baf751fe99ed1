"""A trained model in MLflow's registry: which files it is, of which run, in which version."""

from pathlib import Path

import pytest

from pipeline.errors import PipelineError
from pipeline.manifest import tree_digest
from pipeline.tracking import register, start_run
from pipeline.tracking.store import open_store


def test_a_model_is_registered_with_its_files_and_its_run(store: str, tmp_path: Path) -> None:
    with start_run(uri=store, stage="train") as tracker:
        pass
    for version, weights in (("1", "old"), ("2", "new")):
        (tmp_path / "model.safetensors").write_text(weights)
        assert register(store, "crem", tmp_path, run_id=tracker.run_id, tags={"crem.form": "merged"}) == version
    for version, weights in (("1", "old"), ("2", "new")):
        found = open_store(store).get_model_version("crem", version)
        assert (found.run_id, found.tags["crem.form"]) == (tracker.run_id, "merged")
        copied = Path(str(found.source).removeprefix("file://"))
        assert (copied / "model.safetensors").read_text() == weights, "an earlier version keeps its files"
    assert found.tags["crem.content"] == tree_digest(tmp_path)


def test_a_model_of_no_run_is_refused(store: str, tmp_path: Path) -> None:
    with pytest.raises(PipelineError, match=r"--register crem: sqlite.* did not take it .*run abc is not in this store"):
        register(store, "crem", tmp_path, run_id="abc", tags={})
