"""Two runs over the same queries: what one gains over the other, and whether chance would do as much.

Queries are paired: hits are subtracted query by query, so that what is easy or hard for both falls out. A mean is over sets, each
counting once; only sets that both have, with the same content, are compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics import interval
from eval.mmeb import MmebResult
from eval.retrieval_set import SEED
from eval.shared_sets import Row, grouped, shared_sets

FLIPS = 5000
_BLOCK_FLIPS = 4_000_000


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """The second run less the first, over one set or a mean of sets: its 95 % interval, and p of the permutation test.

    `won` and `lost` are queries at which the second run's hit is greater or smaller.
    """

    name: str
    kind: str
    first: float
    second: float
    low: float
    high: float
    p: float
    won: int
    lost: int

    @property
    def value(self) -> float:
        """The difference itself."""
        return self.second - self.first


def differences(first: MmebResult, second: MmebResult) -> list[Difference]:
    """By set, then by meta-task, IND and OOD, and over all. Raises DataError as `shared_sets`."""
    return [_difference(name, kind, rows) for name, kind, rows in grouped(shared_sets([first, second]))]


def permutation_p(strata: Sequence[np.ndarray], *, seed: int, flips: int = FLIPS) -> float:
    """How often a mean of means is at least as far from 0 when each difference has a sign by chance; the one seen counts as one.

    `strata` are differences by query (Q,), one array a set.
    """
    generator, seen = np.random.default_rng(seed), abs(float(np.mean([values.mean() for values in strata])))
    means = np.zeros(flips)
    for values in strata:
        moved = values[values != 0]
        block = max(1, _BLOCK_FLIPS // max(len(moved), 1))
        for start in range(0, flips, block):
            signs = generator.integers(0, 2, size=(min(block, flips - start), len(moved)), dtype=np.int8) * 2 - 1
            means[start : start + block] += (signs @ moved) / len(values)
    far = np.abs(means / len(strata)) >= seen - 1e-12
    return float((1 + far.sum()) / (1 + flips))


def table(found: Sequence[Difference]) -> str:
    """The differences as a plain text table, in percentage points."""
    titles = f"{'first':>6} {'second':>6} {'diff':>6}  {'95 % interval':<15} {'p':>6} {'won':>5} {'lost':>5}"
    lines = [f"{'dataset':<24} {'meta-task':<15} {titles}"]
    for each in found:
        spread = f"{100 * each.low:+.1f} to {100 * each.high:+.1f}"
        figures = f"{100 * each.first:>6.1f} {100 * each.second:>6.1f} {100 * each.value:>+6.1f}  {spread:<15} {each.p:>6.4f}"
        lines.append(f"{each.name:<24} {each.kind:<15} {figures} {each.won:>5} {each.lost:>5}")
    return "\n".join(lines)


def _difference(name: str, kind: str, pairs: Sequence[Row]) -> Difference:
    strata = [np.array(other.hits) - np.array(one.hits) for one, other in pairs]
    low, high = interval(strata, seed=SEED)
    return Difference(
        name=name,
        kind=kind,
        first=float(np.mean([np.mean(one.hits) for one, _ in pairs])),
        second=float(np.mean([np.mean(other.hits) for _, other in pairs])),
        low=low,
        high=high,
        p=permutation_p(strata, seed=SEED),
        won=int(sum((values > 0).sum() for values in strata)),
        lost=int(sum((values < 0).sum() for values in strata)),
    )
