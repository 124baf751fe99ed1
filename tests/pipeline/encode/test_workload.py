"""What is cut into batches depends on the contents alone."""

import random
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.encode.scratch import scratch
from pipeline.encode.workload import BATCH_TOKENS, Workload, key_of
from pipeline.sample import Side
from tests.eval.fakes import FakeReader


def test_batches_are_sorted_by_cost_bounded_and_whole() -> None:
    lengths = [random.Random(3).randrange(1, 40_000) for _ in range(300)]
    work = Workload.of(FakeReader(), [Side(text=f"{number} {'x' * length}") for number, length in enumerate(lengths)])
    batches = list(work.batches())
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


def by_sorting_all(sides: Sequence[Side], most_tokens: int, most_sides: int) -> tuple[np.ndarray, ...]:
    """Keys, firsts and rows of sides, and batches one after another with their sizes, all in memory at once."""
    readings = [FakeReader().reading(side) for side in sides]
    keys = np.array([key_of(side, reading) for side, reading in zip(sides, readings, strict=True)], dtype="S32")
    distinct, firsts, rows = np.unique(keys, return_index=True, return_inverse=True)
    tokens = np.array([reading.tokens for reading in readings], dtype=int)[firsts]
    order, sizes, room = np.lexsort((firsts, tokens)), list[int](), 0
    for content in order:
        if not sizes or tokens[content] > room or sizes[-1] == most_sides:
            sizes.append(0)
            room = most_tokens
        sizes[-1] += 1
        room -= tokens[content]
    return distinct, firsts, rows, order, np.array(sizes, dtype=int)


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.tuples(st.integers(0, 12), st.integers(0, 90)), max_size=40),
    part=st.integers(1, 9),
    in_memory=st.sampled_from((0, 1 << 18)),
    most_tokens=st.integers(5, 60),
    most_sides=st.integers(1, 5),
)
def test_parts_of_sides_are_sorted_and_cut_as_all_at_once(
    texts: list[tuple[int, int]], part: int, in_memory: int, most_tokens: int, most_sides: int
) -> None:
    sides = [Side(text=f"{number} {'x' * length}") for number, length in texts]
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("pipeline.encode.scratch.PART_ROWS", part)
        patched.setattr("pipeline.encode.workload.BATCH_TOKENS", most_tokens)
        patched.setattr("pipeline.encode.workload.BATCH_SIDES", most_sides)
        patched.setitem(scratch.__kwdefaults__, "in_memory", in_memory)
        work = Workload.of(FakeReader(), sides)
        batches = work.batches()
        found = work.keys, work.firsts, work.rows, np.concatenate([np.zeros(0), *batches]), np.array(list(map(len, batches)))
    for ours, theirs in zip(found, by_sorting_all(sides, most_tokens, most_sides), strict=True):
        assert ours.tolist() == theirs.tolist()
    assert [batches.tokens(number) for number in range(len(batches))] == [int(work.tokens[batch].sum()) for batch in batches]
    longer = [len(side.text) // 4 for side in set(sides) if len(side.text) // 4 > 10]
    assert batches.longer_than(10) == (len(longer), max(longer, default=0))
