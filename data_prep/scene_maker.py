"""Draws scenes at random for the train or the eval side, so that the two never share one.

Two rules, both pure functions, so that no list of used scenes has to be kept:
- a content of two or more things belongs to one side by its hash (one in five is eval);
- shifts and size of a thing have an even sum on the train side and an odd one on the eval side, so no picture of one side,
  not even of a single thing or a crop, has the pixels of one of the other.
"""

import hashlib
import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Literal

from data_prep.scenes import COLOURS, LABELS, POSITIONS, SHAPES, STYLES, Scene, Thing, with_article

Split = Literal["train", "eval"]

_SHIFTS = range(-2, 3)
_RADII = range(8, 11)
_EVAL_IN = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class Change:
    """A scene after one change, and the change in words: "change the red circle to a blue circle"."""

    words: str
    scene: Scene


def content_split(content: frozenset[str]) -> Split:
    """The side that a content of two or more things belongs to."""
    digest = hashlib.blake2b("|".join(sorted(content)).encode(), digest_size=4).digest()
    return "eval" if int.from_bytes(digest) % _EVAL_IN == 0 else "train"


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneMaker:
    """Random scenes of one side in the given styles. All randomness comes from `rng`."""

    rng: random.Random
    split: Split
    styles: tuple[str, ...] = STYLES

    def thing(self, label: str, position: str) -> Thing:
        """A thing with a fresh shift and size."""
        colour, shape = label.split()
        parity = self.split == "eval"
        while True:
            dx, dy, radius = self.rng.choice(_SHIFTS), self.rng.choice(_SHIFTS), self.rng.choice(_RADII)
            if (dx + dy + radius) % 2 == parity:
                return Thing(colour=colour, shape=shape, position=position, dx=dx, dy=dy, radius=radius)

    def place(self, labels: Sequence[str], positions: Sequence[str]) -> Scene:
        """A scene with these labels at these positions."""
        pairs = sorted(zip(positions, labels, strict=True), key=lambda pair: POSITIONS.index(pair[0]))
        return Scene(things=tuple(self.thing(label, position) for position, label in pairs), style=self.rng.choice(self.styles))

    def single(self, label: str) -> Scene:
        """One thing in a random cell."""
        return self.place([label], [self.rng.choice(POSITIONS)])

    def scene(self, label: str, *, count: int) -> Scene:
        """`count` things with different labels in random cells, one of them `label`."""
        return self.fill(label, self.rng.sample(POSITIONS, count))

    def fill(self, label: str, positions: Sequence[str]) -> Scene:
        """Things with different labels at the positions, `label` in a random one of them."""
        while True:
            others = self.rng.sample([other for other in LABELS if other != label], len(positions) - 1)
            scene = self.place(self.rng.sample([label, *others], len(positions)), positions)
            if self.owns(scene):
                return scene

    def owns(self, scene: Scene) -> bool:
        """Whether the content may be used on this side."""
        return len(scene.things) < 2 or content_split(scene.content) == self.split

    def redraw(self, scene: Scene) -> Scene:
        """The same content with fresh shifts and sizes, in another style."""
        fresh = self.place([t.label for t in scene.things], [t.position for t in scene.things])
        other = [style for style in self.styles if style != scene.style]
        return replace(fresh, style=self.rng.choice(other))

    def changed(self, scene: Scene, thing: Thing) -> list[Change]:
        """Every change of `thing` (recoloured, reshaped, or moved to an empty cell) that is of this side, in random order."""
        found = [Change(words=words, scene=self._redone(scene, thing, new)) for words, new in _edits(scene, thing)]
        own = [change for change in found if self.owns(change.scene)]
        return self.rng.sample(own, len(own))

    def near(self, scene: Scene) -> Scene | None:
        """A scene of this side that is almost the given one: one thing changed or two colours swapped. None if there is none."""
        thing = self.rng.choice(scene.things)
        close = [change.scene for change in self.changed(scene, thing)] + self._swaps(scene)
        return self.rng.choice(close) if close else None

    def swapped(self, scene: Scene) -> Scene | None:
        """A scene of this side with the colours of two things exchanged. None if there is none."""
        swaps = self._swaps(scene)
        return self.rng.choice(swaps) if swaps else None

    def _swaps(self, scene: Scene) -> list[Scene]:
        found = []
        for first, second in combinations(scene.things, 2):
            inks = {first.position: second.colour, second.position: first.colour}
            labels = [f"{inks.get(thing.position, thing.colour)} {thing.shape}" for thing in scene.things]
            if not {f"{second.colour} {first.shape}", f"{first.colour} {second.shape}"} & scene.labels:
                found.append(self.place(labels, [thing.position for thing in scene.things]))
        return [other for other in found if self.owns(other)]

    def _redone(self, scene: Scene, thing: Thing, new: tuple[str, str]) -> Scene:
        spots = [new if other == thing else (other.label, other.position) for other in scene.things]
        return self.place([label for label, _ in spots], [position for _, position in spots])


def _edits(scene: Scene, thing: Thing) -> Iterator[tuple[str, tuple[str, str]]]:
    for label in (*(f"{c} {thing.shape}" for c in COLOURS), *(f"{thing.colour} {s}" for s in SHAPES)):
        if label not in scene.labels:
            yield f"change the {thing.label} to {with_article(label)}", (label, thing.position)
    for position in POSITIONS:
        if position not in {other.position for other in scene.things}:
            yield f"move the {thing.label} to the {position}", (thing.label, position)
