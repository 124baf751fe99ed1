"""What a user gives wrongly ends a benchmark in one line."""

import runpy
import sys
from pathlib import Path

import pytest


@pytest.mark.parametrize("program", ["generate", "latency"])
def test_a_folder_that_is_not_there_is_one_line(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--model-folder", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"error: .*nowhere: no config.json in it; give a Hugging Face folder"):
        runpy.run_module(f"benchmarks.{program}", run_name="__main__")


@pytest.mark.parametrize("program", ["train_step", "step_memory", "loader", "encode"])
def test_a_corpus_that_is_not_there_is_one_line(program: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", [program, "--data", str(tmp_path / "nowhere")])
    with pytest.raises(SystemExit, match=r"error: .*nowhere"):
        runpy.run_module(f"benchmarks.{program}", run_name="__main__")
