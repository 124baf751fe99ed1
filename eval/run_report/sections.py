"""The sections of the page over several measured models."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from eval.page import render
from eval.plots import curves, grouped_bars
from eval.report_examples import answer_example, answered, retrieval_example
from eval.report_markup import DASH, Section, escape, paragraph
from eval.retrieval_example import RetrievalExample
from eval.run_report.beside import BesideTable
from eval.run_report.figures import TOY, Figure, answer_means, retrieval_figures
from eval.run_report.measured import Measured, Results
from eval.vlm_result import kept_tokens

TURNED_FROM = 12
"""A table of more columns than these has its sets as rows."""

PAPER_RETENTION = "83 %"
"""CREM, section 4: what is left of the quality of native answers in those from the tokens alone."""

_BARS = ("CLS", "QA", "RET", "GD", "IND", "OOD", "Overall")
_BARS_SAID = (
    "P@1 with 95 % bootstrap intervals over queries, stratified by set. Dotted: what the paper prints for the recipe. "
    "Whether the two can be compared stands below the tables."
)
_FOUND_SAID = (
    "The query on the left, its best candidates on the right; the right one is framed. A picture is enlarged by a click or Enter."
)
_ANSWERS_SAID = "The same questions answered with the picture in sight and from its compression tokens alone."
_CACHE_SAID = (
    "Tokens whose keys and values are kept, over the measured mean number of context tokens of the questions. The CREM paper "
    "prints 1.12 % for 16 tokens, without SYSTEM, which all items share."
)
_SPEED_SAID = "The last values that the runs of the trainings noted, on their own machines."
_SPEEDS = {
    "train/pairs_per_second": "pairs/s",
    "train/tokens_per_second": "tokens/s",
    "train/peak_memory_gib": "peak GiB",
    "seconds": "seconds in all",
    "steps": "steps",
}


@dataclass(frozen=True, slots=True)
class Item:
    """Something to look at: what it is filtered by, and its HTML."""

    of: Mapping[str, str]
    body: str


def overview(models: Sequence[Measured]) -> Section:
    """The few numbers that a reader looks for first."""
    rows = []
    for each in models:
        means = answer_means(each.results)
        native, compressed = means.get("native"), means.get("compressed")
        retrieval = each.results.retrieval
        retention = f"{100 * compressed / native:.0f} %" if native and compressed is not None else DASH
        rows.append(
            {
                "label": each.label,
                "run": each.lineage.run_id,
                "recipe": each.lineage.recipe,
                "other": each.lineage.other,
                "overall": f"{100 * retrieval.overall.value:.1f}, {retrieval.size_of('overall')}" if retrieval else DASH,
                "native": DASH if native is None else f"{native:.1f}",
                "compressed": DASH if compressed is None else f"{compressed:.1f}",
                "retention": retention,
            }
        )
    said = (
        "In percent. Native, and from tokens alone: the mean of the question files' own figures, over those that both have. "
        f"Comp/Nat is what is left of it without the picture; the CREM paper prints {PAPER_RETENTION} for its six benchmarks."
    )
    return Section("overview", "The models", [render("runs.html.j2", {"rows": rows, "said": said})])


def beside_papers(tables: Sequence[BesideTable], anchor: str, title: str, said: str) -> Section:
    """Tables of papers with our rows."""
    shown = [render("beside.html.j2", {"table": each, "turned": len(each.paper.table.columns) > TURNED_FROM}) for each in tables]
    return Section(anchor, title, [paragraph(said), *shown] if shown else [])


def bars(models: Sequence[Measured], tables: Sequence[BesideTable]) -> Section:
    """Means by meta-task with their intervals; the rows of papers that our recipes stand for as dotted lines."""
    found = {each.label: retrieval_figures(each.results.retrieval) for each in models if each.results.retrieval}
    if not found:
        return Section("tasks", "By meta-task", [])
    drawn = {label: [_bar(figures.get(column)) for column in _BARS] for label, figures in found.items()}
    recipes = {each.lineage.recipe for each in models if not each.lineage.other}
    marks = {}
    for table in (each.paper.table for each in tables if set(_BARS) <= set(each.paper.table.columns)):
        for row in (row for row in table.rows if row.recipe in recipes):
            figures = dict(zip(table.columns, row.figures, strict=True))
            marks[f"paper: {row.label}"] = [figures[column] for column in _BARS]
    plot = f'<div class="wide-plot">{grouped_bars(_BARS, drawn, marks, "tasks")}</div>'
    return Section("tasks", "By meta-task", [paragraph(_BARS_SAID), plot])


def elastic(models: Sequence[Measured]) -> Section:
    """What each number of tokens is worth, of models that were trained for several."""
    parts = []
    for number, each in enumerate(model for model in models if model.fewer):
        by_count = {**each.fewer, each.tokens: each.results}
        lines = {"P@1, overall": _points(by_count, _overall), "answers from tokens alone": _points(by_count, _answers)}
        native = answer_means(each.results).get("native")
        across = {"native answers": native} if native is not None else {}
        lines = {label: points for label, points in lines.items() if points}
        if lines:
            plot = curves(lines, across, ("compression tokens", "%"), f"elastic{number}")
            parts += [f"<h3>{escape(each.label)}</h3>", f'<div class="wide-plot">{plot}</div>']
    return Section("elastic", "By number of tokens", parts)


def found(models: Sequence[Measured]) -> Section:
    """Queries with what was found for them."""
    items = []
    for each in models:
        for item in each.results.retrieval.datasets if each.results.retrieval else ():
            for example in item.examples:
                of = {"set": item.name, "found": "right" if _is_first(example) else "wrong", "model": each.label}
                items.append(Item(of, retrieval_example(example)))
    return _examples("found", "What was found", _FOUND_SAID, items)


def answers(models: Sequence[Measured]) -> Section:
    """The same questions answered natively and from the tokens alone."""
    items = []
    for each in models:
        modes = each.results.questions
        for file in modes.get("native", {}) or modes.get("compressed", {}):
            for example in answered({mode: files[file] for mode, files in modes.items() if file in files}):
                verdicts = ", ".join(f"{mode} {'right' if one.is_hit else 'wrong'}" for mode, one in example.items())
                items.append(Item({"file": file, "verdict": verdicts, "model": each.label}, answer_example(example)))
    return _examples("answers", "Native and compressed answers", _ANSWERS_SAID, items)


def speed(models: Sequence[Measured]) -> Section:
    """What the trainings noted of their speed."""
    columns = [name for name in _SPEEDS if any(name in each.speed for each in models)]
    if not columns:
        return Section("speed", "Speed of training", [])
    rows = [(each.label, [f"{each.speed[c]:,.1f}" if c in each.speed else DASH for c in columns]) for each in models]
    values = {"said": _SPEED_SAID, "columns": [_SPEEDS[name] for name in columns], "rows": rows}
    return Section("speed", "Speed of training", [render("numbers.html.j2", values)])


def cache(models: Sequence[Measured]) -> Section:
    """What answers from the tokens alone keep of their contexts."""
    rows = []
    for each in models:
        for name, result in each.results.questions.get("compressed", {}).items():
            if (size := kept_tokens(result)) is not None:
                counts = (f"{size.system}", f"{size.compression}", f"{size.context:.1f}")
                shares = (f"{100 * size.share:.2f} %", f"{100 * size.share_with_system:.2f} %")
                rows.append((f"{each.label}, {name}", [*counts, *shares]))
    if not rows:
        return Section("cache", "Cache of compressed answers", [])
    columns = ["SYSTEM", "kept", "context, mean", "kept share", "share with SYSTEM"]
    shown = render("numbers.html.j2", {"said": _CACHE_SAID, "columns": columns, "rows": rows})
    return Section("cache", "Cache of compressed answers", [shown])


def lineage(models: Sequence[Measured], others: Sequence[Measured] = ()) -> Section:
    """Where each number comes from."""
    shown = []
    for each in (*models, *others):
        facts = {name: value for name, value in _facts(each).items() if value}
        sources = [{"name": name, "made": made} for name, made in each.results.sources()]
        shown.append({"label": each.label, "lineage": each.lineage, "facts": facts, "sources": sources})
    return Section("lineage", "Where the numbers come from", [render("lineage.html.j2", {"models": shown})])


def _facts(model: Measured) -> dict[str, str]:
    known = model.lineage
    return {
        "run": known.run_id,
        "recipe": f"{known.recipe}, other in {known.other}" if known.other else known.recipe,
        "trained by run": known.trained_by,
        "checkpoint": known.checkpoint,
        "data": f"{known.data} ({TOY}: not comparable with MMEB)" if known.is_toy else known.data,
        "commit": known.commit,
        "results": str(model.results.folder),
    }


def _examples(anchor: str, title: str, said: str, items: Sequence[Item]) -> Section:
    if not items:
        return Section(anchor, title, [])
    lists: dict[str, list[str]] = {}
    for item in items:
        for name, value in item.of.items():
            if value not in lists.setdefault(name, []):
                lists[name].append(value)
    return Section(anchor, title, [render("examples.html.j2", {"said": said, "items": items, "lists": lists})])


def _is_first(example: RetrievalExample) -> bool:
    return any(each.is_right and each.rank == 1 for each in example.candidates)


def _bar(figure: Figure | None) -> tuple[float, float | None, float | None] | None:
    return None if figure is None else (figure.value, figure.low, figure.high)


def _points(by_count: Mapping[int, Results], value: Callable[[Results], float | None]) -> list[tuple[float, float]]:
    known = [(count, value(results)) for count, results in sorted(by_count.items())]
    return [(float(count), figure) for count, figure in known if figure is not None]


def _overall(results: Results) -> float | None:
    return None if results.retrieval is None else 100 * results.retrieval.overall.value


def _answers(results: Results) -> float | None:
    return answer_means(results).get("compressed")
