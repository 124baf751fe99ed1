"""The slowest rank by hand-worked seconds, and as two real ranks find it of which one is slowed."""

import json
import logging
import socket
import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest
import torch

from pipeline.train.own_time import OwnTime
from pipeline.train.slowest_rank import FIRST_STEPS, STEPS, SlowestRank
from tests.pipeline.train.conftest import Forked

HOSTS = ("node1", "node1", "node2", "node2")


def lines(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.name == "pipeline.train.slowest_rank"]


def test_the_slowest_rank_by_hand(caplog: pytest.LogCaptureFixture) -> None:
    """Rank 2 takes 3 s where the lower of the two middle ones takes 1.5; one step in which rank 0 took longest is not usual."""
    caplog.set_level(logging.INFO)
    slowest = SlowestRank(HOSTS)
    for step in range(5, 5 + FIRST_STEPS):
        own = (90.0, 1.5, 3.0, 2.0) if step == 6 else (1.0, 1.5, 3.0, 2.0)
        found = slowest.note(step, own, says=True)
        assert found["slowest_rank"] == (0.0 if step == 6 else 2.0) and found["slowest_rank_seconds"] == max(own)
        assert found["median_rank_seconds"] == (2.0 if step == 6 else 1.5)
    said = ["steps 5 to 14: slowest is rank 2 on node2, 3.000 s a step without waits for others, 2.00 times the ranks' median"]
    assert lines(caplog) == said
    for step in range(15, 15 + STEPS):
        slowest.note(step, (4.0, 1.0, 0.0, 0.0), says=True)
    assert lines(caplog)[1:] == ["steps 15 to 114: slowest is rank 0 on node1, 4.000 s a step without waits for others"], (
        "what was named before counts no more, and nothing is divided by 0"
    )


def test_a_lone_rank_is_not_the_slowest_and_one_rank_speaks_for_all(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    alone, silent = SlowestRank(("here",)), SlowestRank(HOSTS)
    for step in range(1, 1 + FIRST_STEPS):
        assert alone.note(step, (1.0,), says=True) == {} and silent.note(step, (1.0, 2.0, 1.0, 1.0), says=False)
    assert lines(caplog) == []


def test_two_ranks_find_the_one_that_is_slowed(forked: Forked, tmp_path: Path) -> None:
    """Rank 1 takes 0.3 s more in each of a step's two passes; the other waits as long in the step's sums."""
    phase = {"steps": 5, "zero_stage": 0, "chunk_tokens": 10**6, "checkpoint_every": 5, "evaluate_every": 20, "held_out": 2}
    out = tmp_path / "train"
    assert forked(out, phase=phase, fault={"kind": "slow", "rank": 1, "steps": [1]}) == [0, 0], Path(f"{out}-0.txt").read_text()
    steps = [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]
    # This machine may be busy: a single step may be slow on either rank.
    assert median(step["slowest_rank"] for step in steps) == 1.0
    assert median(step["slowest_rank_seconds"] - step["median_rank_seconds"] for step in steps) > 0.45
    assert all(step["slowest_rank_seconds"] <= step["seconds"] for step in steps)
    told = f"steps 1 to 5: slowest is rank 1 on {socket.gethostname()}, "
    assert told in Path(f"{out}-0.txt").read_text() and told not in Path(f"{out}-1.txt").read_text()


def test_blocks_are_added_up_within_a_step() -> None:
    own = OwnTime(torch.device("cpu"))
    with own.counting():
        time.sleep(0.03)
    with own.counting(when=False):
        time.sleep(0.3)
    with own.counting():
        time.sleep(0.02)
    assert 0.05 <= own.seconds() < 0.3
    own.begin()
    assert own.seconds() == 0.0


def test_on_a_gpu_events_tell(monkeypatch: pytest.MonkeyPatch) -> None:
    """A stand-in whose device works 250 ms in each block; there is no GPU here."""
    clock = iter(range(0, 10_000, 250))

    class Event:
        is_over = False

        def __init__(self, *, enable_timing: bool) -> None:
            assert enable_timing

        def record(self) -> None:
            self.at = next(clock)

        def synchronize(self) -> None:
            Event.is_over = True

        def elapsed_time(self, other: Any) -> float:
            assert Event.is_over, "an event that has not happened cannot be read"
            return float(other.at - self.at)

    monkeypatch.setattr(torch.cuda, "Event", Event)
    own = OwnTime(torch.device("cuda"))
    for _ in range(2):
        with own.counting():
            pass
    assert own.seconds() == 0.5
