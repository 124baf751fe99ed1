"""What is cut into batches depends on the contents alone."""

import random

import numpy as np

from pipeline.encode.workload import BATCH_TOKENS, Workload
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
