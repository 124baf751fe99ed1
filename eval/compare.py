"""Trained beside untrained, blank pictures and chance: the table that says whether something was learned."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from eval.metrics import Score, difference_interval
from eval.mmeb import MmebResult
from eval.retrieval_set import SEED, DatasetResult
from pipeline.errors import DataError

Interval = tuple[float, float]


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """One line: a dataset, or a mean over datasets (then `kind` says of how many and `smallest_pool` is None).

    `gain` is the interval of trained minus untrained, paired by query. Scores that were not measured are None.
    """

    name: str
    kind: str
    split: str
    smallest_pool: int | None
    trained: Score
    untrained: Score | None
    blank: Score | None
    gain: Interval | None

    @property
    def is_learned(self) -> bool:
        """Above chance and, where it was measured, above the untrained model, each beyond its 95 % interval."""
        return self.trained.beats_chance and (self.gain is None or self.gain[0] > 0)


def compare(trained: MmebResult, untrained: MmebResult | None = None, blank: MmebResult | None = None) -> list[Comparison]:
    """Lines for the trained model's datasets, then for its means, `overall` last.

    A score that another result lacks, or a mean that it has over other sets, counts as not measured. Raises DataError when the
    results were measured on different data.
    """
    for other in (untrained, blank):
        for item in trained.datasets:
            theirs = _dataset(other, item.name)
            if theirs is not None and theirs.provenance.data != item.provenance.data:
                raise DataError(
                    f"{item.name}: results of different evaluation data cannot stand in one table; evaluate all models again"
                )
    groups = sorted(trained.groups, key=lambda name: (name == "overall", name in ("IND", "OOD"), name))
    return [
        *(_dataset_line(item, untrained, blank) for item in trained.datasets),
        *(_group_line(name, trained, untrained, blank) for name in groups),
    ]


def _dataset_line(item: DatasetResult, untrained: MmebResult | None, blank: MmebResult | None) -> Comparison:
    other = _dataset(untrained, item.name)
    blanked = _dataset(blank, item.name)
    return Comparison(
        name=item.name,
        kind=item.meta_task,
        split=item.split,
        smallest_pool=item.smallest_pool,
        trained=item.score,
        untrained=other.score if other else None,
        blank=blanked.score if blanked else None,
        gain=_gain([item], untrained if other else None),
    )


def _group_line(name: str, trained: MmebResult, untrained: MmebResult | None, blank: MmebResult | None) -> Comparison:
    others = [other if other is not None and other.is_over(trained, name) else None for other in (untrained, blank)]
    scores = [other.groups[name] if other else None for other in others]
    return Comparison(
        name=name,
        kind=trained.size_of(name),
        split="",
        smallest_pool=None,
        trained=trained.groups[name],
        untrained=scores[0],
        blank=scores[1],
        gain=_gain(trained.members(name), others[0]),
    )


def _dataset(result: MmebResult | None, name: str) -> DatasetResult | None:
    return next((item for item in result.datasets if item.name == name), None) if result else None


def _gain(members: Sequence[DatasetResult], untrained: MmebResult | None) -> Interval | None:
    if untrained is None:
        return None
    theirs = {item.name: np.array(item.hits) for item in untrained.datasets}
    return difference_interval({item.name: np.array(item.hits) for item in members}, theirs, seed=SEED)
