"""An engine that does not wait long between its tries."""

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import pytest

from pipeline.chat import ChatEngine, EndpointList, Journal, Patience
from pipeline.chat import endpoints as endpoints_module

MakeEngine = Callable[..., AbstractContextManager[ChatEngine]]


@pytest.fixture
def engine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> MakeEngine:
    monkeypatch.setattr(endpoints_module, "_FIRST_ASIDE_SECONDS", 0.05)
    monkeypatch.setattr(endpoints_module, "_MOST_ASIDE_SECONDS", 0.2)

    @contextmanager
    def make(*urls: str | Path, key: str | None = "", journal: str = "answers.jsonl", **patience: float) -> Iterator[ChatEngine]:
        limits = Patience(**{"timeout_seconds": 20.0, "pause_factor": 0.01, "give_up_seconds": 20.0, **patience})  # type: ignore[arg-type]
        with (
            Journal(tmp_path / journal) as kept,
            ChatEngine(EndpointList(urls), model="m", journal=kept, patience=limits, api_key=key) as made,
        ):
            yield made

    return make
