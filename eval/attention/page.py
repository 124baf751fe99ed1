"""The attention figure as one HTML page and as files for other programs: a row for each model, a column for each token."""

import csv
import io
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from markupsafe import Markup

from eval.attention.looks import AttentionResult, HeadFigures, Look, ModelLooks, Shown
from eval.page import page_of, render
from eval.pictures import data_uri, size_of, thumbnail
from eval.plots import heat
from eval.report_markup import Section, number_cell, pairs_table, paragraph, percent, row, table, text_cell
from eval.results import write_result
from pipeline.manifest import write_atomic

PAGE_NAME, RESULT_NAME, TABLE_NAME = "attention.html", "attention.json", "attention.csv"

_SIDE = 480
_MEAN = "mean over heads"
_COLUMNS = ("model", "layer", "picture", "head", "token", "share", "coverage", "entropy")
_SUMMARY = (
    *(("model", False), ("layer", True), ("tokens", True), ("heads", True), ("share", True), ("coverage", True)),
    *(("covered together", True), ("entropy", True)),
)
_SAID = (
    "Share is what the picture gets of a token's attention, in percent. Coverage is the part, in percent, of the visual tokens "
    "that is in the smallest set that gets half of that: 50 where all get the same, near 0 where one gets all. Covered together "
    "is the part that is in any token's set. Entropy goes from 0 (one visual token) to 1 (all alike). The table has means over "
    "tokens and pictures, of the mean over heads."
)


def write_figure(models: Sequence[ModelLooks], shown: Sequence[Shown], out: Path) -> list[Path]:
    """Write the page, all figures as JSON, and those by token as CSV into a folder; returns their paths."""
    result = AttentionResult(models=tuple(each.figures for each in models))
    sections = [Section("models", "Models", [paragraph(_SAID), _summary(models)]), *_pictures(models, shown), _origin(models)]
    write_atomic(out / PAGE_NAME, page_of("What compression tokens look at", sections, has_script=True))
    write_atomic(out / TABLE_NAME, _csv(result))
    write_result(result, out / RESULT_NAME)
    return [out / name for name in (PAGE_NAME, RESULT_NAME, TABLE_NAME)]


def _summary(models: Sequence[ModelLooks]) -> str:
    return table(_SUMMARY, [_line(each) for each in models])


def _line(model: ModelLooks) -> str:
    of_mean = [each.heads[0] for each in model.figures.pictures]
    token_means = [_means(head) for head in of_mean]
    share, coverage, entropy = (sum(values) / len(values) for values in zip(*token_means, strict=True))
    together = sum(head.coverage_together for head in of_mean) / len(of_mean)
    heads, tokens = len(model.figures.pictures[0].heads) - 1, len(of_mean[0].share)
    numbers = (*(percent(value) for value in (share, coverage, together)), f"{entropy:.2f}")
    said = f"{model.figures.layer} of 0 to {model.figures.num_layers - 1}"
    return row([text_cell(model.figures.label), *(number_cell(text) for text in (said, tokens, heads, *numbers))])


def _means(head: HeadFigures) -> tuple[float, float, float]:
    """Mean share, coverage and entropy over the tokens."""
    share, coverage, entropy = (sum(values) / len(values) for values in (head.share, head.coverage, head.entropy))
    return share, coverage, entropy


def _pictures(models: Sequence[ModelLooks], shown: Sequence[Shown]) -> Iterator[Section]:
    """A section for each picture."""
    pictures = [(each, number, encoded) for each in shown for number, encoded in enumerate(each.side.images)]
    for at, (each, number, encoded) in enumerate(pictures):
        looks = [model.looks[at] for model in models]
        most = max(len(look.maps) for look in looks) - 1
        width, height = size_of(encoded)
        said = f"{width} x {height} pixels. Each map is bright where the token's attention is the most, whatever that is."
        if each.side.instruction or each.side.text:
            said += f" Read with: {(each.side.instruction + each.side.text).strip()}"
        values = {
            "name": f"picture-{at}",
            "picture": Markup(thumbnail(encoded, _SIDE)),
            "width": width,
            "height": height,
            "said": said,
            "heads": [_head_name(None), *(_head_name(head) for head in range(most))],
            "rows": [_row(model, look) for model, look in zip(models, looks, strict=True)],
        }
        name = f"{each.name}, picture {number + 1}" if len(each.side.images) > 1 else each.name
        yield Section(f"seen-{at}", name, [render("attention.html.j2", values)])


def _row(model: ModelLooks, look: Look) -> dict[str, object]:
    """A model's row, as the template wants it: by head."""
    figures = look.figures
    by_head = {_head_name(own.head): _cells(look, at, own) for at, own in enumerate(figures.heads)}
    grid = f"layer {model.figures.layer}, {figures.rows} x {figures.columns} places"
    return {"label": model.figures.label, "of": grid, "by_head": by_head}


def _cells(look: Look, at: int, own: HeadFigures) -> dict[str, object]:
    share, coverage, entropy = _means(own)
    tokens: list[Mapping[str, object]] = [
        {
            "heat": Markup(data_uri("image/png", heat(each / each.max() if each.max() > 0 else each))),
            "share": own.share[token],
            "coverage": own.coverage[token],
            "entropy": own.entropy[token],
        }
        for token, each in enumerate(look.maps[at])
    ]
    return {"share": share, "coverage": coverage, "entropy": entropy, "together": own.coverage_together, "tokens": tokens}


def _head_name(head: int | None) -> str:
    return _MEAN if head is None else f"head {head}"


def _origin(models: Sequence[ModelLooks]) -> Section:
    """What each model's figures were made from."""
    parts = []
    for each in models:
        made = each.figures.provenance
        libraries = ", ".join(f"{name} {version}" for name, version in sorted(made.libraries.items()))
        parts += [paragraph(each.figures.label), pairs_table({"model": made.model, "sides": made.data, "libraries": libraries})]
    return Section("origin", "Origin", parts)


def _csv(result: AttentionResult) -> str:
    file = io.StringIO()
    writer = csv.writer(file, lineterminator="\n")
    writer.writerow(_COLUMNS)
    for model in result.models:
        for picture in model.pictures:
            whose = (model.label, model.layer, f"{picture.name}#{picture.picture}")
            for head in picture.heads:
                writer.writerows((*whose, *line) for line in _head_lines(head))
    return file.getvalue()


def _head_lines(head: HeadFigures) -> Iterator[tuple[object, ...]]:
    name = "mean" if head.head is None else head.head
    for token, figures in enumerate(zip(head.share, head.coverage, head.entropy, strict=True)):
        yield (name, token, *(f"{value:.6f}" for value in figures))
    yield (name, "together", "", f"{head.coverage_together:.6f}", "")
