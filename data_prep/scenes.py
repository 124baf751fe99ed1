"""What a picture of the toy world shows, and the words that say so.

A scene is a grid of two by two cells; each cell is empty or holds one thing, a colour and a shape. A crop is a scene of one
cell, its thing in the `MIDDLE`. No label occurs twice in a scene, so "the red circle" always names one thing. The small
shifts and sizes of things belong to the scene, so that a scene decides its pixels; `content` leaves them out.

A place has a word of its own: of "top left" and "top right", tokens that hold a text lose which word goes with which
(docs/experiments.md).
"""

import random
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from typing import Any

from pipeline.errors import DataError

COLOURS = (
    "red", "orange", "yellow", "lime", "green", "cyan", "blue", "navy", "purple", "pink", "brown", "olive", "grey", "black",
)  # fmt: skip
SHAPES = ("circle", "square", "triangle", "ring")
POSITIONS = ("northwest", "northeast", "southwest", "southeast")
MIDDLE = "middle"
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
NUMBERS = ("one", "two", "three", "four")

STYLES = ("plain", "rose", "sky", "mint", "outline", "grid", "dots")
OTHER_STYLES = ("stripes", "dusk")
"""Styles that no training picture has."""

_NW, _NE, _SW, _SE = POSITIONS
ARRANGEMENTS: Mapping[str, tuple[str, ...]] = {
    "north row": (_NW, _NE),
    "south row": (_SW, _SE),
    "west column": (_NW, _SW),
    "east column": (_NE, _SE),
    "falling diagonal": (_NW, _SE),
    "rising diagonal": (_NE, _SW),
    "gap northwest": (_NE, _SW, _SE),
    "gap northeast": (_NW, _SW, _SE),
    "gap southwest": (_NW, _NE, _SE),
    "gap southeast": (_NW, _NE, _SW),
    "all four": POSITIONS,
}
"""Name of each way to fill two, three or four cells: the filled cells, in reading order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One object in a cell. `dx` and `dy` shift it from the cell's centre and `radius` is its size, all in pixels."""

    colour: str
    shape: str
    position: str
    dx: int
    dy: int
    radius: int

    @property
    def label(self) -> str:
        """Colour and shape: "red circle"."""
        return f"{self.colour} {self.shape}"

    @property
    def words(self) -> str:
        """Label and place: "red circle northwest"."""
        return f"{self.label} {self.position}"

    @property
    def place(self) -> str:
        """The place as a question says it: "in the northwest"."""
        return f"in the {self.position}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Scene:
    """All things of one picture, in reading order, and the style that they are drawn in."""

    things: tuple[Thing, ...]
    style: str

    @property
    def content(self) -> frozenset[str]:
        """What is where, without style, shifts and sizes; equal contents deserve the same caption."""
        return frozenset(thing.words for thing in self.things)

    @property
    def labels(self) -> frozenset[str]:
        """The labels of all things."""
        return frozenset(thing.label for thing in self.things)

    @property
    def is_crop(self) -> bool:
        """Whether the picture is a single cell."""
        return self.things[0].position == MIDDLE

    def crop(self, thing: Thing) -> "Scene":
        """The scene of the one cell that holds `thing`; its picture is that region of this scene's picture."""
        return Scene(things=(replace(thing, position=MIDDLE),), style=self.style)

    def to_json(self) -> dict[str, Any]:
        """A JSON object from which `scene_from_json` makes the same scene."""
        return asdict(self)


def scene_from_json(value: Mapping[str, Any]) -> Scene:
    """The scene that `Scene.to_json` wrote. Raises DataError for anything else."""
    try:
        things = tuple(Thing(**thing) for thing in value["things"])
        scene = Scene(things=things, style=value["style"])
    except (KeyError, TypeError) as error:
        raise DataError(f"not a scene description ({error}): make the toy world again") from error
    known = all(t.colour in COLOURS and t.shape in SHAPES and t.position in (*POSITIONS, MIDDLE) for t in things)
    if not (known and things and scene.style in STYLES + OTHER_STYLES):
        raise DataError("a scene description has words that the toy world does not know: make the toy world again")
    return scene


def with_article(label: str) -> str:
    """The label after "a" or "an"."""
    return f"{'an' if label[0] in 'aeiou' else 'a'} {label}"


def caption(scene: Scene, rng: random.Random) -> str:
    """One of four captions of a scene: the wording is drawn, the things stand in reading order."""
    place_first, joint = rng.choice((False, True)), rng.choice((" , ", " and "))
    return joint.join(f"{thing.position} {thing.label}" if place_first else thing.words for thing in scene.things)


def description(scene: Scene) -> str:
    """The one description of a scene, of which the picture decides every word: all that is asked for can be learnt."""
    return " , ".join(thing.words for thing in scene.things)


def arrangement(scene: Scene) -> str:
    """The name of the set of filled cells, a key of `ARRANGEMENTS`."""
    filled = tuple(thing.position for thing in scene.things)
    return next(name for name, cells in ARRANGEMENTS.items() if cells == filled)
