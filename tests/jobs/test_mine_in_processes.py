"""`crem mine` by two real processes writes the files of one, also where it was killed in between."""

import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.manifest import Manifest, canonical_json, write_atomic
from pipeline.negatives import Mined
from pipeline.recipe import ToyWorld
from pipeline.recipes import load
from tests.pipeline.corpus import SMALL

pytestmark = pytest.mark.slow


def command(*words: str | Path) -> subprocess.Popen[bytes]:
    environment = {**os.environ, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1"}
    words = ("launchers.cli", *words)
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )


def finished(process: subprocess.Popen[bytes]) -> None:
    _, errors = process.communicate()
    assert process.returncode == 0, errors.decode()[-2000:]


def test_two_processes_mine_the_bytes_of_one(tmp_path: Path) -> None:
    toy = ToyWorld(seed=1, train_rows=56, eval_rows=12, conversations=12, mcq_rows=8)
    recipe = load("tiny_retrieval").with_phase(negatives=Mined(most=2, first_rank=1, last_rank=9))
    file, work = tmp_path / "recipe.json", tmp_path / "work"
    write_atomic(file, canonical_json(replace(recipe, backbone=SMALL, toy=toy)))
    finished(command("run", "--recipe", file, "--work", work, "--until", "measure"))
    mined = work / "mine-joint"

    def mine(processes: int) -> subprocess.Popen[bytes]:
        return command("mine", "--recipe", file, "--work", work, "--processes", str(processes))

    finished(mine(1))
    expected = {path.name: path.read_bytes() for path in mined.glob("*.parquet")}
    content = Manifest.read(mined)
    assert len(expected) > 5 and content is not None

    def forget() -> None:
        shutil.rmtree(mined)
        shutil.rmtree(work / "embeddings", ignore_errors=True)

    forget()
    finished(mine(2))
    again = Manifest.read(mined)
    assert {path.name: path.read_bytes() for path in mined.glob("*.parquet")} == expected
    assert again is not None and (again.counts, again.outputs["content"]) == (content.counts, content.outputs["content"])
    forget()
    killed = mine(2)
    while killed.poll() is None and len(list(mined.glob("*.parquet"))) < 2:
        time.sleep(0.05)
    killed.send_signal(signal.SIGINT)
    killed.communicate()
    finished(mine(2))
    assert {path.name: path.read_bytes() for path in mined.glob("*.parquet")} == expected
