"""The report's tables: retrieval, questions, reconstruction, and what each number was made from."""

from collections.abc import Mapping, Sequence

from eval.benchmarks.benchmark import NO_SPLIT, Headline
from eval.compare import Comparison
from eval.metrics import Score
from eval.question_scores import Accuracy
from eval.reconstruct import ReconstructResult
from eval.report_markup import DASH, escape, number_cell, pairs_table, percent, row, score_cell, table, text_cell, yes_cell
from eval.results import Provenance
from eval.vlm_result import VlmResult

MODES = ("native", "compressed", "swapped")
_HEADINGS = {"native": "native", "compressed": "tokens alone", "swapped": "another picture's tokens"}


def retrieval_table(lines: Sequence[Comparison]) -> str:
    """P@1 by dataset and as means, beside chance, the untrained model and blank pictures."""
    columns = [
        ("dataset", False),
        ("meta-task", False),
        ("split", False),
        ("pool", True),
        ("chance", True),
        ("untrained", True),
        ("blank pictures", True),
        ("trained", True),
        ("learned", False),
    ]
    return table(columns, [_retrieval_row(line) for line in lines])


def question_table(results: Mapping[str, VlmResult]) -> str:
    """Accuracy of one question file by category, a column for each mode."""
    modes = [mode for mode in MODES if mode in results]
    first = results[modes[0]]
    columns = [
        ("category", False),
        ("rows", True),
        ("chance", True),
        ("majority", True),
        *((_HEADINGS[mode], True) for mode in modes),
    ]
    rows = [_question_row(name, [results[mode].categories[name] for mode in modes]) for name in first.categories]
    whole = [value for mode in modes if (value := results[mode].accuracy) is not None]
    if len(whole) == len(modes):
        rows.append(_question_row("all rows", whole, kind="mean"))
    rows += _own_rows([results[mode] for mode in modes])
    unparsed = ", ".join(f"{_HEADINGS[mode]} {results[mode].unparsed}" for mode in modes)
    note = f"Answers that no rule could read, counted as wrong: {unparsed}. Rows left out: {len(first.skipped)}."
    return f'<h3>{escape(first.name)}</h3>{table(columns, rows)}<p class="soft small">{escape(note)}</p>'


def reconstruction_table(result: ReconstructResult) -> str:
    """Shares of texts written out exactly, and a few of them."""
    columns = [("exactly the same words", False), ("texts", True), ("share", True)]
    shares: list[tuple[str, Score | None]] = [
        ("from the text's own tokens", result.own),
        ("of these, texts that training never saw", result.own_unseen),
        ("with another text's tokens put in", result.swapped),
    ]
    rows = [row([text_cell(name), number_cell(score.count if score else 0), score_cell(score)]) for name, score in shares]
    examples = [
        row([text_cell(item.text), text_cell(item.own), text_cell(item.swapped), text_cell("yes" if item.is_seen else "no")])
        for item in result.examples
    ]
    heads = [("text", False), ("from its own tokens", False), ("from another's tokens", False), ("seen in training", False)]
    return f"{table(columns, rows)}<h3>Examples</h3>{table(heads, examples)}"


def provenance_table(sources: Mapping[str, Provenance]) -> str:
    """Model, data, settings and libraries behind each result."""
    columns = [("result", False), ("model", False), ("data", False), ("settings", False)]
    rows = []
    for name, source in sources.items():
        settings = ", ".join(f"{key} {value}" for key, value in sorted(source.settings.items()))
        rows.append(row([text_cell(name), _digest_cell(source.model), _digest_cell(source.data), text_cell(settings)]))
    libraries = {name: version for source in sources.values() for name, version in source.libraries.items()}
    return f"{table(columns, rows)}<h3>Libraries</h3>{pairs_table(libraries)}" if rows else ""


def _retrieval_row(line: Comparison) -> str:
    is_mean = line.smallest_pool is None
    cells = [
        text_cell(f"mean: {line.name}" if is_mean else line.name),
        text_cell(line.kind),
        text_cell(line.split),
        number_cell(DASH if is_mean else line.smallest_pool),
        number_cell(percent(line.trained.chance)),
        score_cell(line.untrained),
        score_cell(line.blank),
        score_cell(line.trained),
        yes_cell(line.is_learned),
    ]
    return row(cells, kind="mean" if is_mean else "")


def _question_row(name: str, values: Sequence[Accuracy], *, kind: str = "") -> str:
    first = values[0]
    cells = [
        text_cell(name),
        number_cell(first.score.count),
        number_cell(percent(first.score.chance)),
        number_cell(percent(first.majority)),
    ]
    return row([*cells, *(score_cell(value.score) for value in values)], kind=kind)


def _own_rows(results: Sequence[VlmResult]) -> list[str]:
    """The benchmark's own table, then the figure that it is known by."""
    found: list[str] = []
    headline = results[0].headline
    for name, line in results[0].table.items():
        for column in (column for column in line if column != "rows"):
            values = [number_cell(_figure(result, name, column)) for result in results]
            label = f"{headline.name}: {column}" if name == NO_SPLIT else f"{name}: {column}"
            found.append(row([text_cell(label), *[number_cell("")] * 3, *values]))
    cells = [text_cell(f"overall: {headline.name}"), number_cell(_size(headline)), number_cell(""), number_cell("")]
    return [*found, row([*cells, *(score_cell(result.headline.score) for result in results)], kind="mean")]


def _figure(result: VlmResult, name: str, column: str) -> str:
    value = result.table.get(name, {}).get(column)
    return DASH if value is None else percent(value)


def _size(headline: Headline) -> str:
    count = headline.score.count if headline.score else 0
    return str(count) if count == headline.of else f"{count} of {headline.of}"


def _digest_cell(digest: str) -> str:
    return f'<td><code title="{escape(digest)}">{escape(digest[:12])}</code></td>'
