"""A published folder under its preset, by the command: from the files on disk to the result."""

import json
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner, Result

from eval import mmeb
from eval.estimate import forecast
from eval.retrieval_set import retrieval_sets
from pipeline.data.mmeb_eval import read_eval
from pipeline.foreign import load_foreign
from pipeline.presets import GME, VLM2VEC_V2
from tests.eval.fakes import write_eval, write_pictures
from tests.pipeline.conftest import model_folder as model_folder
from tests.pipeline.corpus import picture, sentence

FIND = "Find a news image that matches the provided caption: "


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Captions look for pictures; the six queries share an instruction."""
    root, rng = tmp_path_factory.mktemp("data"), np.random.default_rng(5)
    names = [f"a/{number}.png" for number in range(6)]
    write_pictures(root, {name: picture(rng, 56, 56 + 28 * (number % 2)) for number, name in enumerate(names)})
    rows = [(f"{FIND}{sentence(rng)}\n", "", ["<|image_1|>\nRepresent the given image.\n"] * 6, names) for _ in names]
    write_eval(root, "EDIS", rows)
    return root


def measured(model_folder: Path, data: Path, work: Path, *more: str) -> Result:
    given = ["--model", str(model_folder), "--data", str(data), "--work", str(work), *more]
    return CliRunner().invoke(mmeb.main, given)


def vectors(cache: Path) -> np.ndarray:
    """All that a folder of kept embeddings holds (N, D)."""
    found = []
    for block in cache.rglob("*.block"):
        with block.open("rb") as file:
            np.load(file)
            found.append(np.load(file))
    return np.concatenate(found)


def test_a_published_folder_is_measured_with_its_own_prompt(model_folder: Path, data: Path, tmp_path: Path) -> None:
    for preset in (GME, VLM2VEC_V2):
        shown = measured(model_folder, data, tmp_path, "--preset", preset.name)
        assert shown.exit_code == 0, shown.output
        (out,) = (tmp_path / "eval").glob(f"*-{preset.name}")
        result = json.loads((out / "mmeb.json").read_text())
        assert result["provenance"]["model"].startswith(f"{preset.name} ")
        model, eval_set = load_foreign(model_folder, preset), read_eval(data, "EDIS")
        queries = model.embed([preset.query(side, "EDIS") for side in eval_set.queries])
        candidates = model.embed([preset.candidate(side, "EDIS") for side in eval_set.candidates])
        scores = [candidates[list(pool)] @ query for query, pool in zip(queries, eval_set.pools, strict=True)]
        assert result["datasets"][0]["ranks"]["better"] == [int((own > own[0]).sum()) for own in scores]
        kept = vectors(tmp_path / "embeddings")
        for embedding in (*queries, *candidates):
            assert np.abs(kept - embedding).max(axis=1).min() < 1e-5
    assert len(list((tmp_path / "embeddings").iterdir())) == 2, "embeddings of two presets are kept apart"


def test_a_dry_run_counts_what_the_preset_is_shown(model_folder: Path, data: Path) -> None:
    texts = [
        forecast(load_foreign(model_folder, preset), retrieval_sets(data, preset=preset)).splitlines()[1].split()
        for preset in (GME, VLM2VEC_V2)
    ]
    assert texts[0][:3] == texts[1][:3] == ["EDIS", "12", "12"] and texts[0][3] != texts[1][3]


@pytest.mark.parametrize(
    ("given", "complaint"),
    [
        (("--preset", "gme", "--recipe", "tiny"), "error: --preset: reads a folder that others published"),
        (("--preset", "gme", "--base", "b"), "is no adapter (adapter_config.json), so it has no base"),
        (("--base", "b"), "error: --base: belongs to an adapter that others published; name its --preset too"),
    ],
)
def test_options_that_do_not_belong_together(
    given: tuple[str, ...], complaint: str, model_folder: Path, data: Path, tmp_path: Path
) -> None:
    shown = measured(model_folder, data, tmp_path, *given)
    assert shown.exit_code == 1 and complaint in str(shown.exception) and "\n" not in str(shown.exception)


def test_a_folder_that_is_not_there_is_one_line(data: Path, tmp_path: Path) -> None:
    shown = measured(tmp_path / "none", data, tmp_path, "--preset", "gme")
    assert str(shown.exception) == f"error: {tmp_path}/none: no such folder; name the folder of a published model"
