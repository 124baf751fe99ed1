"""What is kept of one question file in one mode, and how it is printed."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from eval.benchmarks.benchmark import Headline, Table
from eval.benchmarks.registry import BY_NAME
from eval.pictures import thumbnail
from eval.question_scores import Accuracy, by_category, overall
from eval.questions import QuestionRow, QuestionTable, SkippedRow
from eval.results import Provenance, Setting
from eval.verdicts import Verdict
from pipeline.cache_size import CacheSize

NUM_EXAMPLES = 8
SYSTEM_TOKENS, KEPT_TOKENS, CONTEXT_TOKENS = "system_tokens", "kept_tokens", "mean_context_tokens"
"""Conditions of answers from compression tokens: tokens of SYSTEM, those that are kept of a context, and those that it had."""
_SAID_APART = ("system", SYSTEM_TOKENS, KEPT_TOKENS, CONTEXT_TOKENS)


@dataclass(frozen=True, slots=True, kw_only=True)
class AnswerExample:
    """One question as the report shows it: thumbnails as data URIs, what was answered and how it was read."""

    index: str
    category: str
    question: str
    options: dict[str, str]
    answer: str
    prediction: str
    parsed: str | None
    is_hit: bool
    pictures: tuple[str, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class VlmResult:
    """Scores of one model on one question file in one mode.

    `headline` is the benchmark's own figure, `table` its own tables; `accuracy` and `categories` count every row by itself (None
    where no answer has a credit). `unparsed` answers matched no rule and are wrong. `hits` are credits in the order of the
    file, 0 where there is none. `num_rows` and `md5` are the file's. `conditions` are what answers were given under: limits of
    visual tokens and pixels, number type, system line, the longest answer.
    """

    name: str
    benchmark: str
    mode: str
    provenance: Provenance
    headline: Headline
    table: dict[str, dict[str, float]]
    notes: tuple[str, ...]
    accuracy: Accuracy | None
    categories: dict[str, Accuracy]
    unparsed: int
    num_rows: int
    md5: str
    conditions: dict[str, Setting]
    skipped: tuple[SkippedRow, ...]
    hits: tuple[float, ...]
    examples: tuple[AnswerExample, ...]


def result_of(
    table: QuestionTable,
    verdicts: Sequence[Verdict],
    made_of: Provenance,
    conditions: Mapping[str, Setting],
    said: tuple[str, ...] = (),
) -> VlmResult:
    """Score the verdicts of a table's rows, in order. `said` is what else a reader must know of them."""
    benchmark = BY_NAME[table.benchmark]
    scores = benchmark.scores(verdicts, table)
    counted = benchmark.counted(verdicts)
    categories = by_category(counted)
    changed = (f"not the published file: {table.changed}",) if table.changed else ()
    return VlmResult(
        name=table.name,
        benchmark=table.benchmark,
        mode=str(made_of.settings["mode"]),
        provenance=made_of,
        headline=scores.headline,
        table=scores.table,
        notes=(*changed, *scores.notes, *said),
        accuracy=overall(counted, categories),
        categories=categories,
        unparsed=sum(each.parsed is None and each.credit is not None for each in verdicts),
        num_rows=table.num_rows,
        md5=table.md5,
        conditions=dict(conditions),
        skipped=table.skipped,
        hits=tuple(each.value for each in verdicts),
        examples=tuple(map(_example, _shown(verdicts))),
    )


def table_text(result: VlmResult) -> str:
    """The result as a plain text table, in percent, with 95 % intervals; the last line with figures is the benchmark's own."""
    name = f"{result.name}, {result.mode}"
    lines = [f"{name:<32} {'accuracy':>8}  {'95 % interval':<14} {'majority':>8} {'rows':>6}"]
    lines += [_table_row(name, item) for name, item in result.categories.items()]
    if result.accuracy is not None:
        lines.append(_table_row("all rows", result.accuracy))
    lines += _own_lines(result.table)
    lines.append(f"  overall: {headline_text(result.headline)}")
    lines += [f"  {note}" for note in result.notes]
    shown = {name: value for name, value in sorted(result.conditions.items()) if name not in _SAID_APART}
    lines.append("  asked with " + ", ".join(f"{name} {value}" for name, value in shown.items()))
    if (size := kept_tokens(result)) is not None:
        lines.append(
            f"  cache: {size.compression} of {size.context:.1f} context tokens, {100 * size.share:.2f} %; "
            f"with {size.system} of SYSTEM {100 * size.share_with_system:.2f} %"
        )
    matcher = result.provenance.settings["matcher"]
    lines.append(f"  unparsed: {result.unparsed}; rows left out: {len(result.skipped)} of {result.num_rows}; matcher {matcher}")
    return "\n".join(lines)


def kept_tokens(result: VlmResult) -> CacheSize | None:
    """What the answers were given from; None for native ones, where no row has a context, and where it was not noted before."""
    known = [result.conditions.get(name) for name in (SYSTEM_TOKENS, KEPT_TOKENS, CONTEXT_TOKENS)]
    if any(value is None for value in known):
        return None
    system, compression, context = (float(value) for value in known if value is not None)
    if not context:
        return None
    return CacheSize(system=int(system), compression=int(compression), context=context)


def headline_text(headline: Headline) -> str:
    """The figure with its interval and over how many of how many it is, or why it was not computed."""
    if headline.score is None:
        return f"{headline.name} not computed: {headline.why}"
    score = headline.score
    size = f"{score.count}" if score.count == headline.of else f"{score.count} of {headline.of}"
    figures = f"{100 * score.value:.1f} ({100 * score.low:.1f}-{100 * score.high:.1f})"
    return f"{figures}, {headline.name}, {size} {headline.unit}"


def _own_lines(table: Table) -> list[str]:
    """The benchmark's tables, a line each, in percent; counts as they are."""
    return [
        f"  {name}: " + ", ".join(f"{column} {_shown_figure(column, value)}" for column, value in line.items())
        for name, line in table.items()
    ]


def _shown_figure(column: str, value: float) -> str:
    return f"{value:.0f}" if column == "rows" else f"{100 * value:.1f}"


def _table_row(name: str, item: Accuracy) -> str:
    spread = f"{100 * item.score.low:.1f}-{100 * item.score.high:.1f}"
    return f"  {name:<30} {100 * item.score.value:>8.1f}  {spread:<14} {100 * item.majority:>8.1f} {item.score.count:>6}"


def _shown(verdicts: Sequence[Verdict]) -> list[Verdict]:
    """A few rows of each category in turn, spread over the file: the same in every mode, so that they can stand side by side."""
    groups: dict[str, list[Verdict]] = {}
    for each in verdicts:
        groups.setdefault(each.row.category, []).append(each)
    turns = -(-NUM_EXAMPLES // len(groups))
    picked = [group[turn * len(group) // turns] for turn in range(turns) for group in groups.values() if turn < len(group)]
    return picked[:NUM_EXAMPLES]


def _example(each: Verdict) -> AnswerExample:
    row: QuestionRow = each.row
    return AnswerExample(
        index=row.index,
        category=row.category,
        question=row.question,
        options=dict(row.options),
        answer=row.answer,
        prediction=each.prediction,
        parsed=each.parsed,
        is_hit=each.is_hit,
        pictures=tuple(map(thumbnail, row.images)),
    )
