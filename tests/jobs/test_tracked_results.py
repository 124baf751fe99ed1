"""From run ids to results: whatever stage a run is of, its own model's results are found, and no other's."""

from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from eval.mmeb import MmebResult
from eval.results import Provenance, write_result
from eval.run_report.ablations import found_ablations
from eval.run_report.papers import ablation_tables
from jobs.evaluate import FEWER, TRAINED, UNTRAINED
from jobs.tracked_results import measured_by
from launchers.cli import group
from pipeline.errors import PipelineError
from pipeline.manifest import Manifest
from pipeline.recipe_json import course_values, recipe_fingerprint
from pipeline.recipes import load
from pipeline.stage_folder import mark_begun
from pipeline.tracking import PARENT_RUN_TAG, finished_runs, start_run
from tests.eval.run_report.measured_models import answers, retrieval


class Work:
    """A work folder whose stages left what they leave, with runs in a store; nothing was trained."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.uri = f"sqlite:///{root}/mlflow.db"
        self.runs: dict[str, str] = {}

    def note(
        self, name: str, stage: str, *, recipe: str = "crem_2b", metrics: dict[str, float] | None = None, **more: str
    ) -> str:
        """A finished run of a stage. `more` are tags, with __ for a dot."""
        tags = {
            "crem.work": str(self.root),
            "crem.data": str(self.root / "data"),
            "crem.recipe": recipe,
            "crem.recipe_fingerprint": recipe_fingerprint(load(recipe)),
            **{key.replace("__", "."): value for key, value in more.items()},
        }
        with start_run(uri=self.uri, stage=stage, tags=tags) as tracker:
            tracker.log_params({"recipe": course_values(load(recipe))})
            tracker.log_metrics(metrics or {})
        self.runs[name] = tracker.run_id
        return tracker.run_id

    def write(self, folder: str, result: MmebResult, model: str) -> Path:
        place = self.root / folder
        made_of = Provenance(model=model, data="d", settings={}, libraries={})
        write_result(replace(result, provenance=made_of), place / "mmeb.json")
        return place


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    found = Work(tmp_path_factory.mktemp("tracked"))
    main = found.root / "eval" / "main"
    chain = found.note("chain", "run")
    train = found.note("train", "train", metrics={"train/pairs_per_second": 12.5}, crem__output=str(found.root / "train"))
    old = found.note("old", "evaluate", crem__parent__train="gone", crem__output=str(main))
    noted = {"step": 7.0, "eval/trained/hit_at_1/overall": 0.7}
    own = {"crem.parent.train": train, "crem.output": str(main), PARENT_RUN_TAG: chain}
    evaluate = found.note("evaluate", "evaluate", metrics=noted, **{key.replace(".", "__"): value for key, value in own.items()})
    found.note("convert", "convert")
    changed = {"crem__recipe_fingerprint": "other", "crem__parent__train": "none"}
    found.note("changed", "evaluate", recipe="crem_2b_mlp", metrics=noted, **changed)
    found.write(f"eval/main/{TRAINED}", retrieval(0.7), "m")
    found.write(f"eval/main/{UNTRAINED}", retrieval(0.1), "u")
    found.write(f"eval/main/{FEWER.format(4)}", retrieval(0.6), "m4")
    mark_begun(main, "f", evaluate)
    Manifest(stage="evaluate", fingerprint="f", run_id=evaluate).write(main)
    by_hand = found.write(f"eval/{train}", retrieval(0.3), "m")
    made_of = Provenance(model="m", data="d", settings={}, libraries={})
    write_result(replace(answers(0.5, "MMStar"), provenance=made_of), by_hand / "MMStar-native.json")
    assert old
    return found


@pytest.mark.parametrize("name", ["evaluate", "train", "chain"])
def test_each_kind_of_run_leads_to_its_model(work: Work, name: str) -> None:
    found = measured_by(work.uri, work.runs[name])
    assert found.results.retrieval is not None and found.results.retrieval.overall.value == 0.7
    assert found.untrained is not None and found.untrained.retrieval is not None
    assert found.untrained.retrieval.overall.value == 0.1
    assert list(found.fewer) == [4] and found.tokens == 16
    assert found.lineage.trained_by == work.runs["train"] and found.speed["train/pairs_per_second"] == 12.5
    assert set(found.results.questions["native"]) == {"MMStar"}, "what was measured by hand of the same model stands beside"
    assert not found.lineage.other and not found.lineage.is_toy
    if name != "train":
        assert found.lineage.checkpoint.endswith("train/checkpoints/step-00000007")


def test_results_of_another_model_are_not_mixed_in(work: Work, tmp_path: Path) -> None:
    place = work.root / "eval" / work.runs["train"] / "MMStar-native.json"
    kept = place.read_text()
    place.write_text(kept.replace('"model": "m"', '"model": "later"'))
    try:
        found = measured_by(work.uri, work.runs["evaluate"])
        assert found.results.retrieval is not None and not found.results.questions["native"]
    finally:
        place.write_text(kept)


@pytest.mark.parametrize(
    ("run", "said"),
    [("convert", "a run of convert"), ("old", "crem evaluate measures it"), ("none", "not found in")],
)
def test_what_leads_nowhere_is_said(work: Work, run: str, said: str) -> None:
    with pytest.raises(PipelineError, match=said):
        measured_by(work.uri, work.runs.get(run, "0" * 32))


def test_runs_are_found_by_their_tags(work: Work) -> None:
    found = finished_runs(work.uri, {"crem.stage": "evaluate", "crem.recipe": "crem_2b"})
    assert [each.run_id for each in found] == [work.runs["evaluate"], work.runs["old"]], "the newest first"
    assert found[0].metrics["step"] == 7.0 and found[0].params["recipe.tokens.count"] == "16"
    with pytest.raises(PipelineError, match="no run store"):
        finished_runs(f"sqlite:///{work.root}/none.db", {})
    with pytest.raises(PipelineError, match="cannot be searched"):
        finished_runs(work.uri, {"crem.stage": "it's"})
    assert not (work.root / "none.db").exists()


def test_ablations_are_runs_with_the_values_of_their_name(work: Work) -> None:
    found = found_ablations(work.uri, ablation_tables())
    assert set(found) == {"crem_2b"}, "crem_2b_mlp was run with other values"
    assert found["crem_2b"].lineage.run_id == work.runs["evaluate"]
    assert found["crem_2b"].figures["MMEB"].value == pytest.approx(70.0)


def test_the_command_writes_page_and_tables(work: Work, tmp_path: Path) -> None:
    run_id = work.runs["evaluate"]
    given = ["report", "--work", str(work.root), "--run-id", run_id, "--run-id", f"{work.root}:{work.runs['chain']}"]
    done = CliRunner().invoke(group, [*given, "--out", str(tmp_path / "out")])
    assert done.exit_code == 0, done.output
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == ["figures.csv", "lineage.csv", "report.html"]
    assert f"crem_2b ({run_id[:8]})" in (tmp_path / "out" / "report.html").read_text()
    for wrong in (given, ["report", "--out", str(tmp_path)]):
        assert CliRunner().invoke(group, wrong).exit_code == 2
