"""The drill's own judgement: what counts as equal, as one line, as a hang; and two faults as they happen."""

import json
import os
import random
import signal
import time
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner
from safetensors.torch import save_file

from jobs.drill import drill as drills
from jobs.drill.child import Child
from jobs.drill.drill import EQUAL, HANG, ONE_LINE, table
from jobs.drill.faults import FAULTS, checkpoint_truncated
from jobs.drill.scene import HangError, Scene
from jobs.drill.toy_run import difference
from launchers import drill as launcher
from pipeline.train import checkpoint


def trained(work: Path, weight: float, loss: float) -> Path:
    folder = work / "train" / "checkpoints" / "step-00000006"
    folder.mkdir(parents=True)
    save_file({"a": torch.tensor([weight])}, folder / "model.safetensors")
    lines = [{"step": step, "contrastive": loss, "seconds": random.random()} for step in (1, 2)]
    (work / "train" / "metrics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return work


def test_equal_are_weights_and_losses_and_nothing_else(tmp_path: Path) -> None:
    unbroken = trained(tmp_path / "unbroken", 1.0, 0.5)
    assert difference(trained(tmp_path / "same", 1.0, 0.5), unbroken) == ""
    assert "model.safetensors: a and 0 more" in difference(trained(tmp_path / "weights", 1.0 + 1e-6, 0.5), unbroken)
    assert "losses" in difference(trained(tmp_path / "losses", 1.0, 0.5 + 1e-9), unbroken)
    assert "newest checkpoint is none" in difference(tmp_path, unbroken)
    assert checkpoint.steps(unbroken / "train" / "checkpoints")


def end_with(code: int, said: str) -> None:
    os.write(2, said.encode())
    os._exit(code)


def outcome(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, crem: object, seconds: float = 30.0) -> drills.Outcome:
    """A case of a made-up fault, with a made-up command."""
    (tmp_path / "prepared").mkdir()
    trained(tmp_path / "unbroken", 1.0, 0.5)
    monkeypatch.setitem(drills.FAULTS, "made up", lambda scene: None)  # type: ignore[arg-type]
    return drills._case(0, "made up", tmp_path, crem, seed=1, seconds=seconds)  # type: ignore[arg-type]


def test_a_command_that_ends_equal_with_one_line_with_a_traceback_or_never(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def equal(words: Sequence[str]) -> None:
        trained(Path(words[words.index("--work") + 1]), 1.0, 0.5)

    def other(words: Sequence[str]) -> None:
        trained(Path(words[words.index("--work") + 1]), 2.0, 0.5)

    cases = {
        EQUAL: equal,
        "model.safetensors: a and 0 more are not equal": other,
        ONE_LINE: lambda words: end_with(1, "error: no shard; run crem convert\n"),
        "exit code 1": lambda words: end_with(1, "Traceback (most recent call last):\nerror: x\n"),
        HANG: lambda words: time.sleep(60),
    }
    for verdict, crem in cases.items():
        place = tmp_path / str(len(verdict))
        place.mkdir()
        found = outcome(place, monkeypatch, crem, seconds=0.5 if verdict == HANG else 60.0)
        assert found.verdict == verdict and found.is_good is (verdict == EQUAL)
        assert not list(place.glob("case-000")) or not found.is_good
    assert "| 0 | made up |" in table([found])


def test_a_child_dies_of_its_signal_and_a_scene_ends_what_it_started(tmp_path: Path) -> None:
    scene = Scene(work=tmp_path / "work", rng=random.Random(1), crem=lambda words: time.sleep(60), seconds=0.3)
    child = scene.start("train")
    with pytest.raises(HangError):
        scene.finish(child)
    scene.clear()
    assert child.poll() == -signal.SIGKILL
    assert Child(lambda: os._exit(7), tmp_path / "log").wait(time.monotonic() + 30) == 7


def test_a_truncated_file_is_cut_where_the_seed_says(tmp_path: Path) -> None:
    moments = []
    for name in ("first", "again"):
        work = trained(tmp_path / name, 1.0, 0.5)
        scene = Scene(work=work, rng=random.Random(3), crem=lambda words: None, seconds=60)
        checkpoint_truncated(scene)
        moments.append(scene.moment)
    assert moments[0] == moments[1] and "step-00000006/model.safetensors at " in moments[0]


def test_the_command_knows_every_fault() -> None:
    assert set(FAULTS) == set(launcher.FAULTS) and 6 * len(FAULTS) >= 50


@pytest.mark.slow
def test_two_faults_end_as_an_unbroken_run_does(tmp_path: Path) -> None:
    words = ["--work", str(tmp_path / "drill"), "--only", "launcher killed", "--only", "checkpoint truncated", "--each", "1"]
    said = CliRunner().invoke(launcher.drill, words, catch_exceptions=False)
    assert said.exit_code == 0 and "2 of 2 faults ended as they must" in said.output
