"""The report over several measured models, written as one page and as tables for other programs."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from eval.page import page_of
from eval.report_markup import Section
from eval.run_report import sections
from eval.run_report.beside import BesideTable, Line, Ours, ablation_table, main_table
from eval.run_report.measured import Lineage, Measured, Results
from eval.run_report.papers import ablation_tables, main_tables
from pipeline.manifest import write_atomic

PAGE_NAME, FIGURES_NAME, LINEAGE_NAME = "report.html", "figures.csv", "lineage.csv"

_FIGURE_COLUMNS = ("table", "row", "kind", "column", "value", "low", "high", "note", "run_id")
_LINEAGE_COLUMNS = (
    "run_id",
    "label",
    "recipe",
    "other",
    "trained_by",
    "checkpoint",
    "result",
    "model",
    "data",
    "settings",
    "folder",
)


def write_report(models: Sequence[Measured], ablations: Mapping[str, Ours], out: Path, *, notice: str = "") -> list[Path]:
    """Write the page and two CSV files into a folder, and return their paths. `ablations` are our runs by recipe."""
    main = [main_table(each, models) for each in main_tables()]
    rest = [ablation_table(each, ablations) for each in ablation_tables()]
    shown = {each.lineage.run_id for each in models}
    found = {ours.lineage.run_id: ours.lineage for ours in ablations.values() if ours.lineage.run_id not in shown}
    others = [_of_lineage(known) for known in found.values()]
    parts = _sections(models, main, rest, others)
    title = "Measured models: " + ", ".join(each.label for each in models)
    page = page_of(title, [each for each in parts if each.body], notice=notice, has_script=True)
    files = {
        PAGE_NAME: page,
        FIGURES_NAME: _csv(_FIGURE_COLUMNS, (row for each in (*main, *rest) for row in _figure_rows(each))),
        LINEAGE_NAME: _csv(_LINEAGE_COLUMNS, (row for each in (*models, *others) for row in _lineage_rows(each))),
    }
    for name, text in files.items():
        write_atomic(out / name, text)
    return [out / name for name in files]


def _sections(
    models: Sequence[Measured], main: Sequence[BesideTable], rest: Sequence[BesideTable], others: Sequence[Measured]
) -> list[Section]:
    return [
        sections.overview(models),
        sections.bars(models, main),
        sections.beside_papers([each for each in main if each.has_ours], "papers", "Beside the papers", _PAPERS_SAID),
        sections.elastic(models),
        sections.found(models),
        sections.answers(models),
        sections.cache(models),
        sections.speed(models),
        sections.beside_papers(rest, "ablations", "Ablations", _ablations_said(rest)),
        sections.lineage(models, others),
    ]


def _ablations_said(tables: Sequence[BesideTable]) -> str:
    rows = sum(len(each.paper.table.rows) for each in tables)
    ours = sum(line.kind == "ours" for each in tables for line in each.lines)
    return f"{_ABLATIONS_SAID} Of {rows} printed rows {ours} have a run here."


def _of_lineage(known: Lineage) -> Measured:
    """A run whose figures were read from what it noted."""
    return Measured(label=f"run {known.run_id[:8]}, {known.recipe}", lineage=known, results=Results(folder=Path(known.output)))


def _figure_rows(table: BesideTable) -> Iterator[tuple[object, ...]]:
    for line in table.lines:
        yield from _line_rows(table, line)


def _line_rows(table: BesideTable, line: Line) -> Iterator[tuple[object, ...]]:
    for column, cell in zip(table.paper.table.columns, line.cells, strict=True):
        if cell is not None:
            ends = ("" if end is None else f"{end:.4f}" for end in (cell.low, cell.high))
            yield (table.paper.name, line.label, line.kind, column, f"{cell.value:.4f}", *ends, cell.note, line.run)


def _lineage_rows(model: Measured) -> Iterator[tuple[object, ...]]:
    known = model.lineage
    whose = (known.run_id, model.label, known.recipe, known.other, known.trained_by, known.checkpoint)
    for name, made in model.results.sources():
        settings = ", ".join(f"{key} {value}" for key, value in sorted(made.settings.items()))
        yield (*whose, name, made.model, made.data, settings, model.results.folder)
    if not any(True for _ in model.results.sources()):
        yield (*whose, "noted figures", "", known.data, "", model.results.folder)


def _csv(columns: Sequence[str], rows: Iterator[tuple[object, ...]]) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return file.getvalue()


_PAPERS_SAID = (
    "Rows marked paper are what the papers print; nothing of them was measured here. A difference is ours less theirs, in "
    "points, with our 95 % interval; it is taken only where both measure the same. A star says why not."
)
_ABLATIONS_SAID = (
    "Rows that the papers print, each followed by the newest finished evaluation of its recipe in the store of tracked runs, "
    "with the very values of the recipe. What a run noted has no interval."
)
