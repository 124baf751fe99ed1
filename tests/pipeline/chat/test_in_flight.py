"""The limit of requests in flight, against servers simulated event by event: it finds what each takes, and keeps to it."""

import heapq
import random
from collections.abc import Callable

import pytest

from pipeline.chat.in_flight import InFlightLimit

SECONDS = 60.0


def run(take: Callable[[int], float | None], *, seconds: float = SECONDS) -> tuple[InFlightLimit, float, list[int]]:
    """Keep an endpoint as full as its limit says. `take(in flight)` is how long it then takes for one, None where it refuses.

    Returns the limit, the answers a second of the last two thirds, and the limits over time.
    """
    limit, now, flying, answers = InFlightLimit(), 0.0, list[tuple[float, float, bool, bool]](), 0
    seen: list[int] = []
    while now < seconds:
        while len(flying) < limit.slots:
            took = take(len(flying) + 1)
            is_full = len(flying) + 1 >= limit.slots
            heapq.heappush(flying, (now + (0.01 if took is None else took), now, took is not None, is_full))
        now, begun, is_answer, is_full = heapq.heappop(flying)
        if is_answer:
            limit.answered(begun, now, is_full=is_full)
            answers += now > seconds / 3
        else:
            limit.overloaded(begun, now)
        seen.append(limit.slots)
    return limit, answers / (seconds * 2 / 3), seen


def queueing(slots: int, seconds: float, seed: int = 1) -> Callable[[int], float | None]:
    """So many at once; who comes later waits for his turn."""
    rng = random.Random(seed)
    return lambda in_flight: seconds * max(1.0, in_flight / slots) * rng.uniform(0.9, 1.1)


@pytest.mark.parametrize("slots", [4, 20, 64, 200])
def test_a_server_that_queues_is_kept_full_and_its_queue_short(slots: int) -> None:
    limit, rate, seen = run(queueing(slots, 0.2))
    assert rate >= 0.95 * slots / 0.2 * 0.95
    assert max(seen[len(seen) // 2 :]) <= max(2 * slots + 2, 16)
    assert not limit.is_slow_start


@pytest.mark.parametrize("slots", [4, 20, 64])
def test_a_server_that_refuses_more_is_kept_near_its_most(slots: int) -> None:
    rng = random.Random(2)
    _, rate, seen = run(lambda in_flight: None if in_flight > slots else 0.2 * rng.uniform(0.9, 1.1))
    assert rate >= 0.85 * slots / 0.2
    assert max(seen[len(seen) // 2 :]) <= slots + 2


def test_a_server_that_batches_gets_more_though_each_answer_takes_longer() -> None:
    """From 8 to 128 at once an answer takes four times as long, and four times as many come."""
    limit, rate, _ = run(lambda in_flight: 0.2 * max(1.0, (in_flight / 8) ** 0.5) if in_flight <= 128 else in_flight / 160)
    assert limit.slots >= 60 and rate > 2 * 8 / 0.2


def test_it_follows_a_server_that_becomes_smaller() -> None:
    sizes = iter([64] * 4000)
    _, _, seen = run(lambda in_flight: 0.2 * max(1.0, in_flight / next(sizes, 8)), seconds=120)
    assert seen[3500] >= 50 and seen[-1] <= 20


def test_it_never_falls_below_one_and_one_round_lowers_it_once() -> None:
    limit = InFlightLimit(value=8.0)
    for moment in range(10):
        limit.overloaded(0.0, 5.0 + moment)
    assert limit.slots == 4, "all of them were sent under the first limit"
    for moment in range(40):
        limit.overloaded(20.0 + moment, 20.5 + moment)
    assert limit.value == 1.0


def test_an_endpoint_that_is_not_full_does_not_grow() -> None:
    limit = InFlightLimit()
    for moment in range(200):
        limit.answered(moment, moment + 0.2, is_full=False)
    assert limit.slots == 8
