"""Numbers from embeddings and hits, in numpy alone: P@1 with fair ties, chance, means and bootstrap intervals."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

TIE_TOLERANCE = 1e-6
"""Scores closer than this are tied. Dot products of float32 unit vectors are rounded in the seventh digit, and the rounding
depends on where a candidate stands in a pool: without a tolerance a collapsed model would win some of its ties."""

RESAMPLES = 2000
LEVEL = 0.95
_BLOCK_DRAWS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Score:
    """A mean with its bootstrap interval, all between 0 and 1. `chance` is what guessing gives, `count` what was averaged."""

    value: float
    low: float
    high: float
    chance: float
    count: int

    @property
    def beats_chance(self) -> bool:
        """Whether the whole interval lies above chance."""
        return self.low > self.chance


def pool_scores(query: np.ndarray, candidates: np.ndarray, pool: Sequence[int]) -> np.ndarray:
    """Scores (P,) float32 of one query (D,) against its pool; no other pool is in memory."""
    return np.asarray(candidates[np.asarray(pool)] @ query, dtype=np.float32)


def bootstrap_means(strata: Sequence[np.ndarray], *, seed: int, resamples: int = RESAMPLES) -> np.ndarray:
    """Resampled means of the strata's means, (resamples,) float64: queries are redrawn within each stratum (dataset) alone."""
    totals = np.zeros(resamples)
    for number, values in enumerate(strata):
        generator = np.random.default_rng([seed, number])
        totals += np.concatenate(list(_resampled(values, generator, resamples)))
    return totals / len(strata)


def interval(strata: Sequence[np.ndarray], *, seed: int, level: float = LEVEL) -> tuple[float, float]:
    """Percentile bootstrap interval of the mean of the strata's means. Where all values are equal it has no width."""
    means = bootstrap_means(strata, seed=seed)
    low, high = np.quantile(means, [(1 - level) / 2, (1 + level) / 2])
    return float(low), float(high)


def score(values: Sequence[float] | np.ndarray, *, chance: float, seed: int) -> Score:
    """The mean of one dataset's values with its interval over queries."""
    values = np.asarray(values, dtype=np.float64)
    low, high = interval([values], seed=seed)
    return Score(value=float(values.mean()), low=low, high=high, chance=chance, count=len(values))


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetHits:
    """What a mean over datasets needs of one of them."""

    meta_task: str
    split: str
    hits: np.ndarray
    chance: float


def group_scores(datasets: Sequence[DatasetHits], *, seed: int) -> dict[str, Score]:
    """Means over datasets, each counting once whatever its size: by meta-task, IND, OOD, and `overall`.

    Intervals are stratified by dataset. `count` is the number of datasets; groups without one are left out.
    """
    groups: dict[str, list[DatasetHits]] = {}
    for dataset in sorted(datasets, key=lambda item: (item.meta_task, item.split)):
        for name in (dataset.meta_task, dataset.split, "overall"):
            groups.setdefault(name, []).append(dataset)
    return {name: _mean_score(members, seed) for name, members in groups.items()}


def difference_interval(ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], *, seed: int) -> tuple[float, float]:
    """Interval of the gain in the mean over datasets when two models answered the same queries: hits are paired by query."""
    return interval([np.asarray(ours[name]) - np.asarray(theirs[name]) for name in sorted(ours)], seed=seed)


def _mean_score(members: Sequence[DatasetHits], seed: int) -> Score:
    strata = [member.hits for member in members]
    low, high = interval(strata, seed=seed)
    value = float(np.mean([hits.mean() for hits in strata]))
    chance = float(np.mean([member.chance for member in members]))
    return Score(value=value, low=low, high=high, chance=chance, count=len(members))


def _resampled(values: np.ndarray, generator: np.random.Generator, resamples: int) -> Iterator[np.ndarray]:
    """Means of resamples in blocks, so that the drawn indices never need more than some 32 MB."""
    block = max(1, _BLOCK_DRAWS // len(values))
    for start in range(0, resamples, block):
        draws = generator.integers(len(values), size=(min(block, resamples - start), len(values)))
        yield values[draws].mean(axis=1)
