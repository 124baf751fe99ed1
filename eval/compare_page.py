"""The queries whose hit is not the same in two runs, with their pictures, as one HTML page that needs no network."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from eval.encode import content_digest
from eval.mmeb import MmebResult
from eval.page import page_of
from eval.paired import Difference, differences
from eval.protocols import MMEB_V1, PROTOCOLS
from eval.report_markup import Section, escape, number_cell, paragraph, percent, pictures, row, table, text_cell
from eval.retrieval_example import ShownSide, shown
from eval.retrieval_set import DatasetResult
from eval.shared_sets import shared_sets
from pipeline.data.lazy_sides import chained
from pipeline.data.mmeb_eval import EvalSet, read_eval
from pipeline.errors import DataError
from pipeline.manifest import fingerprint, write_atomic

MOST = 20
"""Changed queries of a set that are shown, the greatest changes first."""

_NUMBERS = ("first", "second", "difference", "least", "most", "p", "won", "lost")
_COLUMNS = (
    ("query", True),
    ("asked", False),
    ("right candidate", False),
    ("rank before", True),
    ("rank after", True),
    ("of", True),
)


@dataclass(frozen=True, slots=True)
class Change:
    """A query by its number, and the mean place of its right candidate in either run."""

    query: int
    before: float
    after: float


def write_page(first: MmebResult, second: MmebResult, data: Path, out: Path, *, most: int = MOST) -> None:
    """Write the page. Raises DataError as `shared_sets`, and where the data folder is not the one that was measured."""
    rows = shared_sets([first, second])
    protocol = PROTOCOLS[str(first.provenance.settings.get("protocol", MMEB_V1.name))]
    sections = [Section("differences", "Differences, second less first", [_summary(differences(first, second))])]
    for one, other in rows:
        if changes := changed(one, other):
            eval_set = read_eval(data, one.name, verify=False, identity=protocol.identity(one.name))
            _check(eval_set, one, data)
            sections.append(_section(one, changes[:most], len(changes), eval_set))
    write_atomic(out, page_of("Two runs, query by query", sections))


def changed(one: DatasetResult, other: DatasetResult) -> list[Change]:
    """The queries whose hits differ, those whose right candidate moved most first."""
    places = [_places(each) for each in (one, other)]
    numbers = np.flatnonzero(np.array(one.hits) != np.array(other.hits)).tolist()
    found = [Change(number, *(float(each[number]) for each in places)) for number in numbers]
    return sorted(found, key=lambda each: (-abs(np.log(each.after / each.before)), each.query))


def _places(result: DatasetResult) -> np.ndarray:
    """The mean place (Q,) of each right candidate, ties shared. Raises DataError for a result of before ranks were kept."""
    if len(result.ranks.better) != len(result.hits):
        raise DataError(f"{result.name}: its result holds no ranks, as those of before; evaluate it again")
    return np.array(result.ranks.better) + (np.array(result.ranks.tied) + 1) / 2


def _check(eval_set: EvalSet, result: DatasetResult, data: Path) -> None:
    content = content_digest(chained(eval_set.queries, eval_set.candidates))
    if fingerprint([content, eval_set.pools]) != result.provenance.data:
        raise DataError(f"{data}: {result.name} is not what was measured; name the data folder of the two runs")


def _summary(found: Sequence[Difference]) -> str:
    columns = (("set", False), ("kind", False), *((name, True) for name in _NUMBERS))
    return table(
        columns,
        [
            row(
                [
                    *(text_cell(each.name), text_cell(each.kind)),
                    *(number_cell(percent(value)) for value in (each.first, each.second, each.value, each.low, each.high)),
                    *(number_cell(value) for value in (f"{each.p:.4f}", each.won, each.lost)),
                ]
            )
            for each in found
        ],
    )


def _section(result: DatasetResult, changes: Sequence[Change], count: int, eval_set: EvalSet) -> Section:
    said = f"{count} of {len(result.hits)} queries changed; shown are {len(changes)}, the greatest changes of rank first."
    rows = [
        row(
            [
                number_cell(each.query),
                _side(shown(eval_set.queries[each.query])),
                _side(shown(eval_set.candidates[eval_set.pools[each.query][0]])),
                *(number_cell(f"{place:g}") for place in (each.before, each.after)),
                number_cell(result.ranks.pool[each.query]),
            ]
        )
        for each in changes
    ]
    return Section(f"set-{result.name}", result.name, [paragraph(said), table(_COLUMNS, rows)])


def _side(side: ShownSide) -> str:
    return f"<td>{pictures(side.pictures)} {escape(side.text)}</td>"
