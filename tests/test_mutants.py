"""The program that shows every oracle red: what it calls red, and that nothing makes it wait for ever."""

import sys
import time
from pathlib import Path

import pytest

from tests.faults import is_running
from tests.mutants import __main__ as mutants
from tests.mutants.mutant import Mutant

TEST = """
import pytest
import subject
def test_it(): assert subject.value == 1
def test_nothing(): pytest.skip("no such thing here")
def test_waiting(): assert subject.value == 1 or __import__("time").sleep(60)
"""


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    (tmp_path / "subject.py").write_text("value = 1\n")
    (tmp_path / "test_subject.py").write_text(TEST)
    return tmp_path


@pytest.mark.parametrize(
    ("new", "test", "verdict"),
    [
        ("value = 2", "test_it", None),
        ("value = 2 - 1", "test_it", "it survived"),
        ("value = 2", "test_nothing", "its tests were skipped here"),
        ("value = 2", "test_none", "pytest could not run"),
    ],
)
def test_only_a_failing_test_is_red(tree: Path, new: str, test: str, verdict: str | None) -> None:
    said = mutants.survives(Mutant("name", "subject.py", "value = 1", new, (f"test_subject.py::{test}",)), tree)
    assert said == verdict or (verdict and said and said.startswith(verdict))
    assert (tree / "subject.py").read_text() == "value = 1\n", "what was broken is whole again"


def test_a_test_that_waits_for_ever_is_not_red(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mutants, "LIMIT_SECONDS", 5)
    said = mutants.survives(Mutant("name", "subject.py", "value = 1", "value = 2", ("test_subject.py::test_waiting",)), tree)
    assert said and said.startswith("its tests did not end in 5 seconds")


def test_text_that_is_gone_is_no_mutant(tree: Path) -> None:
    said = mutants.survives(Mutant("name", "subject.py", "value = 3", "value = 4", ("test_subject.py",)), tree)
    assert said == "its text occurs 0 times in subject.py"


def test_a_process_left_behind_keeps_nobody_waiting(tmp_path: Path) -> None:
    """It holds the output open and is ended with the others."""
    sleeper = "import os, time; open('pid', 'w').write(str(os.getpid())); time.sleep(60)"
    command = f"import subprocess, sys, time; subprocess.Popen([sys.executable, '-c', {sleeper!r}]); time.sleep(1); print('said')"
    begun = time.monotonic()
    assert mutants.outcome([sys.executable, "-c", command], tmp_path, {}) == (0, "said\n")
    while is_running(int((tmp_path / "pid").read_text())) and time.monotonic() - begun < 30:
        time.sleep(0.05)
    assert time.monotonic() - begun < 30


def test_every_mutant_breaks_something_that_is_there_and_runs_tests_that_are() -> None:
    """Code moves on, and a mutant whose text is gone shows nothing until somebody runs it."""
    names = [mutant.name for mutant in mutants.MUTANTS]
    assert len(set(names)) == len(names) > 500
    for mutant in mutants.MUTANTS:
        text = (mutants.ROOT / mutant.file).read_text()
        assert text.count(mutant.old) == 1, f"{mutant.name}: its text occurs {text.count(mutant.old)} times in {mutant.file}"
        for test in (argument for argument in mutant.tests if argument.startswith("tests/")):
            file, _, function = test.partition("::")
            place = mutants.ROOT / file
            assert place.exists(), f"{mutant.name}: {test}"
            assert not function or f"def {function.split('[')[0]}(" in place.read_text(), f"{mutant.name}: {test}"
