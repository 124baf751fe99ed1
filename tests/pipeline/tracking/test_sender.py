"""Notes on their way to a store that refuses, is away for a while, is slow, or never answers."""

import threading
import time

import pytest

from pipeline.tracking import sender as senders
from pipeline.tracking import start_run
from pipeline.tracking.sender import Sender, within


class AwayError(Exception):
    """As MLflow reports a server that is down, or a database that is locked."""

    error_code = "TEMPORARILY_UNAVAILABLE"


def test_notes_wait_while_a_store_is_away_and_then_arrive_in_order(caplog: pytest.LogCaptureFixture) -> None:
    arrived: list[int] = []
    failures = iter([True, True])

    def first() -> None:
        if next(failures, False):
            raise AwayError("database is locked")
        arrived.append(1)

    sender = Sender()
    sender.put(first)
    sender.put(lambda: arrived.append(2))
    sender.close()
    assert arrived == [1, 2]
    assert len(caplog.messages) == 1 and "database is locked" in caplog.messages[0]


def test_what_a_store_refuses_holds_up_nothing(caplog: pytest.LogCaptureFixture) -> None:
    arrived: list[int] = []
    sender = Sender()
    for _ in range(2):
        sender.put(lambda: [][0])
    sender.put(lambda: arrived.append(1))
    begun = time.monotonic()
    sender.close()
    assert arrived == [1] and time.monotonic() - begun < 5
    assert len(caplog.messages) == 1, "the first failure alone"


def test_a_slow_store_slows_no_step_and_the_end_waits_so_long_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(senders, "CLOSE_SECONDS", 0.3)
    answer = threading.Event()
    sender = Sender()
    begun = time.monotonic()
    for _ in range(10):
        sender.put(lambda: answer.wait(2))
    assert time.monotonic() - begun < 1
    sender.close()
    assert 0.3 <= time.monotonic() - begun < 5
    assert "the last notes of this run were not taken" in caplog.text
    answer.set()


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
