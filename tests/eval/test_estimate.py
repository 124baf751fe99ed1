"""What an evaluation will take, against what torch counts while the model embeds."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from eval import mmeb
from eval.estimate import Estimate, estimate, forecast, table
from eval.retrieval_set import retrieval_sets
from pipeline.data.mmeb_eval import read_eval
from pipeline.data.mmeb_registry import META, NOT_COUNTED
from pipeline.export import export
from pipeline.foreign import load_foreign, outline_foreign
from pipeline.inference import EmbeddingModel
from pipeline.merged import load_merged
from pipeline.model.adapters import LoRA
from pipeline.outlined import outline_merged
from pipeline.presets import GME
from pipeline.recipe import Recipe
from pipeline.train.flops import Cost
from pipeline.train.forecast.gpus import GPUS
from tests.eval.fakes import write_eval
from tests.pipeline.conftest import model_folder as model_folder
from tests.pipeline.conftest import recipe as recipe
from tests.pipeline.encode.test_encode_ranks import benchmark
from tests.pipeline.exports import save_moved
from tests.pipeline.train.counted import counting


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return benchmark(tmp_path_factory.mktemp("data"))


@pytest.fixture(scope="module")
def model(model_folder: Path, recipe: Recipe) -> EmbeddingModel:
    return load_merged(model_folder, recipe=recipe)


def test_operations_are_those_that_torch_counts(model: EmbeddingModel, data: Path) -> None:
    """Each side alone, attention left out: torch's formula for it knows no causal mask. The rest agrees to a thousandth."""
    eval_set = read_eval(data, "finding")
    cost = Cost.of(model.embedder)
    every = [*eval_set.queries, *eval_set.candidates]
    found = estimate(model, "finding", every, cost)
    sides = list(dict.fromkeys(every))
    assert (found.sides, found.distinct) == (12, len(sides)) == (12, 12)
    twice = estimate(model, "finding", [*eval_set.queries, *every], cost)
    assert twice == replace(found, sides=18), "equal contents are embedded once"
    rows = [model.reader.row(side, slot=0) for side in sides]
    assert found.tokens == sum(len(row.sequence) for row in rows)
    with counting(attention=False) as counted:
        model.embed(sides[:0])
        for side in sides:
            model.embed([side])
        projections = counted()
    lengths = np.array([len(row.sequence) for row in rows])
    patches = np.array([row.sequence.grid_thw.prod() for row in rows if row.pixels])
    attention = cost.pair.forward * (lengths * (lengths + 1) / 2).sum() + cost.picture_pair.forward * (patches**2).sum()
    assert found.flops - attention == pytest.approx(projections, rel=1e-3)


@pytest.mark.parametrize("form", ["model folder", "checkpoint", "merged", "adapter", "preset"])
def test_an_outline_counts_what_the_loaded_model_would_and_reads_no_weight(
    form: str, model_folder: Path, recipe: Recipe, data: Path, tmp_path: Path
) -> None:
    """Tokens and operations of what is embedded, adapters merged; then once more without the files of weights."""
    path, given = tmp_path / "it", None
    if form in ("model folder", "preset"):
        shutil.copytree(model_folder, path)
        given = recipe if form == "model folder" else None
    else:
        save_moved(path, model_folder, recipe.with_phase(adapter=LoRA(rank=4, alpha=8), tower="frozen"))
    if form in ("merged", "adapter"):
        export(path, tmp_path / "out", form=form)  # type: ignore[arg-type]
        path = tmp_path / "out"
    loaded = load_foreign(path, GME) if form == "preset" else load_merged(path, recipe=given)
    outline = outline_foreign(path, GME) if form == "preset" else outline_merged(path, recipe=given)
    sets = retrieval_sets(data, ["asking", "finding"], preset=GME if form == "preset" else None)
    expected = forecast(loaded, sets)
    assert forecast(outline, sets) == expected and len(expected.splitlines()) == 5
    if form in ("model folder", "preset"):
        for weights in path.glob("*.safetensors"):
            weights.unlink()
        again = outline_foreign(path, GME) if form == "preset" else outline_merged(path, recipe=given)
        assert forecast(again, sets) == expected


def test_hours_are_those_of_the_sum() -> None:
    sets = [Estimate(name=name, sides=1000, distinct=900, tokens=9, flops=0.2 * 989e12 * 3600) for name in "ab"]
    *_, total, hours = table(sets).splitlines()
    assert total.split() == ["2", "sets", "2,000", "1,800", "18", "1,424,160.000"]
    assert "h100-80g 1.00," in hours and "at 40% of its peak (not measured)" in hours


def test_a_dry_run_embeds_nothing_and_says_what_cannot_be_used(
    model_folder: Path, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(EmbeddingModel, "embed_batch", lambda *_: pytest.fail("it embeds"))
    given = ["--model", str(model_folder), "--recipe", "tiny", "--data", str(data), "--work", str(tmp_path / "w"), "--dry-run"]
    done = CliRunner().invoke(mmeb.main, given)
    assert done.exit_code == 0, done.output
    lines = done.output.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["dataset", "asking", "finding", "2"]
    assert "lacking" in caplog.text and not (tmp_path / "w").exists()


def test_a_dry_run_of_all_of_mmeb_says_each_set_and_their_sum(
    model_folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The 36 sets by the names that MMEB has, and one that it does not count; then all but one."""
    for name in (*META, *NOT_COUNTED):
        write_eval(tmp_path, name, [(f"name {name}", "", ["a cat", "a dog"], ["", ""])])
    given = ["--model", str(model_folder), "--recipe", "tiny", "--data", str(tmp_path), "--dry-run"]
    _, *sets, total, hours = CliRunner().invoke(mmeb.main, given).output.splitlines()
    assert sorted(line.split()[0] for line in sets) == sorted(META)
    assert total.split()[:4] == ["36", "sets", "108", "108"]
    assert total.split()[4] == f"{sum(int(line.split()[3].replace(',', '')) for line in sets):,}"
    assert all(name in hours for name in GPUS) and "lacks" not in caplog.text
    shutil.rmtree(tmp_path / "MMEB-eval" / "NIGHTS")
    assert CliRunner().invoke(mmeb.main, given).output.splitlines()[-2].startswith("35 sets")
    assert f"{tmp_path}/MMEB-eval: lacks 1 of MMEB's 36 sets: NIGHTS; means are over those that are there" in caplog.messages
