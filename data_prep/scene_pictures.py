"""Scenes as pixels: draws them with Pillow and encodes them as JPEG files.

The paper of a whole picture is darker at the bottom and at the right, as a photo has its sky and its ground: where a thing is
can be seen from the pixels around it. A crop is the region of one cell, always on the paper of the first cell.
"""

import io
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache

from PIL import Image, ImageChops, ImageDraw

from data_prep.scenes import MIDDLE, POSITIONS, Scene

CELL = 28
"""Side of a cell in pixels; a whole picture is two cells wide and high, a crop is one."""

_SCALE = 2  # Drawn larger and averaged down, so that edges are smooth.
_EDGE = 1.0
_SHADE = 40  # Of 255: how much less blue the lower paper is, and how much less red the right one.
_QUALITY = 90

Colour = tuple[int, int, int]

_INK: Mapping[str, Colour] = {
    "red": (225, 25, 30),
    "orange": (255, 140, 0),
    "yellow": (250, 225, 20),
    "lime": (150, 230, 40),
    "green": (20, 130, 50),
    "cyan": (60, 210, 230),
    "blue": (40, 90, 235),
    "navy": (15, 20, 105),
    "purple": (140, 40, 175),
    "pink": (255, 120, 195),
    "brown": (125, 70, 30),
    "olive": (130, 130, 25),
    "grey": (150, 150, 150),
    "black": (15, 15, 15),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class _Style:
    """Paper colour, the outline of things (None for none), and the light marks on the paper."""

    paper: Colour = (255, 255, 255)
    edge: Colour | None = None
    marks: str = ""


_STYLES: Mapping[str, _Style] = {
    "plain": _Style(),
    "rose": _Style(paper=(255, 232, 234)),
    "sky": _Style(paper=(226, 238, 255)),
    "mint": _Style(paper=(230, 250, 232)),
    "outline": _Style(edge=(90, 90, 90)),
    "grid": _Style(marks="grid"),
    "dots": _Style(paper=(250, 248, 238), marks="dots"),
    "stripes": _Style(paper=(246, 244, 250), marks="stripes"),
    "dusk": _Style(paper=(135, 135, 145), edge=(250, 250, 250)),
}

_MARK: Colour = (205, 205, 210)


def _star(points: int, inner: float) -> tuple[tuple[float, float], ...]:
    turns = [math.pi * (step / points - 0.5) for step in range(2 * points)]
    return tuple(
        (math.cos(t) * (inner if k % 2 else 1.05), math.sin(t) * (inner if k % 2 else 1.05)) for k, t in enumerate(turns)
    )


_POLYGONS: Mapping[str, tuple[tuple[float, float], ...]] = {
    "square": ((-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)),
    "triangle": ((0.0, -1.0), (1.0, 0.8), (-1.0, 0.8)),
    "diamond": ((0.0, -1.05), (0.8, 0.0), (0.0, 1.05), (-0.8, 0.0)),
    "cross": tuple(
        (x * a, y * b)
        for x, y, order in ((1, -1, 0), (1, 1, 1), (-1, 1, 0), (-1, -1, 1))
        for a, b in (((0.35, 1.0), (0.35, 0.35), (1.0, 0.35)) if order == 0 else ((1.0, 0.35), (0.35, 0.35), (0.35, 1.0)))
    ),
    "star": _star(5, 0.45),
}
"""Corners for a radius of one, y downwards."""


def draw(scene: Scene) -> Image.Image:
    """The picture of a scene: RGB, 56 x 56 pixels, or 28 x 28 for a crop."""
    style = _STYLES[scene.style]
    canvas = _paper(scene.style, 1 if scene.is_crop else 2).copy()
    pen = ImageDraw.Draw(canvas)
    for thing in scene.things:
        row, column = cell_of(thing.position)
        centre = (_SCALE * (CELL * (column + 0.5) + thing.dx), _SCALE * (CELL * (row + 0.5) + thing.dy))
        if style.edge:
            _stamp(pen, thing.shape, centre, radius=thing.radius, grow=_EDGE, ink=style.edge)
        _stamp(pen, thing.shape, centre, radius=thing.radius, grow=0.0, ink=_INK[thing.colour])
    return canvas.reduce(_SCALE)


def encode(scene: Scene, *, times: int = 1) -> bytes:
    """The JPEG file of a scene's picture, so many times as wide and high; the same scene gives the same bytes."""
    file, picture = io.BytesIO(), draw(scene)
    (picture.resize((times * picture.width, times * picture.height)) if times > 1 else picture).save(
        file, "JPEG", quality=_QUALITY, subsampling=0
    )
    return file.getvalue()


def cell_of(position: str) -> tuple[int, int]:
    """Row and column of a position; the middle of a crop is (0, 0)."""
    return (0, 0) if position == MIDDLE else divmod(POSITIONS.index(position), 2)


def _stamp(pen: ImageDraw.ImageDraw, shape: str, centre: tuple[float, float], *, radius: float, grow: float, ink: Colour) -> None:
    (x, y), reach = centre, _SCALE * (radius + grow)
    if shape in _POLYGONS:
        pen.polygon([(x + reach * a, y + reach * b) for a, b in _POLYGONS[shape]], fill=ink)
        return
    box = (x - reach, y - reach, x + reach, y + reach)
    if shape == "ring":
        pen.ellipse(box, outline=ink, width=round(_SCALE * (0.4 * radius + 2 * grow)))
    else:
        pen.ellipse(box, fill=ink)


@cache
def _paper(style: str, cells: int) -> Image.Image:
    side = CELL * _SCALE
    tile = Image.new("RGB", (side, side), _STYLES[style].paper)
    _mark(ImageDraw.Draw(tile), _STYLES[style].marks, side)
    sheet = Image.new("RGB", (cells * side, cells * side))
    for row in range(cells):
        for column in range(cells):
            light = Image.new("RGB", tile.size, (255 - column * _SHADE, 255, 255 - row * _SHADE))
            sheet.paste(ImageChops.multiply(tile, light), (column * side, row * side))
    return sheet


def _mark(pen: ImageDraw.ImageDraw, marks: str, side: int) -> None:
    if marks == "grid":
        pen.line((0, 0, side, 0), fill=_MARK, width=2 * _SCALE)
        pen.line((0, 0, 0, side), fill=_MARK, width=2 * _SCALE)
    elif marks == "dots":
        for x in range(side // 8, side, side // 4):
            for y in range(side // 8, side, side // 4):
                pen.ellipse((x - 1, y - 1, x + 1, y + 1), fill=_MARK)
    elif marks == "stripes":
        for y in range(0, side, side // 4):
            pen.rectangle((0, y, side, y + side // 8 - 1), fill=(222, 216, 236))
