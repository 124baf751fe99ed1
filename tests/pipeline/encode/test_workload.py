"""What is cut into batches and dealt depends on the contents alone."""

import random

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encode.workload import BATCH_TOKENS, Workload, deal
from pipeline.sample import Side
from tests.eval.fakes import FakeReader


def test_batches_are_sorted_by_cost_bounded_and_whole() -> None:
    lengths = [random.Random(3).randrange(1, 40_000) for _ in range(300)]
    work = Workload.of(FakeReader(), [Side(text=f"{number} {'x' * length}") for number, length in enumerate(lengths)])
    batches = work.batches()
    assert sorted(np.concatenate(batches).tolist()) == list(range(300))
    tokens = [work.tokens[batch] for batch in batches]
    assert all(part.sum() <= BATCH_TOKENS or len(part) == 1 for part in tokens)
    assert (np.diff(np.concatenate(tokens)) >= 0).all()
    assert len(batches) < 1.5 * sum(lengths) / 4 / BATCH_TOKENS


def test_batches_do_not_depend_on_the_order_of_sides_of_other_lengths() -> None:
    sides = [Side(text="x" * 40 * (number + 1)) for number in range(30)]
    found = []
    for order in (sides, sides[::-1], sides + sides[3:9]):
        work = Workload.of(FakeReader(), order)
        found.append([[order[first].text for first in work.firsts[batch]] for batch in work.batches()])
    assert found[0] == found[1] == found[2]


@given(st.lists(st.integers(1, 1000), max_size=60), st.integers(1, 9))
@settings(max_examples=100, deadline=None)
def test_dealt_work_is_whole_and_even(costs: list[int], num_ranks: int) -> None:
    dealt = deal(costs, num_ranks)
    assert sorted(number for part in dealt for number in part) == list(range(len(costs))) and len(dealt) == num_ranks
    loads = [sum(costs[number] for number in part) for part in dealt]
    for load, part in zip(loads, dealt, strict=True):
        assert load - min((costs[number] for number in part), default=0) <= min(loads), (
            "its last batch was dealt to the least loaded"
        )
