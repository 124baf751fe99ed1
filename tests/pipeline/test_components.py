"""Open kinds: what stands under an abstract base is allowed where the base is annotated; what is no component is refused."""

import json
import sys
from abc import ABC, abstractmethod
from dataclasses import dataclass
from types import ModuleType
from typing import Any

import pytest

from pipeline.components import members
from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.typed import allowed, build
from tests.pipeline.recipes_at_random import OPEN


class Shape(ABC):
    @abstractmethod
    def area(self) -> float: ...


@dataclass(frozen=True, slots=True)
class Square(Shape):
    side: float = 1.0

    def area(self) -> float:
        return self.side**2


@dataclass(frozen=True)
class Cube(Square):
    """Stands under a component, and is one itself."""

    faces: int = 6


@dataclass(frozen=True)
class Round(Shape):
    radius: float = 1.0


@dataclass(frozen=True)
class Disc(Round):
    def area(self) -> float:
        return 3.0 * self.radius**2


class Bare(Square):
    """Its base is a dataclass, so that `color` would be no field and be lost."""

    color: int = 3


@dataclass
class Soft(Shape):
    def area(self) -> float:
        return 0.0


@dataclass(frozen=True)
class Drawing:
    shape: Shape
    frame: Shape | int = 3
    parts: tuple[Shape, ...] = ()


def test_a_component_is_a_frozen_dataclass_that_lacks_nothing() -> None:
    assert members(Shape) == [Square, Cube, Disc]
    assert allowed(Shape) == "one of Square, Cube, Disc"
    assert allowed(Shape | int) == "a whole number or one of Square, Cube, Disc"


def test_components_come_back_as_they_were() -> None:
    drawing = Drawing(shape=Cube(2.0, 4), frame=Disc(3.0), parts=(Square(), Disc()))
    assert build(Drawing, json.loads(canonical_json(drawing))) == drawing


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"type": "Round"}, f"shape: type 'Round' is not one of Square, Cube, Disc; Round of {__name__} lacks area"),
        ({"type": "Bare"}, f"; Bare of {__name__} is no frozen dataclass; write @dataclass"),
        ({"type": "Soft"}, f"; Soft of {__name__} is no frozen dataclass"),
        (
            {"type": "Line"},
            f"; a class of your own stands under {__name__}.Shape in the file that --recipe .*or --components names",
        ),
        ({"type": "Cube", "side": "x"}, "shape.side: 'x' is not a number"),
        ({}, "shape: type None is not one of Square, Cube, Disc"),
        (7, "shape: 7 is not one of Square, Cube, Disc"),
    ],
)
def test_what_is_no_component_is_refused_by_what_it_lacks(shape: Any, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        build(Drawing, {"shape": shape})


def run(source: str, name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module made of text, known by its name as an imported one is."""
    module = ModuleType(name)
    monkeypatch.setitem(sys.modules, name, module)
    exec("from dataclasses import dataclass\nfrom tests.pipeline.test_components import *\n" + source, vars(module))
    return module


SQUARE = """
@dataclass(frozen=True, slots=True)
class Star({base}):
    points: int = {points}

    def area(self):
        return 1.0
"""


def test_a_module_that_is_read_again_replaces_its_components(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also one that stood later among the classes than the new one does."""
    first = run(SQUARE.format(base="Disc", points=4), "stars", monkeypatch)
    again = run(SQUARE.format(base="Square", points=5), "stars", monkeypatch)
    assert first.Star is not again.Star
    assert build(Shape, {"type": "Star"}) == again.Star(points=5)


def test_a_name_of_two_modules_is_refused_where_it_is_used(monkeypatch: pytest.MonkeyPatch) -> None:
    alive = [run(SQUARE.format(base="Shape", points=4), name, monkeypatch) for name in ("my_stars", "your_stars")]
    with pytest.raises(ConfigError, match="shape: Star is a class of my_stars and of your_stars; rename one"):
        build(Drawing, {"shape": {"type": "Star"}})
    assert build(Drawing, {"shape": {"type": "Square"}}) == Drawing(Square()) and len(alive) == 2


@pytest.mark.parametrize("kind", OPEN)
def test_random_recipes_know_all_our_components(kind: type) -> None:
    ours = {each for each in members(kind) if each.__module__.startswith("pipeline.")}
    assert ours <= set(OPEN[kind])
