"""The tables that papers print, as the report stands beside them. Every figure here is the papers'; none was measured by us."""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.recipes import printed, printed_magic, printed_others
from pipeline.recipes.printed import PrintedRow, PrintedTable

_TABLE_11 = Path(__file__).with_name("papers") / "crem_table_11.csv"
_RECIPES = {"CREM 2B": "crem_2b", "CREM 7B": "crem_7b"}

MAIN = (
    printed.MMEB,
    printed.COMPREHENSION,
    printed.CAPTIONS,
    printed_others.COMA_MMEB,
    printed_others.BTOKS_MMEB,
    printed_magic.MAGIC_MMEB,
    printed_magic.MAGIC_CAPTIONS,
)
"""The papers' main tables; all others are ablations."""


@dataclass(frozen=True, slots=True)
class PaperTable:
    """A table, and the paper that prints it."""

    paper: str
    table: PrintedTable

    @property
    def name(self) -> str:
        """How the page calls it."""
        number = f", Table {self.table.number}" if self.table.number else ""
        return f"{self.paper}{number}: {self.table.title}"


def main_tables() -> list[PaperTable]:
    """The main tables of all papers, and the one that goes by set."""
    found = [each for each in _all_tables() if each.table in MAIN]
    return [*found, PaperTable(next(iter(printed_others.PAPERS)), by_set())]


def ablation_tables() -> list[PaperTable]:
    """The tables whose rows are trainings that differ in one thing."""
    return [each for each in _all_tables() if each.table not in MAIN]


def by_set(path: Path = _TABLE_11) -> PrintedTable:
    """CREM's Table 11, turned: a row for each model, a column for each set of MMEB. Raises DataError for another file."""
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    try:
        heads, *rows = list(csv.reader(lines, strict=True))
        columns = [tuple(float(row[number]) for row in rows) for number in range(1, len(heads))]
    except (csv.Error, ValueError, IndexError) as error:
        raise DataError(f"{path}: not the paper's table ({error}); install the package again") from error
    models = zip(heads[1:], columns, strict=True)
    return PrintedTable(
        number=11,
        title="P@1 of each set of MMEB",
        columns=tuple(row[0] for row in rows),
        rows=tuple(PrintedRow(name, _RECIPES.get(name), figures) for name, figures in models),
    )


def _all_tables() -> Iterator[PaperTable]:
    for paper, tables in printed_others.PAPERS.items():
        yield from (PaperTable(paper, table) for table in tables)
