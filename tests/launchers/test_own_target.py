"""A loss and a target of a user's own file, as docs/own_method.md prints it: trained, exported, evaluated; each command is told.

A command of a user's is a new process, which knows no class of his; here each finds the file forgotten.
"""

import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from data_prep.tiny_model import build_tiny_model
from eval import mmeb
from eval.results import read_result
from launchers.cli import group
from pipeline.recipe import Recipe
from pipeline.recipes.source import resolve
from pipeline.sample import Sample, Side
from pipeline.train import checkpoint
from tests.eval.fakes import png, write_eval, write_pictures
from tests.launchers.test_own_method import SECOND
from tests.pipeline.corpus import SMALL, TEXTS
from tests.pipeline.train.test_loop import corpus_in_memory, run  # noqa: F401


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own") / "my_focal.py"
    place.write_text(SECOND)
    return place


def small(file: Path) -> Recipe:
    """The file's recipe at the size of the small corpus."""
    settings = ["steps=2", "held_out=2", "evaluate_every=2", "chunk_tokens=200", "optimizer.warmup_steps=0"]
    settings += ["mixture.pairs=4", "mixture.sub_batch=2", "mixture.weights=[]"]
    fields = ["tokens.count=4", *(f"phases.0.{setting}" for setting in settings)]
    fields += [f"backbone.{name}={getattr(SMALL, name)}" for name in ("hidden", "layers", "vocab_size", "tower_dim")]
    return resolve(f"{file}:longest", [*fields, f"backbone.feed_forward={SMALL.feed_forward}"])


def forget(file: Path) -> None:
    """As in a new process: no class of the file is known."""
    del sys.modules[str(file.resolve())]


def called(command: object, *words: object) -> Result:
    return CliRunner().invoke(command, list(map(str, words)))  # type: ignore[arg-type]


def test_the_loss_and_the_target_by_hand(file: Path) -> None:
    assert len(SECOND.splitlines()) <= 60
    phase = resolve(f"{file}:longest").phase
    losses = torch.log(torch.tensor([2.0, 4.0]))  # likelihoods of a half and a quarter
    sums = phase.language.sums(losses, torch.ones(2), torch.tensor([0, 1]), 2)
    torch.testing.assert_close(sums, losses * torch.tensor([0.25, 0.5625]))
    sample = Sample(key="a-1", dataset="a", query=Side(text="a red star"), positive=Side(text="<|image_1|>\n", images=(b"",)))
    turns = [phase.target.turns(sample, side, None) for side in ("query", "positive")]  # type: ignore[arg-type]
    assert [[turn.answer for turn in each] for each in turns] == [["star"], []]


def test_it_is_trained_exported_and_evaluated(file: Path, tmp_path: Path) -> None:
    build_tiny_model(tmp_path / "model", TEXTS, SMALL, seed=0)
    saved = run(tmp_path / "run", tmp_path / "model", small(file))
    assert '"Focal"' in (saved / checkpoint.RECIPE).read_text()
    lines = (tmp_path / "run" / "metrics.jsonl").read_text()
    assert '"own_language"' in lines and "held_out/own_language_compressed" in lines
    forget(file)
    refused = called(group, "export", "--model", saved, "--out", tmp_path / "out")
    assert refused.exit_code == 1 and "--components names" in str(refused.exception), "the class is unknown here"
    assert not (tmp_path / "out").exists()
    said = called(group, "export", "--model", saved, "--components", file, "--out", tmp_path / "out")
    assert said.exit_code == 0, said.output
    write_pictures(tmp_path, {f"naming/{number}.png": png((number * 80, 90, 7)) for number in range(3)})
    rows = [("<|image_1|>\nName it\n", f"naming/{n}.png", [f"{n + m}" for m in range(3)], [""] * 3) for n in range(3)]
    write_eval(tmp_path, "naming", rows)
    forget(file)
    words = ["--model", tmp_path / "out", "--data", tmp_path, "--out", tmp_path / "results", "--workers", 0]
    assert called(mmeb.main, *words).exit_code == 1, "nor is it here"
    measured = called(mmeb.main, *words, "--components", file)
    assert measured.exit_code == 0, measured.output
    assert read_result(mmeb.MmebResult, tmp_path / "results" / "mmeb.json").overall.count == 1
    shown = called(group, "recipes", "show", tmp_path / "out" / checkpoint.RECIPE, "--components", file, "--diff", "tiny")
    assert shown.exit_code == 0 and "LongestWord" in shown.output
