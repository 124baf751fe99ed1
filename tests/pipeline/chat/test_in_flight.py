"""The limit of requests in flight, against servers simulated event by event: it finds what each takes, and keeps to it."""

import heapq
import random
from collections.abc import Callable

import pytest

from pipeline.chat.in_flight import InFlightLimit

SECONDS = 60.0


def run(
    take: Callable[[int, float], float | None], *, seconds: float = SECONDS, limit: InFlightLimit | None = None
) -> tuple[InFlightLimit, float, list[int]]:
    """Keep an endpoint as full as its limit says. `take(in flight, now)` is how long one then takes, None where it is refused.

    Returns the limit, the answers a second of the last two thirds, and the limits over time.
    """
    limit = limit or InFlightLimit()
    now, flying, answers = 0.0, list[tuple[float, float, bool, bool]](), 0
    seen: list[int] = []
    while now < seconds:
        while len(flying) < limit.slots:
            took = take(len(flying) + 1, now)
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


def queueing(slots: int, seconds: float, seed: int = 1) -> Callable[[int, float], float | None]:
    """So many at once; who comes later waits for his turn."""
    rng = random.Random(seed)
    return lambda in_flight, _: seconds * max(1.0, in_flight / slots) * rng.uniform(0.9, 1.1)


def waiting(slots: int, seconds: float) -> Callable[[int, float], float | None]:
    """A queue request by request: each takes the first slot that is free."""
    free, rng = [0.0] * slots, random.Random(3)

    def take(in_flight: int, now: float) -> float:
        end = max(heapq.heappop(free), now) + seconds * rng.uniform(0.7, 1.3)
        heapq.heappush(free, end)
        return end - now

    return take


@pytest.mark.parametrize("slots", [4, 20, 64, 200])
def test_a_server_that_queues_is_kept_full_and_its_queue_short(slots: int) -> None:
    limit, rate, seen = run(queueing(slots, 0.2))
    assert rate >= 0.95 * slots / 0.2 * 0.95
    assert max(seen[len(seen) // 2 :]) <= max(2 * slots + 2, 16)
    assert not limit.is_slow_start


@pytest.mark.parametrize("slots", [4, 20, 64])
def test_a_server_that_refuses_more_is_kept_near_its_most(slots: int) -> None:
    rng = random.Random(2)
    _, rate, seen = run(lambda in_flight, _: None if in_flight > slots else 0.2 * rng.uniform(0.9, 1.1))
    assert rate >= 0.85 * slots / 0.2
    assert max(seen[len(seen) // 2 :]) <= slots + 2


def test_a_server_that_batches_gets_more_though_each_answer_takes_longer() -> None:
    """From 8 to 128 at once an answer takes four times as long, and four times as many come."""
    limit, rate, _ = run(lambda in_flight, _: 0.2 * max(1.0, (in_flight / 8) ** 0.5) if in_flight <= 128 else in_flight / 160)
    assert limit.slots >= 60 and rate > 2 * 8 / 0.2


def test_it_follows_a_server_that_becomes_smaller() -> None:
    sizes = iter([64] * 4000)
    _, _, seen = run(lambda in_flight, _: 0.2 * max(1.0, in_flight / next(sizes, 8)), seconds=120)
    assert seen[3500] >= 50 and seen[-1] <= 20


def test_one_that_left_the_slow_start_too_early_soon_has_what_it_takes() -> None:
    """One more a round would need 24 of two seconds each; what the server has refused is approached one by one."""
    _, _, seen = run(waiting(48, 2.0), seconds=24, limit=InFlightLimit(value=24.0, is_slow_start=False))
    assert seen[-1] >= 48
    bounded = InFlightLimit(value=28.2, is_slow_start=False)
    bounded.overloaded(0.0, 0.0)
    _, _, seen = run(waiting(48, 2.0), seconds=24, limit=bounded)
    assert seen[0] == 23 and seen[-1] <= 23 + 24 / 2


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
