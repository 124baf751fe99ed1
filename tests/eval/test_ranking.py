"""Metrics against tables worked by hand, and against their definitions over every order that ties leave open."""

import math
from collections.abc import Sequence
from itertools import pairwise, permutations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.ranking import Ranking, measures, ndcg


def by_definition(gains: Sequence[int]) -> dict[str, float]:
    """Each metric of a list without ties, as it is written in textbooks."""
    relevant = [place for place, gain in enumerate(gains, start=1) if gain]
    found: dict[str, float] = {}
    for cutoff in (1, 5, 10):
        top = [place for place in relevant if place <= cutoff]
        found[f"hit_at_{cutoff}"] = float(bool(top))
        found[f"recall_at_{cutoff}"] = len(top) / len(relevant) if relevant else 0.0
        for name, worth in (("linear", lambda gain: gain), ("exponential", lambda gain: 2**gain - 1)):
            dcg, ideal = (
                sum(worth(gain) / math.log2(place + 1) for place, gain in enumerate(order[:cutoff], start=1))
                for order in (gains, sorted(gains, reverse=True))
            )
            found[f"ndcg_{name}_at_{cutoff}"] = dcg / ideal if ideal else 0.0
    found["mrr"] = 1 / relevant[0] if relevant else 0.0
    precisions = [number / place for number, place in enumerate(relevant, start=1)]
    found["map"] = sum(precisions) / len(relevant) if relevant else 0.0
    return found


def over_all_orders(scores: Sequence[int], gains: Sequence[int]) -> dict[str, float]:
    """The mean over every order in which no candidate stands before one with a better score."""
    orders = [order for order in permutations(range(len(scores))) if all(scores[a] >= scores[b] for a, b in pairwise(order))]
    tables = [by_definition([gains[place] for place in order]) for order in orders]
    return {name: sum(table[name] for table in tables) / len(tables) for name in tables[0]}


@given(st.lists(st.tuples(st.integers(0, 2), st.integers(0, 3)), min_size=1, max_size=6))
@settings(max_examples=150, deadline=None)
def test_ties_count_as_the_mean_over_all_orders(candidates: list[tuple[int, int]]) -> None:
    """Graded relevance, duplicates, no relevant candidate at all."""
    scores, gains = zip(*candidates, strict=True)
    found = measures(Ranking.of_scores(np.array(scores, dtype=np.float32), gains))
    assert found == pytest.approx(over_all_orders(scores, gains), abs=1e-12)


def test_a_table_worked_by_hand() -> None:
    """Relevant at places 2 (gain 2) and 4 (gain 1) of 12."""
    scores = np.array([9, 8, 7, 6, 5, 4, 3, 2, 1, 0, -1, -2], dtype=np.float32)
    found = measures(Ranking.of_scores(scores, [0, 2, 0, 1, *[0] * 8]))
    assert (found["hit_at_1"], found["hit_at_5"], found["recall_at_1"], found["recall_at_5"]) == (0, 1, 0, 1)
    assert (found["mrr"], found["map"]) == (0.5, pytest.approx((1 / 2 + 2 / 4) / 2))
    assert found["ndcg_linear_at_5"] == pytest.approx((2 / math.log2(3) + 1 / math.log2(5)) / (2 + 1 / math.log2(3)))
    assert found["ndcg_exponential_at_5"] == pytest.approx((3 / math.log2(3) + 1 / math.log2(5)) / (3 + 1 / math.log2(3)))
    assert found["ndcg_linear_at_1"] == 0


def test_one_right_candidate_among_ties() -> None:
    """Behind 3 better ones, tied with 3 others: at place 4, 5, 6 or 7."""
    found = measures(Ranking.of_one(3, 4))
    assert (found["hit_at_1"], found["hit_at_5"], found["hit_at_10"]) == (0, 0.5, 1)
    assert found["mrr"] == found["map"] == pytest.approx((1 / 4 + 1 / 5 + 1 / 6 + 1 / 7) / 4)
    assert ndcg(Ranking.of_one(3, 4), 5) == pytest.approx((1 / math.log2(5) + 1 / math.log2(6)) / 4)


@pytest.mark.parametrize("size", [1, 7, 1000, 1_000_000])
def test_a_model_that_ties_everything_scores_as_guessing_does(size: int) -> None:
    found = measures(Ranking.of_one(0, size))
    assert found["hit_at_1"] == pytest.approx(1 / size)
    assert found["hit_at_10"] == found["recall_at_10"] == pytest.approx(min(10, size) / size)
    assert found["mrr"] == pytest.approx((1 / np.arange(1, size + 1)).sum() / size)


@given(st.integers(1, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=50, deadline=None)
def test_hit_at_1_is_the_share_of_the_first_place(size: int, seed: int) -> None:
    scores = np.random.default_rng(seed).integers(0, 3, size=size).astype(np.float32)
    ranking = Ranking.of_scores(scores, [1, *[0] * (size - 1)])
    assert measures(ranking)["hit_at_1"] == pytest.approx((scores[0] == scores.max()) / (scores == scores.max()).sum())


def test_scores_that_rounding_alone_tells_apart_are_tied() -> None:
    scores = np.array([0.5, 0.5 + 3e-7, 0.2, 0.5 - 3e-6], dtype=np.float32)
    assert [group.size for group in Ranking.of_scores(scores, [1, 0, 0, 0]).groups] == [2, 1, 1]
