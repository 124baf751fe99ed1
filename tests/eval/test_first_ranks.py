"""Ranks of the first of several right candidates: against sorting, against hand-worked ties, and what guessing gives."""

import itertools

import numpy as np
import pytest

from eval import first_ranks as module
from eval.first_ranks import FirstRanks, choice_ranks, first_ranks


def unit(rows: np.ndarray) -> np.ndarray:
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("block", [1 << 24, 64])
def test_hits_are_those_of_a_sorted_list(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Independent: sort every query's scores, look where its right ones stand."""
    monkeypatch.setattr(module, "BLOCK_SCORES", block)
    rng = np.random.default_rng(0)
    queries, candidates = unit(rng.normal(size=(20, 8))), unit(rng.normal(size=(60, 8)))
    golds = [sorted(rng.choice(60, size=rng.integers(1, 6), replace=False).tolist()) for _ in queries]
    found = first_ranks(queries, candidates, golds)
    order = np.argsort(-(queries @ candidates.T), axis=1)
    places = [min(row.tolist().index(gold) for gold in own) for row, own in zip(order, golds, strict=True)]
    assert found.better == tuple(places) and set(found.tied) == set(found.right) == {1}
    assert found.relevant == tuple(map(len, golds)) and set(found.pool) == {60}
    measures = found.measures()
    for cutoff in (1, 5, 10):
        assert measures[f"recall_at_{cutoff}"].tolist() == [float(place < cutoff) for place in places]
    np.testing.assert_allclose(measures["mrr"], 1 / (np.array(places) + 1))


def test_ties_are_means_over_their_orders() -> None:
    """Two right ones among four equal scores, behind one better: by listing all 24 orders."""
    orders = list(itertools.permutations([1, 1, 0, 0]))
    found = FirstRanks(better=(1,), tied=(4,), right=(2,), relevant=(2,), pool=(9,)).measures()
    expected = np.mean([any(order[:4]) for order in orders])
    assert found["recall_at_1"][0] == 0 and found["recall_at_5"][0] == pytest.approx(expected) == 1
    assert found["mrr"][0] == pytest.approx(np.mean([1 / (2 + order.index(1)) for order in orders]))
    second = FirstRanks(better=(3,), tied=(4,), right=(2,), relevant=(2,), pool=(9,)).measures()
    assert second["recall_at_5"][0] == pytest.approx(np.mean([any(order[:2]) for order in orders]))


def test_a_collapsed_model_scores_chance() -> None:
    same = np.ones((3, 4), dtype=np.float32) / 2
    found = first_ranks(same, np.repeat(same[:1], 20, axis=0), [[0, 1, 2, 3, 4], [5], [6, 7]])
    assert found.better == (0, 0, 0) and found.tied == (20, 20, 20) and found.right == (5, 1, 2)
    for name, values in found.measures().items():
        assert values.mean() == pytest.approx(found.chance()[name])
    assert found.chance()["recall_at_1"] == pytest.approx((5 + 1 + 2) / 60)


def test_scores_within_the_tolerance_are_tied() -> None:
    candidates = np.array([[1, 0], [1 - 4e-7, 0], [1 - 3e-6, 0]], dtype=np.float32)
    found = first_ranks(np.array([[1, 0]], dtype=np.float32), candidates, [[1]])
    assert (found.better, found.tied, found.right) == ((0,), (2,), (1,))


def test_two_captions_one_right() -> None:
    queries = unit(np.array([[1, 0], [0, 1], [1, 1]]))
    captions = unit(np.array([[1, 0], [0, 1], [1, 0], [0, 1], [1, 0], [0, 1]]))
    found = choice_ranks(queries, captions, [(0, 1), (2, 3), (4, 5)])
    assert found.measures()["recall_at_1"].tolist() == [1.0, 0.0, 0.5]
    assert found.chance()["recall_at_1"] == 0.5
