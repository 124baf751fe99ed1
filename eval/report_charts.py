"""Charts as inline SVG, drawn by hand: no script, no outside file, colours from the page's style sheet."""

import math
from collections.abc import Sequence

from eval.compare import Comparison
from eval.metrics import Score
from eval.report_markup import escape, percent

Point = tuple[float, float]

_ROW, _TOP, _LEFT, _WIDTH, _RIGHT = 24, 30, 190, 1000, 26
_CHART_WIDTH, _CHART_HEIGHT, _MARGIN_LEFT, _MARGIN_BOTTOM, _MARGIN_TOP = 360, 190, 46, 22, 8
_MAX_POINTS = 400

_NAMES = {"trained": "trained, 95 % interval", "untrained": "untrained", "blank": "blank pictures", "chance": "chance"}
_SHAPES = {
    "trained": '<circle class="trained" r="5"/>',
    "untrained": '<circle class="untrained" stroke-width="2" r="4"/>',
    "blank": '<path class="blank" d="M-5 0l5 -5l5 5l-5 5z"/>',
    "chance": '<line class="chance" stroke-width="2" y1="-8" y2="8"/>',
}


def score_chart(lines: Sequence[Comparison]) -> str:
    """One row for each dataset, from 0 to 100 %: trained with its interval, untrained, blank pictures, chance."""
    height = _TOP + _ROW * len(lines) + 8
    parts = [_scale(height), _legend()]
    parts += [_score_row(line, _TOP + _ROW * number + _ROW / 2) for number, line in enumerate(lines)]
    return _svg(_WIDTH, height, parts, "P@1 by dataset")


def line_chart(name: str, points: Sequence[Point]) -> str:
    """A curve of one metric over steps, as a figure with its name; values that are not finite leave a gap."""
    finite = [point for point in points if math.isfinite(point[1])]
    if not finite:
        return ""
    low, high = _padded(min(value for _, value in finite), max(value for _, value in finite))
    first, last = points[0][0], max(points[-1][0], points[0][0] + 1)
    stride = max(1, len(points) // _MAX_POINTS)
    kept = [*points[:-1:stride], points[-1]]

    def place(point: Point) -> Point:
        width = _CHART_WIDTH - _MARGIN_LEFT - 10
        depth = _CHART_HEIGHT - _MARGIN_TOP - _MARGIN_BOTTOM
        right = _MARGIN_LEFT + width * (point[0] - first) / (last - first)
        return right, _MARGIN_TOP + depth * (high - point[1]) / (high - low)

    parts = [_level(value, place((first, value))[1]) for value in _ticks(low, high)]
    parts += [_step_label(step, place((step, low))[0]) for step in (first, last)]
    parts += [_curve([place(point) for point in run]) for run in _runs(kept)]
    drawn = _svg(_CHART_WIDTH, _CHART_HEIGHT, parts, f"{name}: last {finite[-1][1]:.4g}")
    return f'<figure><figcaption>{escape(name)} <span class="soft">{finite[-1][1]:.4g}</span></figcaption>{drawn}</figure>'


def _score_row(line: Comparison, y: float) -> str:
    parts = [
        f'<text class="label" x="{_LEFT - 12}" y="{y + 4:.1f}" text-anchor="end">{escape(line.name)}</text>',
        _mark("chance", line.trained.chance, y),
    ]
    parts += [_mark(kind, value.value, y) for kind, value in (("blank", line.blank), ("untrained", line.untrained)) if value]
    return "".join([*parts, _interval_bar(line.trained, y), _mark("trained", line.trained.value, y)])


def _interval_bar(score: Score, y: float) -> str:
    low, high = _across(score.low), _across(score.high)
    return (
        f'<line class="trained" stroke-width="3" stroke-opacity=".45" x1="{low:.1f}" x2="{high:.1f}" y1="{y:.1f}" y2="{y:.1f}"/>'
    )


def _mark(kind: str, value: float, y: float) -> str:
    """A mark of a kind at a value, with its number as a hint: shapes differ, so that colour is not all that tells them apart."""
    hint = f"<title>{_NAMES[kind]}: {percent(value)} %</title>"
    return f'<g transform="translate({_across(value):.1f} {y:.1f})">{_SHAPES[kind]}{hint}</g>'


def _scale(height: float) -> str:
    parts = []
    for tick in (0.0, 0.25, 0.5, 0.75, 1.0):
        x = _across(tick)
        parts.append(f'<line class="grid" x1="{x:.1f}" x2="{x:.1f}" y1="{_TOP}" y2="{height - 4:.1f}"/>')
        parts.append(f'<text x="{x:.1f}" y="{_TOP - 5}" text-anchor="middle">{100 * tick:.0f} %</text>')
    return "".join(parts)


def _legend() -> str:
    parts = []
    for number, (kind, name) in enumerate(_NAMES.items()):
        text = f'<text x="11" y="4">{name}</text>'
        parts.append(f'<g transform="translate({_LEFT + 6 + number * 190} 8)">{_SHAPES[kind]}{text}</g>')
    return "".join(parts)


def _across(value: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * min(max(value, 0.0), 1.0)


def _svg(width: float, height: float, parts: Sequence[str], title: str) -> str:
    return f'<svg viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{"".join(parts)}</svg>'


def _padded(low: float, high: float) -> Point:
    """A range with some air; a constant curve lies in the middle."""
    air = (high - low) * 0.05 or abs(high) * 0.1 or 1.0
    return low - air, high + air


def _ticks(low: float, high: float) -> list[float]:
    """Three to six round values inside a range."""
    rough = (high - low) / 4
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough)
    return [number * step for number in range(math.ceil(low / step), math.floor(high / step) + 1)]


def _level(value: float, y: float) -> str:
    line = f'<line class="grid" x1="{_MARGIN_LEFT}" x2="{_CHART_WIDTH - 10}" y1="{y:.1f}" y2="{y:.1f}"/>'
    return f'{line}<text x="{_MARGIN_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">{value:.4g}</text>'


def _step_label(step: float, x: float) -> str:
    anchor = "start" if x < _CHART_WIDTH / 2 else "end"
    return f'<text x="{x:.1f}" y="{_CHART_HEIGHT - 6}" text-anchor="{anchor}">step {step:.0f}</text>'


def _runs(points: Sequence[Point]) -> list[list[Point]]:
    """The points cut at values that are not finite."""
    runs: list[list[Point]] = [[]]
    for point in points:
        if math.isfinite(point[1]):
            runs[-1].append(point)
        elif runs[-1]:
            runs.append([])
    return [run for run in runs if run]


def _curve(places: Sequence[Point]) -> str:
    if len(places) == 1:
        return f'<circle class="trained" cx="{places[0][0]:.1f}" cy="{places[0][1]:.1f}" r="2.5"/>'
    return f'<polyline class="curve" points="{" ".join(f"{x:.1f},{y:.1f}" for x, y in places)}"/>'
