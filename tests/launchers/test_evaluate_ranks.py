"""`crem evaluate --processes 2` by real processes over a real, short training: the files of one process."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

SMALL = {
    "toy.train_rows": 8,
    "toy.eval_rows": 24,
    "toy.conversations": 8,
    "toy.mcq_rows": 4,
    "phases.0.steps": 2,
    "phases.0.held_out": 2,
    "phases.0.mixture.pairs": 4,
    "phases.0.mixture.outside": 2,
    "phases.0.mixture.sub_batch": 2,
}


def crem(work: Path, *words: str) -> str:
    """A command over a work folder of a small training; what it says."""
    values = [word for name, value in SMALL.items() for word in ("--set", f"{name}={value}")]
    command = [sys.executable, "-m", "launchers.cli", *words, "--recipe", "tiny", "--work", str(work), *values]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={**os.environ, "OMP_NUM_THREADS": "1"})
    assert done.returncode == 0, done.stderr
    return done.stdout + done.stderr


def results(work: Path) -> dict[str, bytes]:
    """What was measured, but for what names runs of the tracker."""
    notes = ("manifest.json", "started.json")
    files = [path for path in (work / "eval").rglob("*") if path.is_file() and path.name not in notes]
    return {path.relative_to(work).as_posix(): path.read_bytes() for path in files}


@pytest.mark.slow
def test_two_processes_measure_what_one_does(tmp_path: Path) -> None:
    crem(tmp_path / "one", "run", "--until", "train")
    shutil.copytree(tmp_path / "one", tmp_path / "two")
    found = {}
    for name, processes in (("one", "1"), ("two", "2")):
        crem(tmp_path / name, "evaluate", "--only", "retrieval", "--processes", processes)
        found[name] = results(tmp_path / name)
    assert found["one"].keys() == found["two"].keys() and len(found["one"]) > 3 * 15
    for file, content in found["one"].items():
        assert found["two"][file] == content, file
    blocks = {name: len(list((tmp_path / name / "embeddings").rglob("*.block"))) for name in found}
    assert blocks["two"] > blocks["one"], "of a set that is more than one batch, each rank has a share"
