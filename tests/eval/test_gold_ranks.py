"""Places of right candidates against the sorted lists themselves, in rows and in whole sets, and the file of them."""

from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval import gold_ranks
from eval.gold_ranks import GoldRanks, ranks_in_rows, ranks_in_set, write_ranks


def vectors(count: int, seed: int) -> np.ndarray:
    """Coarse unit vectors, so that many scores are equal."""
    drawn = np.random.default_rng(seed).integers(-1, 2, size=(count, 4)).astype(np.float32)
    drawn[:, 0] += 0.5
    return drawn / np.linalg.norm(drawn, axis=1, keepdims=True)


def counted(scores: list[float]) -> tuple[int, int]:
    """Better and tied ones of the first, ties to within a millionth."""
    return sum(score > scores[0] + 5e-7 for score in scores), sum(abs(score - scores[0]) <= 5e-7 for score in scores)


@pytest.mark.parametrize("block", [7, 64, 1 << 24])
def test_places_are_those_of_the_lists(block: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Blocks of one candidate, of a few, and of all."""
    monkeypatch.setattr(gold_ranks, "BLOCK_SCORES", block)
    queries, candidates = vectors(9, 1), vectors(31, 2)
    pools = [[(7 * query + place) % 31 for place in range(5 + query)] for query in range(9)]
    scores = queries.astype(np.float64) @ candidates.T.astype(np.float64)
    in_rows = ranks_in_rows(queries, candidates, pools)
    expected = [counted([scores[query, place] for place in pool]) for query, pool in enumerate(pools)]
    assert list(zip(in_rows.better, in_rows.tied, strict=True)) == expected
    assert in_rows.measures()["hit_at_1"].tolist() == [1 / tied if not better else 0.0 for better, tied in expected]
    assert in_rows.pool == tuple(range(5, 14)) and max(in_rows.tied) > 1
    in_set = ranks_in_set(queries, candidates, [pool[0] for pool in pools])
    expected = [counted([scores[query, pool[0]], *np.delete(scores[query], pool[0])]) for query, pool in enumerate(pools)]
    assert list(zip(in_set.better, in_set.tied, strict=True)) == expected and in_set.pool == (31,) * 9


def test_a_collapsed_model_scores_chance_in_every_metric() -> None:
    vector = np.random.default_rng(0).normal(size=257).astype(np.float32)
    same = np.stack([vector / np.linalg.norm(vector)] * 50)
    ranks = ranks_in_set(same[:20], same, list(range(20)))
    assert ranks == GoldRanks(better=(0,) * 20, tied=(50,) * 20, pool=(50,) * 20)
    for name, values in ranks.measures().items():
        assert values.mean() == pytest.approx(ranks.chance()[name]), name
    assert ranks.chance()["hit_at_10"] == pytest.approx(0.2)


def test_ranks_are_written_a_row_a_query(tmp_path: Path) -> None:
    first, second = GoldRanks(better=(0, 3), tied=(1, 2), pool=(9, 9)), GoldRanks(better=(5,), tied=(1,), pool=(7,))
    write_ranks([SimpleNamespace(name="a", ranks=first), SimpleNamespace(name="b", ranks=second)], tmp_path / "ranks.parquet")
    assert pq.read_table(tmp_path / "ranks.parquet").to_pylist() == [
        {"dataset": "a", "query": 0, "better": 0, "tied": 1, "pool": 9},
        {"dataset": "a", "query": 1, "better": 3, "tied": 2, "pool": 9},
        {"dataset": "b", "query": 0, "better": 5, "tied": 1, "pool": 7},
    ]
