"""Plain values become typed ones by annotation: each kind by hand, and every way not to fit by name."""

import json
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import pytest

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.typed import build


class Colour(Enum):
    RED = 3
    BLUE = 5


@dataclass(frozen=True)
class Square:
    side: float = 1.0


@dataclass(frozen=True)
class Circle:
    radius: int
    colour: Colour = Colour.RED

    def __post_init__(self) -> None:
        if self.radius < 0:
            raise ConfigError("radius: negative")


@dataclass(frozen=True)
class Drawing:
    shape: Square | Circle
    frame: Square = field(default_factory=Square)
    weight: float | Circle = 0.5
    kind: Literal["oil", 2] = "oil"
    names: tuple[str, ...] = ()
    corner: tuple[int, float] = (0, 0.0)


DRAWING = Drawing(shape=Circle(3, Colour.BLUE), frame=Square(2.5), weight=Circle(1), kind=2, names=("a", "b"), corner=(1, 0.25))


def test_a_nested_value_comes_back_as_it_was() -> None:
    assert build(Drawing, json.loads(canonical_json(DRAWING))) == DRAWING


def test_left_out_fields_get_their_defaults() -> None:
    assert build(Drawing, {"shape": {"type": "Circle", "radius": 1}}) == Drawing(shape=Circle(1))


@pytest.mark.parametrize(
    ("kind", "value", "typed"),
    [
        (bool, True, True),
        (int, 3, 3),
        (float, 3, 3.0),
        (str, "", ""),
        (Colour, "BLUE", Colour.BLUE),
        (float | Square, 2, 2.0),
        (float | Square, {"side": 2}, Square(2.0)),
        (tuple[tuple[int, float], ...], [[0, 5], [2000, 0]], ((0, 5.0), (2000, 0.0))),
    ],
)
def test_scalars_and_unions(kind: Any, value: object, typed: object) -> None:
    found = build(kind, value)
    assert found == typed and type(found) is type(typed)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shape": 3}, "shape: 3 is not one of Square, Circle"),
        ({"shape": {"radius": 3}}, "shape: type None is not one of Square, Circle"),
        ({"shape": {"type": "Line"}}, "shape: type 'Line' is not one of Square, Circle"),
        ({"shape": {"type": "Circle"}}, "shape.radius: Circle needs this field; give a whole number"),
        ({"shape": {"type": "Circle", "radius": True}}, "shape.radius: True is not a whole number"),
        ({"shape": {"type": "Circle", "radius": 2.0}}, "shape.radius: 2.0 is not a whole number"),
        ({"shape": {"type": "Circle", "radius": -1}}, "radius: negative"),
        ({"shape": {"type": "Circle", "radius": 1, "colour": 3}}, "shape.colour: 3 is not one of RED, BLUE"),
        ({"frame": {"type": "Circle", "radius": 1}}, "frame: type 'Circle' is not Square"),
        ({"frame": {"sid": 1}}, "frame has no field 'sid'; did you mean side?"),
        ({"frame": {"x": 1}}, "frame has no field 'x'; there are side"),
        ({"frame": {"side": float("nan")}}, "frame.side: nan is not a number"),
        ({"frame": {"side": 10**400}}, "is not a number"),
        ({"frame": {"side": False}}, "frame.side: False is not a number"),
        ({"weight": "x"}, "weight: 'x' is not a number or Circle"),
        ({"kind": "2"}, "kind: '2' is not one of oil, 2"),
        ({"kind": True}, "kind: True is not one of oil, 2"),
        ({"names": "ab"}, "names: 'ab' is not a list, each a text"),
        ({"names": ["a", 1]}, "names.1: 1 is not a text"),
        ({"corner": [1]}, r"corner: \[1\] has 1 entries, not 2"),
        ({"corner": [1, "x"]}, "corner.1: 'x' is not a number"),
        ({"corners": [1, 2]}, "the recipe has no field 'corners'; did you mean corner?"),
    ],
)
def test_what_does_not_fit_is_refused_by_its_field(change: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Drawing, {"shape": {"type": "Square"}} | change)
