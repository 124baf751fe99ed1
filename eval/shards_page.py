"""One self-contained HTML page on a converted corpus: counts, histograms, rejects by reason, and rows with their pictures."""

import random
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from eval.page import page_of
from eval.pictures import thumbnail
from eval.report_markup import Section, escape, number_cell, paragraph, pictures, row, table, text_cell
from pipeline.data.shard_summary import Summary, summarize
from pipeline.data.shards import ShardIndex
from pipeline.manifest import write_atomic
from pipeline.sample import Sample, Side

_MAX_TEXT = 700
_BAR_CELLS = 100
_PREFIXES = ("", "k", "M", "G")
_COLUMNS = (
    *(("dataset", False), ("kind", False), ("rows read", True), ("converted", True), ("rejected", True), ("pictures", True)),
    *(("duplicates", True), ("shards", True), ("MB", True), ("limit, pixels", True), ("verified", False), ("mended", False)),
)


def write_page(shards: Path, out: Path, *, rows: int, seed: int) -> None:
    """Write the page: `rows` of each dataset, drawn by `seed`. Raises DataError where there are no finished shards."""
    index = ShardIndex.open(shards)
    folders = {path.name: path for path in shards.iterdir() if path.is_dir() and path.name[0] != "."}
    found = [summarize(folders[name]) for name in sorted(folders)]
    sections = [
        Section("counts", "Counts", [paragraph(_COUNTS), _counts(found)]),
        Section("rejects", "Rejects by reason", [_reasons(found)]),
        *(_dataset(summary, index, rows=rows, seed=seed) for summary in found),
    ]
    index.close()
    write_atomic(out, page_of("Converted shards", [section for section in sections if section.body]))


_COUNTS = (
    "Rows read are rows converted plus rows rejected. Duplicates are pictures whose bytes stand in the dataset before; "
    "captions and questions about one picture make them. Pictures over the limit were shrunk to it."
)


def _counts(found: list[Summary]) -> str:
    return table(_COLUMNS, [_line(summary) for summary in found])


def _line(summary: Summary) -> str:
    stats = summary.stats
    size = sum(shard.bytes for shard in stats.shards) / 1e6
    numbers = (stats.read, stats.converted, stats.rejected, stats.pictures, stats.duplicate_pictures, len(stats.shards))
    mended = ", ".join(f"{name.replace('_', ' ')} {count}" for name, count in stats.mended.items() if count)
    return row(
        [
            *(text_cell(stats.dataset), text_cell(stats.kind)),
            *(number_cell(f"{number:,}") for number in numbers),
            number_cell(f"{size:,.1f}"),
            number_cell("none" if stats.max_pixels is None else f"{stats.max_pixels:,}"),
            text_cell("yes" if stats.verify else "no"),
            text_cell(mended),
        ]
    )


def _reasons(found: list[Summary]) -> str:
    lines = [
        row([text_cell(summary.stats.dataset), number_cell(f"{count:,}"), text_cell(reason)])
        for summary in found
        for reason, count in summary.reasons.most_common()
    ]
    return table([("dataset", False), ("rows", True), ("reason", False)], lines) if lines else paragraph("No row was rejected.")


def _dataset(summary: Summary, index: ShardIndex, *, rows: int, seed: int) -> Section:
    name = summary.stats.dataset
    charts = [
        histogram("pixels of a picture", summary.pixels),
        histogram("bytes of a picture", summary.picture_bytes),
        histogram("bytes of a row's texts", summary.text_bytes),
    ]
    drawn = random.Random(f"{seed} {name}").sample(index.datasets[name], min(rows, len(index.datasets[name])))
    examples = [_example(index.read(number)) for number in sorted(drawn)]
    return Section(f"set-{summary.stats.shards[0].name[:-10]}", name, [f'<div class="charts">{"".join(charts)}</div>', *examples])


def histogram(title: str, counts: Mapping[int, int]) -> str:
    """Bars of a histogram by powers of two, with their numbers; nothing for an empty one."""
    if not counts:
        return ""
    most = max(counts.values())
    lines = [
        row([text_cell(f"from {_short(power)}"), number_cell(f"{counts.get(power, 0):,}"), _bar(counts.get(power, 0) / most)])
        for power in range(min(counts), max(counts) + 1)
    ]
    body = table([("", False), ("number", True), ("", False)], lines)
    return f"<figure><figcaption>{escape(title)}</figcaption>{body}</figure>"


def _bar(share: float) -> str:
    bar = f'<rect class="trained" height="10" width="{_BAR_CELLS * share:.1f}"></rect>'
    return f'<td><svg viewBox="0 0 {_BAR_CELLS} 10" width="160">{bar}</svg></td>'


def _short(power: int) -> str:
    """2 to the power in units of 1,024: 20 -> 1 M."""
    unit = min(power // 10, len(_PREFIXES) - 1)
    return f"{2 ** (power - 10 * unit)} {_PREFIXES[unit]}".strip()


def _example(sample: Sample) -> str:
    """A row of the contact sheet: its key, then each side with its pictures and texts."""
    return example(sample.key, _named(sample))


def example(key: str, sides: Iterable[tuple[str, Side]]) -> str:
    """A row of a contact sheet: its key, then sides by what they are, each with its pictures and texts."""
    shown = "".join(f'<div class="candidate">{"".join(_side(name, side))}</div>' for name, side in sides)
    head = f'<div class="words"><code>{escape(key)}</code></div>'
    return f'<div class="example">{head}<div class="candidates">{shown}</div></div>'


def _named(sample: Sample) -> Iterator[tuple[str, Side]]:
    yield "query", sample.query
    if sample.positive:
        yield "positive", sample.positive
    for side in sample.negatives:
        yield "hard negative", side


def _side(name: str, side: Side) -> Iterator[str]:
    yield f'<div class="soft small">{escape(name)}</div>'
    try:
        yield pictures([thumbnail(encoded) for encoded in side.images])
    except Exception as error:  # noqa: BLE001 - shards made without verification may hold what no decoder reads
        yield f'<div class="no">the picture cannot be decoded ({escape(type(error).__name__)})</div>'
    for label, text in (("instruction", side.instruction), ("", side.text)):
        yield _words(label, text)
    for turn in side.turns:
        yield _words("question", turn.question)
        yield _words("answer", turn.answer)


def _words(label: str, text: str) -> str:
    if not text:
        return ""
    cut = text if len(text) <= _MAX_TEXT else f"{text[:_MAX_TEXT]} [... {len(text) - _MAX_TEXT} more characters]"
    head = f'<span class="soft small">{label}: </span>' if label else ""
    return f'<div class="words">{head}{escape(cut)}</div>'
