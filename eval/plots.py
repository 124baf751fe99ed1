"""Plots as inline SVG, drawn by matplotlib: colours are the page's own names, so that dark mode reaches them; words stay text.

The same values give the same bytes. This module is matplotlib's door.
"""

import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from eval.report_markup import escape

Point = tuple[float, float]
Bar = tuple[float, float | None, float | None]
"""A height, and the ends of its interval where they are known."""

NUM_COLOURS = 6
_MOST_LABEL = 40
_HEAT_STEPS, _HEAT_ALPHAS = 32, (40, 160)
_INK, _SOFT, _LINE = "#010101", "#020202", "#030303"
_NAMES = {_INK: "--ink", _SOFT: "--soft", _LINE: "--line", "#040404": "--card"}
_RUN = [f"#0506{number:02x}" for number in range(NUM_COLOURS)]
_COLOURS = {**_NAMES, **{colour: f"--run-{number}" for number, colour in enumerate(_RUN)}}
_STYLE: Any = {
    "svg.fonttype": "none",
    "svg.hashsalt": "crem",
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _SOFT,
    "axes.edgecolor": _LINE,
    "axes.facecolor": "none",
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.axisbelow": True,
    "grid.color": _LINE,
    "grid.linewidth": 0.6,
    "xtick.color": _SOFT,
    "ytick.color": _SOFT,
    "legend.frameon": False,
    "figure.facecolor": "none",
}
_HEAD = re.compile(r"^.*?(?=<svg)", re.DOTALL)
_METADATA = re.compile(r"\s*<metadata>.*?</metadata>|\s*<!--.*?-->", re.DOTALL)
_SIZE = re.compile(r'(<svg[^>]*?) width="[^"]*" height="[^"]*"|(<svg[^>]*?) height="[^"]*"([^>]*?) width="[^"]*"')
_IDS = re.compile(r'(id="|href="#|url\(#)(?=[A-Za-z])')


@contextmanager
def drawn(width: float, height: float) -> Iterator[Any]:
    """A figure of inches and the axes in it, in the page's style."""
    from matplotlib import rc_context
    from matplotlib.figure import Figure

    with rc_context(_STYLE):
        figure = Figure(figsize=(width, height), layout="constrained")
        yield figure.subplots()


def svg_of(axes: Any, title: str, name: str) -> str:
    """The figure of some axes as an SVG element. `title` is read aloud; `name`, unique on a page, keeps its ids apart."""
    file = io.StringIO()
    axes.figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = _METADATA.sub("", _HEAD.sub("", file.getvalue(), count=1))
    text = _SIZE.sub(lambda found: found[1] or f"{found[2]}{found[3]}", text, count=1)
    for colour, variable in _COLOURS.items():
        text = text.replace(colour, f"var({variable})")
    text = _IDS.sub(lambda found: f"{found[1]}{name}-", text)
    return text.replace("<svg", f'<svg role="img" aria-label="{escape(title)}"', 1)


def heat(values: npt.NDArray[np.float64]) -> bytes:
    """Values (rows, columns) from 0 to 1 as a PNG of a pixel each, to lie over a picture: dark and thin to bright and dense."""
    from matplotlib import colormaps

    steps = np.linspace(0.0, 1.0, _HEAT_STEPS)
    colours = (colormaps["inferno"](steps)[:, :3] * 255).round().astype(np.uint8)
    picture = Image.fromarray((values.clip(0.0, 1.0) * (_HEAT_STEPS - 1)).round().astype(np.uint8), mode="P")
    picture.putpalette(colours.tobytes())
    file = io.BytesIO()
    picture.save(file, format="PNG", transparency=np.linspace(*_HEAT_ALPHAS, _HEAT_STEPS).astype(np.uint8).tobytes())
    return file.getvalue()


def run_colour(number: int) -> str:
    """The colour of a run in a plot; after six they come again."""
    return _RUN[number % NUM_COLOURS]


def grouped_bars(
    groups: Sequence[str], bars: Mapping[str, Sequence[Bar | None]], marks: Mapping[str, Sequence[float | None]], name: str
) -> str:
    """Bars in percent with 95 % intervals, a group for each of `groups`, a bar for each name; `marks` are lines across them."""
    with drawn(8.2, 3.4) as axes:
        width = 0.8 / max(1, len(bars))
        for number, (label, values) in enumerate(bars.items()):
            there = [(place - 0.4 + width * (number + 0.5), bar) for place, bar in enumerate(values) if bar is not None]
            at, heights = [place for place, _ in there], [bar[0] for _, bar in there]
            spread = [[bar[0] - _or(bar[1], bar[0]) for _, bar in there], [_or(bar[2], bar[0]) - bar[0] for _, bar in there]]
            axes.bar(at, heights, width * 0.92, label=_safe(label), color=run_colour(number))
            axes.errorbar(at, heights, spread, fmt="none", color=_INK, ecolor=_INK, elinewidth=1, capsize=2)
        for label, lines in marks.items():
            known = [(place, value) for place, value in enumerate(lines) if value is not None]
            ends = [[place + side for place, _ in known] for side in (-0.45, 0.45)]
            axes.hlines([value for _, value in known], *ends, colors=_INK, linestyles=":", label=_safe(label))
        axes.set_xticks(range(len(groups)), [_safe(group) for group in groups])
        axes.set_ylim(0, 100)
        axes.set_ylabel("%")
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.08), ncols=3)
        return svg_of(axes, "Means with 95 % intervals", name)


def curves(lines: Mapping[str, Sequence[Point]], across: Mapping[str, float], labels: tuple[str, str], name: str) -> str:
    """Lines through points over a doubling axis, and levels `across` it."""
    with drawn(6.4, 3.2) as axes:
        for number, (label, points) in enumerate(lines.items()):
            axes.plot(*zip(*points, strict=True), marker="o", markersize=4, label=_safe(label), color=run_colour(number))
        for label, level in across.items():
            axes.axhline(level, color=_INK, linestyle=":", linewidth=1, label=_safe(label))
        axes.set_xscale("log", base=2)
        places = sorted({x for points in lines.values() for x, _ in points})
        axes.set_xticks(places, [f"{place:g}" for place in places])
        axes.minorticks_off()
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(axis="y")
        axes.legend(loc="upper left", bbox_to_anchor=(0, -0.18), ncols=2)
        return svg_of(axes, labels[1], name)


def _or(value: float | None, other: float) -> float:
    return other if value is None else value


def _safe(text: str) -> str:
    """A label in which matplotlib sees no formula, and no name that it hides; cut where it would leave no room for the plot."""
    short = text if len(text) <= _MOST_LABEL else f"{text[: _MOST_LABEL - 1]}…"
    return short.replace("$", r"\$").lstrip("_") or "-"
