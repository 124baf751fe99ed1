"""Our figures below the rows that a paper prints, and what they differ by where the two can be compared."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

from eval.run_report.figures import TOY, Figure, Figures, all_figures, answer_figures, retrieval_figures, set_figures
from eval.run_report.measured import Lineage, Measured
from eval.run_report.papers import PaperTable
from pipeline.recipes import printed_others

Kind = Literal["paper", "ours", "difference"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """A row of a table; None stands for a dash. `run` is the id of the run that our figures come from."""

    label: str
    kind: Kind
    cells: tuple[Figure | None, ...]
    run: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BesideTable:
    """A paper's table with our rows in it. `notes` say what cannot be compared, and why."""

    paper: PaperTable
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()

    @property
    def has_ours(self) -> bool:
        """Whether anything of ours stands in it."""
        return any(line.kind != "paper" for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Ours:
    """Figures of one of our models for a table: its row's label, where it comes from."""

    label: str
    lineage: Lineage
    figures: Figures


def main_table(paper: PaperTable, models: Sequence[Measured]) -> BesideTable:
    """A paper's table, then each of our models that has a figure in it."""
    ours = [Ours(label=each.label, lineage=each.lineage, figures=_figures_for(paper, each)) for each in models]
    there = [each for each in ours if any(column in each.figures for column in paper.table.columns)]
    lines = [*_printed(paper), *(line for each in there for line in our_lines(paper, each))]
    return BesideTable(paper=paper, lines=tuple(lines), notes=tuple(_notes(paper, there)))


def ablation_table(paper: PaperTable, found: Mapping[str, Ours]) -> BesideTable:
    """A paper's ablation, each row followed by ours of its recipe, where a run of it was found."""
    lines: list[Line] = []
    for row, line in zip(paper.table.rows, _printed(paper), strict=True):
        lines.append(line)
        ours = found.get(row.recipe or "")
        if ours is not None and any(column in ours.figures for column in paper.table.columns):
            lines += our_lines(paper, ours, row.figures)
    there = [found[row.recipe] for row in paper.table.rows if row.recipe and row.recipe in found]
    return BesideTable(paper=paper, lines=tuple(lines), notes=tuple(_notes(paper, there)))


def our_lines(paper: PaperTable, ours: Ours, figures: Sequence[float | None] | None = None) -> list[Line]:
    """A line of ours; and, below it, what it is more than the paper's row of its recipe where they can be compared."""
    columns, run = paper.table.columns, ours.lineage.run_id
    cells = tuple(ours.figures.get(column) for column in columns)
    lines = [Line(label=ours.label, kind="ours", cells=cells, run=run)]
    row = next((row for row in paper.table.rows if row.recipe == ours.lineage.recipe), None)
    theirs = figures if figures is not None else (row.figures if row else None)
    if theirs is None or ours.lineage.other:
        return lines
    apart = tuple(_difference(cell, value) for cell, value in zip(cells, theirs, strict=True))
    if any(apart):
        against = f"less the paper's {row.label}" if row else "less the paper's"
        lines.append(Line(label=against, kind="difference", cells=apart, run=run))
    return lines


def _difference(ours: Figure | None, theirs: float | None) -> Figure | None:
    """Ours less theirs, in points, with our interval moved; None where one is missing or they measure something else."""
    if ours is None or theirs is None or ours.note:
        return None
    low, high = (None if end is None else end - theirs for end in (ours.low, ours.high))
    return Figure(ours.value - theirs, low, high)


def _printed(paper: PaperTable) -> Iterator[Line]:
    for row in paper.table.rows:
        cells = tuple(None if value is None else Figure(value) for value in row.figures)
        yield Line(label=row.label, kind="paper", cells=cells)


def _figures_for(paper: PaperTable, model: Measured) -> Figures:
    """Our figures by the columns of a table: the names `AVG` and `MMEB` do not mean the same in each."""
    note = TOY if model.lineage.is_toy else ""
    results = model.results
    if paper.table.number == 11:
        return set_figures(results.retrieval, note) if results.retrieval else {}
    if paper.table == printed_others.BTOKS_MMEB:
        if results.retrieval_v2 is None:
            return {}
        found = retrieval_figures(results.retrieval_v2, note)
        return {"Image" if name == "Overall" else name: figure for name, figure in found.items()}
    if paper.table.number == 2:
        return answer_figures(results.questions.get("native", {}), note)
    return all_figures(results, note)


def _notes(paper: PaperTable, ours: Sequence[Ours]) -> Iterator[str]:
    """What of ours cannot be compared, once for each model and reason."""
    recipes = {row.recipe for row in paper.table.rows}
    for each in ours:
        reasons: dict[str, list[str]] = {}
        for column in paper.table.columns:
            if (figure := each.figures.get(column)) is not None and figure.note:
                reasons.setdefault(figure.note, []).append(column)
        for reason, columns in reasons.items():
            yield f"{each.label}: not comparable in {', '.join(columns)}: {reason}."
        if each.lineage.recipe not in recipes:
            yield f"{each.label}: its recipe, {each.lineage.recipe}, is no row of this table, so no difference is taken."
        elif each.lineage.other:
            yield f"{each.label}: {each.lineage.recipe} with other values ({each.lineage.other}), so no difference is taken."
