"""Charts are well-formed SVG whose marks stand where the numbers say."""

import math
import re
from xml.etree import ElementTree

from eval.compare import Comparison
from eval.metrics import Score
from eval.report_charts import line_chart, score_chart


def comparison(name: str, value: float) -> Comparison:
    trained = Score(value=value, low=value - 0.1, high=value + 0.1, chance=0.25, count=10)
    other = Score(value=0.5, low=0.4, high=0.6, chance=0.25, count=10)
    return Comparison(
        name=name, kind="vqa", split="IND", smallest_pool=4, trained=trained, untrained=other, blank=None, gain=None
    )


def places(svg: str, kind: str) -> list[float]:
    """Where the marks of a kind stand, without the legend's."""
    marks = re.findall(r'<g transform="translate\(([\d.]+) ([\d.]+)\)"><\w+ class="(\w+)"', svg)
    return [float(x) for x, y, name in marks if name == kind and float(y) > 20]


def test_marks_stand_in_proportion() -> None:
    svg = score_chart([comparison("a", 0.25), comparison("b", 0.75), comparison("c", 0.5)])
    ElementTree.fromstring(svg)
    quarter, three_quarters, half = places(svg, "trained")
    assert places(svg, "chance") == [quarter] * 3
    assert places(svg, "untrained") == [half] * 3
    assert math.isclose(half - quarter, three_quarters - half, abs_tol=0.2)
    assert places(svg, "blank") == []


def test_hostile_names_stay_text() -> None:
    root = ElementTree.fromstring(score_chart([comparison('<script>"&', 0.5)]))
    assert any(node.text == '<script>"&' for node in root.iter("text"))
    ElementTree.fromstring(line_chart('<b>"&', [(0, 1), (1, 2)]))


def curve(svg: str) -> list[list[tuple[float, float]]]:
    return [[tuple(map(float, place.split(","))) for place in run.split()] for run in re.findall(r'points="([^"]+)"', svg)]  # type: ignore[misc]


def test_a_rising_curve_rises_from_left_to_right() -> None:
    (run,) = curve(line_chart("x", [(step, step**2) for step in range(10)]))
    assert [x for x, _ in run] == sorted(x for x, _ in run)
    assert [y for _, y in run] == sorted((y for _, y in run), reverse=True)
    assert len(run) == 10


def test_missing_values_leave_a_gap() -> None:
    runs = curve(line_chart("x", [(0, 1), (1, 2), (2, math.nan), (3, 1), (4, 2)]))
    assert [len(run) for run in runs] == [2, 2]


def test_constant_single_and_empty_curves() -> None:
    assert curve(line_chart("x", [(0, 0.0), (5, 0.0)]))
    assert "<circle" in line_chart("x", [(3, 7.0)])
    assert line_chart("x", [(0, math.inf)]) == ""


def test_long_curves_are_thinned_and_keep_their_end() -> None:
    figure = line_chart("x", [(step, float(step)) for step in range(50_000)])
    (run,) = curve(figure)
    assert 100 < len(run) < 1000
    assert "5e+04" in figure
    assert run[-1][0] == max(x for x, _ in run) == 350
