"""Slurm's commands as stand-ins, for what needs no cluster."""

from pathlib import Path

import pytest

from tests.launchers.slurm.stand_ins import StandIns


@pytest.fixture
def slurm(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> StandIns:
    folder = tmp_path / "slurm-commands"
    folder.mkdir()
    return StandIns(folder, monkeypatch)
