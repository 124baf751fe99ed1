"""The command killed again and again, at ten moments, ends with the very files of one that never was."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from eval import mmeb
from pipeline.encode import share
from pipeline.inference import EmbeddingModel
from tests.pipeline.encode.test_encode_ranks import benchmark, files

MOMENTS = (1, 2, 3, 4, 5, 3, 4, 5, 3, 4)
"""The number of the event, an embedded batch or a written file, at which a run dies; the next one goes on."""


class Events:
    """Batches that the model is asked for, and files that take their place; a run may die before the n-th."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.left, self.embedded = 0, 0
        embed, replace = EmbeddingModel.embed_batch, os.replace
        monkeypatch.setattr(EmbeddingModel, "embed_batch", lambda model, batch: self._count(batch) or embed(model, batch))
        monkeypatch.setattr(os, "replace", self._dying(replace))

    def _count(self, batch: Any) -> None:
        self._pass()
        self.embedded += len(batch.slots)

    def _dying(self, act: Callable[..., None]) -> Callable[..., None]:
        def acted(*given: Any, **named: Any) -> None:
            self._pass()
            act(*given, **named)

        return acted

    def _pass(self) -> None:
        self.left -= 1
        if self.left == 0:
            os._exit(9)


def test_killed_at_ten_moments_and_resumed(trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    data, events = benchmark(tmp_path / "data"), Events(monkeypatch)
    monkeypatch.setattr("pipeline.encode.workload.BATCH_SIDES", 20)
    monkeypatch.setattr(share, "BLOCK_ROWS", 1)

    def measure(name: str) -> None:
        place = tmp_path / name
        given = ["--model", str(trained), "--data", str(data), "--out", str(place), "--work", f"{place}-work", "--workers", "0"]
        assert "2 of 3 sets" in CliRunner().invoke(mmeb.main, given).output

    measure("whole")
    whole, events.embedded = events.embedded, 0
    for moment in MOMENTS:
        child = os.fork()
        if not child:
            try:
                events.left = moment
                measure("killed")
            finally:
                os._exit(0)  # it lived on, or failed
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    measure("killed")
    assert files(tmp_path / "killed") == files(tmp_path / "whole")
    assert 0 < events.embedded < whole, "what the killed runs had embedded is not embedded again"
