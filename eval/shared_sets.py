"""The sets that several runs have in common: the same content under the same rules, and the groups that means are taken over."""

from collections.abc import Iterator, Sequence

from eval.mmeb import MmebResult
from eval.protocols import MMEB_V1
from eval.retrieval_set import DatasetResult
from pipeline.errors import DataError

Row = tuple[DatasetResult, ...]
"""One set as each of the runs has it."""


def shared_sets(results: Sequence[MmebResult]) -> list[Row]:
    """Sets that all runs have. Raises DataError where a set's content or the rules are not the same, or no set is in all."""
    # Results of before protocols had names are of the first.
    rules = [{"protocol": MMEB_V1.name, **each.provenance.settings, "seed": None} for each in results]
    for other in rules[1:]:
        if other != rules[0]:
            raise DataError(
                f"runs by other rules cannot be compared: {rules[0]} and {other}; evaluate one of them by the other's"
            )
    named = [{item.name: item for item in each.datasets} for each in results]
    rows = [tuple(each[name] for each in named) for name in named[0] if all(name in each for each in named)]
    for row in rows:
        if len({item.provenance.data for item in row}) > 1:
            raise DataError(f"{row[0].name}: its content is not the same in all runs; evaluate them on the same data")
    if not rows:
        raise DataError("the runs have no set in common; evaluate them on the same sets")
    return rows


def grouped(rows: Sequence[Row]) -> Iterator[tuple[str, str, Sequence[Row]]]:
    """Name, kind and sets of each line of a table: every set, then means by meta-task, IND and OOD, and over all."""
    groups: dict[str, list[Row]] = {}
    for row in rows:
        yield row[0].name, row[0].meta_task, [row]
        for name in (row[0].meta_task, row[0].split, "overall"):
            groups.setdefault(name, []).append(row)
    for name in sorted(groups, key=lambda name: (name == "overall", name in ("IND", "OOD"), name)):
        yield f"mean: {name}", f"{len(groups[name])} sets", groups[name]
