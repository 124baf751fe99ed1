"""Scores against hand-worked tables, the tie rule and the bootstrap."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from eval.gold_ranks import ranks_in_rows
from eval.metrics import (
    DatasetHits,
    difference_interval,
    group_scores,
    interval,
    score,
)


def unit(*values: float) -> np.ndarray:
    vector = np.array(values, dtype=np.float32)
    return vector / np.linalg.norm(vector)


def hits_at_1(queries: np.ndarray, candidates: np.ndarray, pools: list[tuple[int, ...]]) -> np.ndarray:
    return ranks_in_rows(queries, candidates, pools).measures()["hit_at_1"]


def hit_at_1(scores: np.ndarray) -> float:
    """Of one pool, whose scores are those of one-dimensional embeddings."""
    return float(hits_at_1(np.ones((1, 1), np.float32), scores[:, None], [tuple(range(len(scores)))])[0])


def test_hits_of_a_hand_worked_table() -> None:
    candidates = np.stack([unit(1, 0), unit(0, 1), unit(1, 1), unit(1, 0)])
    queries = np.stack([unit(1, 0), unit(1, 0), unit(0, 1), unit(1, 0.1)])
    # Right and best; wrong (candidate 1 against 0); right in a pool of its own; tied with an equal candidate.
    pools = [(0, 1), (1, 0), (1, 2, 0), (0, 1, 3)]
    assert hits_at_1(queries, candidates, pools).tolist() == [1.0, 0.0, 1.0, 0.5]


@pytest.mark.parametrize("size", [2, 7, 40, 1000])
def test_equal_embeddings_score_exactly_chance(size: int) -> None:
    vector = np.random.default_rng(size).normal(size=257).astype(np.float32)
    vector /= np.linalg.norm(vector)
    pools = [tuple(np.roll(np.arange(size), shift).tolist()) for shift in range(3)]
    hits = hits_at_1(np.stack([vector] * 3), np.stack([vector] * size), pools)
    assert hits.mean() == pytest.approx(1 / size)


def test_ties_lost_by_rounding_alone_are_ties() -> None:
    assert hit_at_1(np.array([0.5, 0.5 + 3e-7, 0.2], dtype=np.float32)) == 0.5
    for more in (1e-4, 2e-6):
        assert hit_at_1(np.array([0.5, 0.5 + more, 0.2], dtype=np.float32)) == 0.0


@given(st.integers(2, 30), st.integers(0, 2**32 - 1))
@settings(max_examples=30, deadline=None)
def test_order_of_wrong_candidates_does_not_matter(size: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    scores = generator.integers(0, 3, size=size).astype(np.float32)
    shuffled = np.concatenate([scores[:1], generator.permutation(scores[1:])])
    assert hit_at_1(scores) == hit_at_1(shuffled)


def test_group_means_count_each_dataset_once() -> None:
    def hits(meta_task: str, split: str, values: list[float], chance: float) -> DatasetHits:
        return DatasetHits(meta_task=meta_task, split=split, hits=np.array(values), chance=chance)

    groups = group_scores(
        [
            hits("retrieval", "IND", [1.0] * 8, 0.1),
            hits("retrieval", "OOD", [0.0, 1.0], 0.3),
            hits("vqa", "IND", [0.0] * 4, 0.5),
        ],
        seed=0,
    )
    assert {name: item.value for name, item in groups.items()} == {
        "retrieval": 0.75,
        "vqa": 0.0,
        "IND": 0.5,
        "OOD": 0.5,
        "overall": 0.5,
    }
    assert groups["overall"].chance == pytest.approx(0.3)
    assert groups["overall"].count == 3


def test_bootstrap_covers_a_known_binomial() -> None:
    generator = np.random.default_rng(7)
    trials = 200
    covered = 0
    for trial in range(trials):
        low, high = interval([(generator.random(100) < 0.3).astype(float)], seed=trial)
        covered += low <= 0.3 <= high
    assert 0.89 <= covered / trials <= 0.99


def test_bootstrap_width_matches_the_normal_approximation() -> None:
    values = np.array([1.0] * 300 + [0.0] * 700)
    low, high = interval([values], seed=3)
    expected = 2 * 1.96 * np.sqrt(0.3 * 0.7 / 1000)
    assert high - low == pytest.approx(expected, rel=0.05)


def test_bootstrap_is_seeded() -> None:
    values = np.random.default_rng(0).random(50)
    first, again, other = (score(values, chance=0.1, seed=seed) for seed in (1, 1, 2))
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.value == other.value == pytest.approx(values.mean())


def test_strata_are_resampled_apart() -> None:
    # Two constant datasets: queries never move between them, so the mean of means does not vary at all.
    assert interval([np.zeros(10), np.ones(1000)], seed=0) == (0.5, 0.5)


def test_strata_are_drawn_independently() -> None:
    """Two datasets with the same hits: the mean of both varies less than either by the square root of two."""
    values = np.array([1.0] * 300 + [0.0] * 700)
    widths = [high - low for low, high in (interval([values] * count, seed=3) for count in (1, 2))]
    assert widths[1] == pytest.approx(widths[0] / np.sqrt(2), rel=0.1)


def test_beats_chance_needs_the_whole_interval() -> None:
    assert score([1.0] * 30, chance=0.5, seed=0).beats_chance
    assert not score([1.0, 0.0], chance=0.4, seed=0).beats_chance


def test_paired_difference() -> None:
    ours, theirs = np.array([1.0] * 50), np.array([0.0] * 25 + [1.0] * 25)
    low, high = difference_interval({"a": ours}, {"a": theirs}, seed=0)
    assert 0.3 < low < 0.5 < high < 0.7
