"""Several runs of one recipe, such as those of other seeds: the mean and the spread of P@1."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.mmeb import MmebResult
from eval.shared_sets import grouped, shared_sets


@dataclass(frozen=True, slots=True, kw_only=True)
class Spread:
    """P@1 of every run over one set or a mean of sets."""

    name: str
    kind: str
    values: tuple[float, ...]

    @property
    def mean(self) -> float:
        """Over runs."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float:
        """Standard deviation of a run, from the sample (n - 1)."""
        return float(np.std(self.values, ddof=1))


def spread(results: Sequence[MmebResult]) -> list[Spread]:
    """By set, then by meta-task, IND and OOD, and over all. Raises DataError as `shared_sets`."""
    lines = []
    for name, kind, rows in grouped(shared_sets(results)):
        values = np.mean([[np.mean(item.hits) for item in row] for row in rows], axis=0)
        lines.append(Spread(name=name, kind=kind, values=tuple(values.tolist())))
    return lines


def table(found: Sequence[Spread]) -> str:
    """Mean, standard deviation, least and most as a plain text table, in percent."""
    runs = len(found[0].values)
    lines = [f"{'dataset':<24} {'meta-task':<15} {'mean':>6} {'sd':>5} {'least':>6} {'most':>6}  of {runs} runs"]
    for each in found:
        figures = (
            f"{100 * each.mean:>6.1f} {100 * each.deviation:>5.1f} {100 * min(each.values):>6.1f} {100 * max(each.values):>6.1f}"
        )
        lines.append(f"{each.name:<24} {each.kind:<15} {figures}")
    return "\n".join(lines)
