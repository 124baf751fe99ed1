"""What a picture of the toy world shows, and the words that say so.

A scene is a grid of two by two cells; each cell is empty or holds one thing, a colour and a shape. A crop is a scene of one
cell, its thing in the `MIDDLE`. No label occurs twice in a scene, so "the red circle" always names one thing. The small
shifts and sizes of things belong to the scene, so that a scene decides its pixels; `content` leaves them out.
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
POSITIONS = ("top left", "top right", "bottom left", "bottom right")
MIDDLE = "middle"
LABELS = tuple(f"{colour} {shape}" for colour in COLOURS for shape in SHAPES)
NUMBERS = ("one", "two", "three", "four")

STYLES = ("plain", "rose", "sky", "mint", "outline", "grid", "dots")
OTHER_STYLES = ("stripes", "dusk")
"""Styles that no training picture has."""

_TL, _TR, _BL, _BR = POSITIONS
ARRANGEMENTS: Mapping[str, tuple[str, ...]] = {
    "top row": (_TL, _TR),
    "bottom row": (_BL, _BR),
    "left column": (_TL, _BL),
    "right column": (_TR, _BR),
    "falling diagonal": (_TL, _BR),
    "rising diagonal": (_TR, _BL),
    "gap top left": (_TR, _BL, _BR),
    "gap top right": (_TL, _BL, _BR),
    "gap bottom left": (_TL, _TR, _BR),
    "gap bottom right": (_TL, _TR, _BL),
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
        """Label and place: "red circle top left"."""
        return f"{self.label} {self.position}"

    @property
    def place(self) -> str:
        """The place as a question says it: "at the top left"."""
        return "in the middle" if self.position == MIDDLE else f"at the {self.position}"


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
    """One of the many captions of a scene: the order of the things and one of four wordings are drawn.

    Whatever thing a caption begins with, the rest of its words follow from the picture, so each teaches to look it up.
    """
    place_first, joint = rng.choice((False, True)), rng.choice((" , ", " and "))
    things = rng.sample(scene.things, len(scene.things))
    return joint.join(f"{thing.position} {thing.label}" if place_first else thing.words for thing in things)


def arrangement(scene: Scene) -> str:
    """The name of the set of filled cells, a key of `ARRANGEMENTS`."""
    filled = tuple(thing.position for thing in scene.things)
    return next(name for name, cells in ARRANGEMENTS.items() if cells == filled)
