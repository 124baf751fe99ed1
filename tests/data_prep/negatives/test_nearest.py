"""Ranks of candidates, held against a plain sort of all products."""

from itertools import pairwise

import numpy as np
import pytest

from data_prep.negatives import nearest as module
from data_prep.negatives.nearest import NOBODY, Exclusions, nearest, query_blocks


def plain(queries: np.ndarray, candidates: np.ndarray, excluded: list[list[int]], most: int) -> list[list[int]]:
    """From the definition: all candidates of a query, the nearest first, the lower number first among equals."""
    found = []
    for query, hidden in zip(queries, excluded, strict=True):
        products = {number: float(query @ candidates[number]) for number in range(len(candidates)) if number not in hidden}
        found.append(sorted(products, key=lambda number: (-products[number], number))[:most])
    return found


@pytest.mark.parametrize("num_candidates", [3, 40, 70])
@pytest.mark.parametrize("most", [1, 7, 50])
def test_ranks_are_those_of_a_plain_sort(num_candidates: int, most: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole numbers, so that products are exact and many of them equal; blocks that do not divide the numbers of rows."""
    monkeypatch.setattr(module, "QUERY_BLOCK", 4)
    monkeypatch.setattr(module, "CANDIDATE_BLOCK", 16)
    random = np.random.default_rng(num_candidates * most)
    queries = random.integers(-2, 3, (10, 3)).astype(np.float32)
    candidates = random.integers(-2, 3, (num_candidates, 3)).astype(np.float32)
    excluded = [sorted(set(random.integers(0, num_candidates, random.integers(0, 6)).tolist())) for _ in queries]
    rows = []
    for block in query_blocks(len(queries)):
        found = nearest(queries, candidates, Exclusions.of(excluded), block, most)
        for numbers, values, query in zip(found.candidates, found.similarities, queries[block], strict=True):
            there = numbers[numbers != NOBODY]
            rows.append(there.tolist())
            assert (numbers[len(there) :] == NOBODY).all() and (values[: len(there)] == candidates[there] @ query).all()
    assert rows == plain(queries, candidates, excluded, most)


def test_blocks_cover_every_query_once() -> None:
    for count in (0, 1, 511, 512, 513, 2000):
        blocks = query_blocks(count)
        assert [number for block in blocks for number in range(block.start, block.stop)] == list(range(count))
        assert all(first.stop == second.start for first, second in pairwise(blocks))


def test_a_query_that_has_nobody_left() -> None:
    one = np.ones((1, 2), dtype=np.float32)
    found = nearest(one, np.ones((2, 2), dtype=np.float32), Exclusions.of([[0, 1]]), slice(0, 1), 5)
    assert (found.candidates == NOBODY).all()
