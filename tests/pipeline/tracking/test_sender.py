"""Notes on their way to a store that refuses, is away for a while, is slow, or never answers."""

import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.tracking import sender as senders
from pipeline.tracking import start_run
from pipeline.tracking.notes import Note
from pipeline.tracking.sender import Sender, within
from pipeline.tracking.unsent import Unsent


class AwayError(Exception):
    """As MLflow reports a server that is down, or a database that is locked."""

    error_code = "TEMPORARILY_UNAVAILABLE"


class Store:
    """Keeps what it is told; `fails` decides for each call what it raises instead."""

    def __init__(self, fails: Callable[[Note], Exception | None] = lambda note: None) -> None:
        self.fails, self.told = fails, list[Note]()

    def __call__(self, note: Note) -> None:
        if error := self.fails(note):
            raise error
        self.told.append(note)

    def answers(self) -> None: ...

    def sender(self, unsent: Unsent | None = None) -> Sender:
        return Sender(self, unsent, self.answers)


def noted(number: int) -> Note:
    return Note(tags={"number": str(number)})


def numbers(step: int) -> Note:
    return Note(metrics=[("loss", step / 8, step, step)])


def always_away(note: Note) -> Exception:
    return AwayError("no route")


def test_notes_wait_while_a_store_is_away_and_then_arrive_in_order(caplog: pytest.LogCaptureFixture) -> None:
    failures = iter([AwayError("database is locked"), AwayError()])
    store = Store(lambda note: next(failures, None))
    sender = store.sender()
    sender.put(noted(1))
    sender.put(noted(2))
    sender.close()
    assert store.told == [noted(1), noted(2)]
    assert len(caplog.messages) == 1 and "database is locked" in caplog.messages[0]


def test_what_a_store_refuses_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    store = Store(lambda note: ValueError("never") if note == noted(1) else None)
    sender = store.sender()
    for number in (1, 1, 2):
        sender.put(noted(number))
    begun = time.monotonic()
    sender.close()
    assert store.told == [noted(2)] and time.monotonic() - begun < 5
    assert len(caplog.messages) == 1, "the first failure alone"


def test_numbers_of_an_outage_are_sent_together() -> None:
    failures = iter([AwayError()])
    store = Store(lambda note: next(failures, None))
    sender = store.sender()
    for step in range(1, 1502):
        sender.put(numbers(step))
    sender.close()
    assert [number[3] for note in store.told for number in note.metrics] == list(range(1, 1502))
    assert len(store.told) <= 4 and all(len(note.metrics) <= 1000 for note in store.told)


@pytest.mark.parametrize("keeps", [False, True])
def test_a_slow_store_slows_no_step_and_the_end_waits_so_long_and_says_so(
    keeps: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(senders, "CLOSE_SECONDS", 0.3)
    answer = threading.Event()
    unsent = Unsent(tmp_path / "unsent" / "a1") if keeps else None
    sender = Sender(lambda note: answer.wait(2), unsent, answer.wait)
    begun = time.monotonic()
    for number in range(10):
        sender.put(noted(number))
    assert time.monotonic() - begun < 1
    sender.close()
    assert 0.3 <= time.monotonic() - begun < 5
    said = f"crem sync --work {tmp_path}" if keeps else "the last notes of this run were not taken"
    assert said in caplog.text
    if unsent is not None:
        assert list(unsent.notes()) == [noted(number) for number in range(10)]
    answer.set()


def test_what_an_outage_holds_up_lies_on_disk_at_once_and_goes_when_it_is_over(tmp_path: Path) -> None:
    is_away = threading.Event()
    is_away.set()
    store, unsent = Store(lambda note: AwayError() if is_away.is_set() else None), Unsent(tmp_path / "unsent" / "a1")
    sender = store.sender(unsent)
    for step in range(1, 4):
        sender.put(numbers(step))
        until(lambda: unsent.is_kept)
    assert [number[3] for note in unsent.notes() for number in note.metrics] == [1, 2, 3], "a kill now loses nothing"
    is_away.clear()
    until(lambda: len(store.told) > 0 and not unsent.is_kept)
    sender.put(noted(1))
    sender.close()
    assert store.told[-1] == noted(1) and not (tmp_path / "unsent").exists()


def test_the_end_waits_little_for_a_store_that_is_known_to_be_away(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "AWAY_SECONDS", 0.2)
    unsent = Unsent(tmp_path / "unsent" / "a1")
    sender = Store(always_away).sender(unsent)
    sender.put(noted(1))
    until(lambda: unsent.is_kept)
    begun = time.monotonic()
    sender.put(noted(2))
    sender.close()
    assert time.monotonic() - begun < 2
    assert list(unsent.notes()) == [noted(1), noted(2)]


def test_memory_is_bounded_and_the_file_holds_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(senders, "_MAX_WAITING", 3)
    monkeypatch.setattr(senders, "_FIRST_PAUSE", 0.01)
    is_away = threading.Event()
    is_away.set()
    store, unsent = Store(lambda note: AwayError() if is_away.is_set() else None), Unsent(tmp_path / "unsent" / "a1")
    sender = store.sender(unsent)
    sender.put(noted(0))
    until(lambda: unsent.is_kept)
    for number in range(1, 8):
        sender.put(noted(number))
    is_away.clear()
    sender.close()
    assert store.told == [noted(number) for number in range(3)]
    assert list(unsent.notes()) == [noted(number) for number in range(8)], "all of it: what was told twice is there once"


def until(holds: Callable[[], bool]) -> None:
    end = time.monotonic() + 5
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.005)


def test_what_does_not_answer_is_given_up() -> None:
    answer = threading.Event()
    begun = time.monotonic()
    with pytest.raises(TimeoutError, match="no answer in 0 s"):
        within(0.2, lambda: answer.wait(60))
    assert time.monotonic() - begun < 5
    answer.set()
    assert within(5, lambda: 3) == 3
    with pytest.raises(AwayError):
        within(5, _fail)


def _fail() -> None:
    raise AwayError


def test_a_server_that_is_down_costs_a_stage_a_second(caplog: pytest.LogCaptureFixture) -> None:
    from pipeline.tracking.store import load_library

    load_library()
    begun = time.monotonic()
    with start_run(uri="http://127.0.0.1:9", stage="toy"):
        pass
    assert time.monotonic() - begun < 5
    assert len(caplog.messages) == 1 and "http://127.0.0.1:9 cannot be opened" in caplog.messages[0]
