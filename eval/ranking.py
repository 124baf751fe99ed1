"""Metrics of ranked lists, exact where scores are tied: the mean over all orders that the ties leave open.

A list is cut into groups of tied candidates, best first. No order is drawn and none is favoured, so a model that ties everything
scores what guessing scores. Gains are whole numbers above 0 for relevant candidates (1 where relevance is not graded). A list
without a relevant candidate scores 0 throughout, so that a mean is over all queries (trec_eval's -c).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate

import numpy as np

from eval.metrics import TIE_TOLERANCE

CUTOFFS = (1, 5, 10)

Gains = tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Tied:
    """Candidates of one score: how many, and the gains of the relevant ones among them."""

    size: int
    gains: Gains = ()

    def missed(self, slots: int | np.ndarray) -> np.ndarray:
        """The chance that none of its relevant candidates stands in its first so many places."""
        left = np.asarray(self.size - slots, dtype=np.float64)
        return np.prod([(left - number).clip(min=0) / (self.size - number) for number in range(len(self.gains))], axis=0)


@dataclass(frozen=True, slots=True)
class Ranking:
    """Groups of tied candidates, best first; those behind the last relevant one may be left out."""

    groups: tuple[Tied, ...]

    @classmethod
    def of_one(cls, better: int, tied: int) -> "Ranking":
        """One relevant candidate, tied with others to `tied` in all, behind `better` others."""
        return cls((Tied(better), Tied(tied, (1,))))

    @classmethod
    def of_scores(cls, scores: np.ndarray, gains: Sequence[int]) -> "Ranking":
        """Candidates by their scores (P,) and gains (0: not relevant). Scores within the tolerance of a group's best are tied."""
        order = np.argsort(-scores, kind="stable")
        groups: list[list[int]] = []
        for place in order.tolist():
            if not groups or scores[place] < scores[groups[-1][0]] - TIE_TOLERANCE:
                groups.append([])
            groups[-1].append(place)
        return cls(tuple(Tied(len(group), tuple(gains[place] for place in group if gains[place])) for group in groups))

    @property
    def gains(self) -> Gains:
        """Gains of all relevant candidates, greatest first."""
        return tuple(sorted((gain for group in self.groups for gain in group.gains), reverse=True))

    def placed(self) -> list[tuple[int, Tied]]:
        """Groups with relevant candidates, each with the number of candidates before it."""
        starts = accumulate((group.size for group in self.groups), initial=0)
        return [(start, group) for start, group in zip(starts, self.groups, strict=False) if group.gains]


def hit(ranking: Ranking, cutoff: int) -> float:
    """The chance that a relevant candidate stands among the first `cutoff`."""
    if len(ranking.gains) == 1:
        return recall(ranking, cutoff)  # the same, and without the rounding of 1 - (1 - x)
    missed = [group.missed(_slots(start, group, cutoff)) for start, group in ranking.placed()]
    return 1.0 - float(np.prod(missed))


def recall(ranking: Ranking, cutoff: int) -> float:
    """The share of relevant candidates among the first `cutoff`."""
    found = [len(group.gains) * _slots(start, group, cutoff) / group.size for start, group in ranking.placed()]
    return sum(found) / max(len(ranking.gains), 1)


def reciprocal_rank(ranking: Ranking) -> float:
    """One over the place of the first relevant candidate."""
    if not ranking.placed():
        return 0.0
    start, group = ranking.placed()[0]
    still_missed = group.missed(np.arange(group.size + 1))
    return float((-np.diff(still_missed) / (start + np.arange(1, group.size + 1))).sum())


def average_precision(ranking: Ranking) -> float:
    """The mean, over relevant candidates, of the precision at their places."""
    total, before = 0.0, 0
    for start, group in ranking.placed():
        size, relevant = group.size, len(group.gains)
        places = np.arange(size)
        # Given that a place holds a relevant one, the places before it in the group hold as many of the others on average.
        others = places * (relevant - 1) / max(size - 1, 1)
        total += float((relevant / size * (before + 1 + others) / (start + 1 + places)).sum())
        before += relevant
    return total / max(before, 1)


def ndcg(ranking: Ranking, cutoff: int, *, exponential: bool = False) -> float:
    """Discounted gain of the first `cutoff` over that of the best order; a gain of g counts g or, `exponential`, 2^g - 1."""
    worth: Callable[[int], int] = (lambda gain: 2**gain - 1) if exponential else (lambda gain: gain)
    best = sum(worth(gain) * discount for gain, discount in zip(ranking.gains, _discounts(0, cutoff), strict=False))
    found = 0.0
    for start, group in ranking.placed():
        mean = sum(map(worth, group.gains)) / group.size
        found += mean * float(_discounts(start, start + _slots(start, group, cutoff)).sum())
    return found / best if best else 0.0


def measures(ranking: Ranking) -> dict[str, float]:
    """Every metric by its name: hit, recall and nDCG at the usual cut-offs, MRR and MAP over the whole list."""
    found = {f"hit_at_{cutoff}": hit(ranking, cutoff) for cutoff in CUTOFFS}
    found |= {f"recall_at_{cutoff}": recall(ranking, cutoff) for cutoff in CUTOFFS}
    for name, exponential in (("linear", False), ("exponential", True)):
        found |= {f"ndcg_{name}_at_{cutoff}": ndcg(ranking, cutoff, exponential=exponential) for cutoff in CUTOFFS}
    return found | {"mrr": reciprocal_rank(ranking), "map": average_precision(ranking)}


def _slots(start: int, group: Tied, cutoff: int) -> int:
    """How many of a group stand among the first `cutoff`."""
    return min(max(cutoff - start, 0), group.size)


def _discounts(start: int, stop: int) -> np.ndarray:
    """1 / log2(place + 1) of the places after `start`, up to `stop`."""
    return 1.0 / np.log2(np.arange(start, stop) + 2)
