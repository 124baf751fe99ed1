"""`crem evaluate --processes`: several processes embed, then one measures; nothing is started for what is done."""

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.recipes import load
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem

Calls = list[tuple[str, Any]]


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> Calls:
    """What the command would do, in order; the ranks end well."""
    made: Calls = []

    def note(name: str, answer: Any = None) -> Callable[..., Any]:
        return lambda *given, **named: made.append((name, named.get("processes", given))) or answer

    monkeypatch.setattr("pipeline.train.local_ranks.run_ranks", note("ranks", [0, 0]))
    monkeypatch.setattr("jobs.embed_sets.embed_sets", note("embed"))
    monkeypatch.setattr("jobs.runner.is_done", lambda stage: False)
    monkeypatch.setattr(
        "launchers.evaluate.one_stage", note("stage", SimpleNamespace(recipe=load("tiny"), evaluation=Path("nothing")))
    )
    return made


def test_ranks_embed_and_the_stage_follows(crem: Run, calls: Calls) -> None:
    assert crem("evaluate", "--recipe", "tiny", "--processes", "2")[0] == 0
    assert [name for name, _ in calls] == ["ranks", "stage"] and calls[0][1] == 2


@pytest.mark.parametrize("more", [(), ("--processes", "2", "--only", "questions")])
def test_one_process_or_no_sets_start_no_ranks(crem: Run, calls: Calls, more: tuple[str, ...]) -> None:
    assert crem("evaluate", "--recipe", "tiny", *more)[0] == 0
    assert [name for name, _ in calls] == ["stage"]


def test_what_is_done_starts_no_ranks(crem: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("jobs.runner.is_done", lambda stage: True)
    assert crem("evaluate", "--recipe", "tiny", "--processes", "2")[0] == 0
    assert [name for name, _ in calls] == ["stage"]


def test_a_rank_embeds_and_no_more(crem: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREM_STARTED_RANK", "1")
    assert crem("evaluate", "--recipe", "tiny", "--processes", "2")[0] == 0
    assert [name for name, _ in calls] == ["embed"]


def test_a_rank_that_fails_is_one_line(crem: Run, calls: Calls, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.train.local_ranks.run_ranks", lambda *given, **named: [0, 1])
    code, _, said = crem("evaluate", "--recipe", "tiny", "--processes", "2")
    assert code == 1 and said.startswith("error: evaluate: a process that embeds failed") and not calls
