"""Ranks that are cheap to start: see `tests.pipeline.train.forked`."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.pipeline.train.forked import ANSWER

REPOSITORY = Path(__file__).parents[3]
Forked = Callable[..., list[int | None]]


@pytest.fixture(scope="session")
def forked(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forked]:
    """Run a training on forked ranks: takes the fields of a job, returns the exit codes."""
    errors = tmp_path_factory.mktemp("forked") / "errors.txt"
    command = [sys.executable, "-m", "tests.pipeline.train.forked"]
    with (
        errors.open("w") as log,
        subprocess.Popen(
            command, cwd=REPOSITORY, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=log, text=True
        ) as process,
    ):
        assert process.stdin is not None and process.stdout is not None

        def run(out: Path, **job: Any) -> list[int | None]:
            words = {"out": str(out), "log": str(out), "folder": str(model_folder), "ranks": 2, "phase": {}, **job}
            assert process.stdin is not None and process.stdout is not None
            process.stdin.write(json.dumps(words) + "\n")
            process.stdin.flush()
            answer = next((line for line in process.stdout if line.startswith(ANSWER)), "")
            assert answer, errors.read_text()[-2000:]
            codes: list[int | None] = json.loads(answer.removeprefix(ANSWER))
            return codes

        yield run
        process.stdin.close()
