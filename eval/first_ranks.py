"""Where the first of several right candidates stands: what a hit needs, and nothing that a recall of all would."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.gold_ranks import BLOCK_SCORES, best_of_its_tie, counts
from eval.metrics import TIE_TOLERANCE, pool_scores
from eval.ranking import CUTOFFS, Ranking, Tied, hit, reciprocal_rank


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstRanks:
    """Of each query: candidates better than its best right one, those tied with it, right ones among these, right ones in the
    pool, and the pool."""

    better: tuple[int, ...] = ()
    tied: tuple[int, ...] = ()
    right: tuple[int, ...] = ()
    relevant: tuple[int, ...] = ()
    pool: tuple[int, ...] = ()

    def measures(self) -> dict[str, np.ndarray]:
        """Whether any right candidate is among the first k, and MRR, of every query (Q,) float64; exact under ties."""
        places = zip(self.better, self.tied, self.right, strict=True)
        return _of([Ranking((Tied(better), Tied(tied, (1,) * right))) for better, tied, right in places])

    def chance(self) -> dict[str, float]:
        """Each metric of a model that ties everything."""
        known = {each: Ranking((Tied(each[0], (1,) * each[1]),)) for each in set(zip(self.pool, self.relevant, strict=True))}
        guessed = _of([known[each] for each in zip(self.pool, self.relevant, strict=True)])
        return {name: float(values.mean()) for name, values in guessed.items()}


def _of(rankings: Sequence[Ranking]) -> dict[str, np.ndarray]:
    found = {f"recall_at_{cutoff}": np.array([hit(each, cutoff) for each in rankings]) for cutoff in CUTOFFS}
    return found | {"mrr": np.array([reciprocal_rank(each) for each in rankings])}


def first_ranks(queries: np.ndarray, candidates: np.ndarray, golds: Sequence[Sequence[int]]) -> FirstRanks:
    """Among all candidates (C, D), of which `golds[q]`, one or more, are right for query q of (Q, D); in blocks."""
    own = [pool_scores(query, candidates, gold) for query, gold in zip(queries, golds, strict=True)]
    best = np.array([scores.max() for scores in own], dtype=np.float32)[:, None]
    step = max(1, BLOCK_SCORES // len(queries))
    blocks = [slice(start, start + step) for start in range(0, len(candidates), step)]
    top = np.max([best_of_its_tie(queries @ candidates[block].T, best) for block in blocks], axis=0)
    better, tied = np.sum([counts(queries @ candidates[block].T, top) for block in blocks], axis=0).tolist()
    least = top[:, 0] - np.float32(TIE_TOLERANCE)
    right = [max(1, int((scores >= each).sum())) for scores, each in zip(own, least, strict=True)]
    return FirstRanks(
        better=tuple(better),
        tied=tuple(max(one, other) for one, other in zip(tied, right, strict=True)),
        right=tuple(right),
        relevant=tuple(map(len, golds)),
        pool=(len(candidates),) * len(queries),
    )


def choice_ranks(queries: np.ndarray, candidates: np.ndarray, pools: Sequence[Sequence[int]]) -> FirstRanks:
    """Among each query's own pool, whose first candidate is the right one."""
    found = [first_ranks(query[None], candidates[list(pool)], [[0]]) for query, pool in zip(queries, pools, strict=True)]
    names = ("better", "tied", "right", "relevant", "pool")
    return FirstRanks(**{name: tuple(getattr(each, name)[0] for each in found) for name in names})
