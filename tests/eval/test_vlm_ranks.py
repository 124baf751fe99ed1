"""`python -m eval.vlm --processes 2` by real processes over a file of every benchmark: the files of one, also after a kill."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner

from data_prep.tiny_model import build_tiny_model
from data_prep.toy_choices import write_choices
from data_prep.toy_files import PictureBook
from eval import vlm
from pipeline.train.build import build_embedder
from tests.pipeline.conftest import disturb, save_checkpoint
from tests.pipeline.corpus import SMALL, TEXTS, small_recipe

NAMES = ("ToyAI2D", "ToyMC", "ToyMMBench", "ToyMMMU", "ToyMMStar", "ToyMMVet", "ToyYN")
SECONDS = 600


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint of a tiny model that nobody trained, and the toy world's seven question files."""
    root = tmp_path_factory.mktemp("ranks")
    build_tiny_model(root / "model", TEXTS, SMALL, seed=0)
    embedder, _ = build_embedder(root / "model", small_recipe(), dtype=torch.float32)
    disturb(embedder)
    weights = {name: parameter.detach() for name, parameter in embedder.named_parameters()}
    save_checkpoint(root / "trained" / "step-00000001", weights, small_recipe(), root / "model")
    counts = write_choices(root / "data" / "mcq", seed=0, rows=32, book=PictureBook())
    assert tuple(sorted(counts)) == NAMES
    return root


def words(work: Path, out: Path, mode: str) -> list[str]:
    given = ["--model", str(work / "trained"), "--data", str(work / "data"), "--work", str(work), "--max-new-tokens", "6"]
    return [*given, "--mode", mode, "--out", str(out), "--device", "cpu"]


def two_processes(work: Path, out: Path, mode: str) -> "subprocess.Popen[str]":
    command = [sys.executable, "-m", "eval.vlm", *words(work, out, mode), "--processes", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True, env=environment
    )


def files(out: Path) -> dict[str, object]:
    """What was written; of answers the lines, whose order is that of their coming."""
    found = {path.name: path.read_text() for path in out.iterdir() if path.name[0] != "."}
    return {name: sorted(text.splitlines()) if name.endswith(".jsonl") else text for name, text in found.items()}


def kill_inside(started: "subprocess.Popen[str]", out: Path) -> int:
    """Kill all processes of a run once some file is whole and another begun; how many files have answers by then."""
    end = time.monotonic() + SECONDS
    while time.monotonic() < end and started.poll() is None:
        parts = {path.name.split(".")[0] for path in out.glob("*.jsonl") if path.read_bytes().count(b"\n") > 1}
        if len(parts) >= 2:
            break
        time.sleep(0.02)
    os.killpg(started.pid, signal.SIGKILL)
    started.communicate()
    return len(parts)


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["native", "compressed"])
def test_two_processes_write_the_files_of_one_killed_or_not(work: Path, tmp_path: Path, mode: str) -> None:
    one = CliRunner().invoke(vlm.main, words(work, tmp_path / "one", mode))
    assert one.exit_code == 0, one.output
    for name in ("two", "killed"):
        if name == "killed":
            (tmp_path / name).mkdir()
            begun = kill_inside(two_processes(work, tmp_path / name, mode), tmp_path / name)
            assert 2 <= begun < len(NAMES), "the kill came in the middle"
        run = two_processes(work, tmp_path / name, mode)
        said, errors = run.communicate(timeout=SECONDS)
        assert run.returncode == 0, errors
        assert one.stdout.replace(str(tmp_path / "one"), str(tmp_path / name)) in said
    found = {name: files(tmp_path / name) for name in ("one", "two", "killed")}
    assert {f"{name}-{mode}.json" for name in NAMES} < set(found["one"])
    assert found["two"] == found["one"] and found["killed"] == found["one"]
