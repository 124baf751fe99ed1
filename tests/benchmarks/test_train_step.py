"""The step benchmarks run, compare the same losses and gradients, and refuse to time what differs."""

from dataclasses import replace
from pathlib import Path
from unittest import mock

import click
import pytest
from click.testing import CliRunner

from benchmarks.practice import Habits
from benchmarks.step_memory import main as memory
from benchmarks.train_step import check_equal, ours, practice
from benchmarks.train_step import main as step
from benchmarks.train_step_rows import Bench, bench_folder, bench_recipe
from data_prep.convert import Conversion, convert
from pipeline.model import head
from pipeline.recipe import TinyBackbone


@pytest.fixture(scope="module")
def shards(real_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("real") / "shards"
    convert(Conversion(data=real_mini, out=folder, verify=False))
    return folder


@pytest.mark.slow
def test_every_habit_gives_the_same_losses_and_gradients(shards: Path) -> None:
    done = CliRunner().invoke(step, ["--quick", "--shards", str(shards), "--vocabulary", "2048"])
    assert done.exit_code == 0, done.output
    assert "losses and gradients of 19 variants agree" in done.output
    assert all(f"| {what} |" in done.output for what in ("logits of all positions", "tower in every forward"))
    assert "contrastive step of 16 pairs: auto (chunk_tokens 2048, kept_chunks 32) takes " in done.output
    assert "batch 4 + 2: 10 rows" in done.output and "by length" in done.output


def test_what_differs_is_not_timed(shards: Path) -> None:
    recipe = bench_recipe(pairs=4, outside=1, chunk_tokens=512, max_tokens=4, hidden=32)
    with bench_folder(shards, shards) as bench:
        folder = _folder(bench, recipe.backbone)  # type: ignore[arg-type]
        compared = [ours(bench, folder, recipe), *practice(bench, folder, recipe, {"all": Habits(padded=True, dense_mask=True)})]
        assert check_equal(compared) < 1e-4
        false = replace(compared[1], step=lambda load: tuple(2 * loss for loss in compared[1].step(load)))
        with pytest.raises(click.ClickException, match="all is not ours: loss"):
            check_equal([compared[0], false])


def _folder(bench: Bench, backbone: TinyBackbone) -> Path:
    return bench.model_folder(backbone, backbone.vocab_size)


@pytest.mark.slow
def test_the_cached_step_does_not_grow_with_the_batch(shards: Path) -> None:
    arguments = ["--shards", str(shards), "--batch", "16", "--batch", "64", "--chunk-tokens", "512", "--hidden", "32"]
    with mock.patch.object(head, "HEAD_ROWS", 32):  # a chunk of this size has too few scored rows for a whole piece
        done = CliRunner().invoke(memory, arguments)
    assert done.exit_code == 0, done.output
    line = done.output.split("growth from 16 to 64 pairs: ")[1].splitlines()[0]
    cached, uncached = (float(part.split()[-1]) for part in line.split(", "))
    assert cached <= 1.1 and uncached > 3, line
