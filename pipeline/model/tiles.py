"""Pictures as tiles: equal squares that a tower sees one by one, and a thumbnail of the whole (InternVL)."""

from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any, ClassVar

import numpy as np
import torch
from PIL import Image

from pipeline.errors import ConfigError
from pipeline.model.inputs import WHOLE, View, normalised
from pipeline.ranges import check_least, check_once


@dataclass(frozen=True, slots=True, kw_only=True)
class Tiles:
    """Squares of `side` pixels, at most `max_tiles` a picture, and a thumbnail where there is more than one.

    `by_phase` and `by_dataset` name phases and datasets of other limits; a phase's goes before a dataset's. Elsewhere, in
    evaluation too, `max_tiles` holds.
    """

    side: int = 448
    max_tiles: int = 12
    by_phase: tuple[tuple[str, int], ...] = ()
    by_dataset: tuple[tuple[str, int], ...] = ()
    patch: int = 14
    merge: int = 2

    def __post_init__(self) -> None:
        check_least(self, "pixels", patch=1, merge=1, side=self.patch * self.merge, max_tiles=1)
        if self.side % self.factor:
            raise ConfigError(f"pixels.side: {self.side} is not a multiple of pixels.patch * pixels.merge = {self.factor}")
        for name in ("by_phase", "by_dataset"):
            check_once(f"pixels.{name}", [each for each, _ in getattr(self, name)])
            for each, most in getattr(self, name):
                if most < 1:
                    raise ConfigError(f"pixels.{name}: {most} tiles for {each}; at least 1")

    @property
    def factor(self) -> int:
        """Side of a visual token in pixels, before any are left out."""
        return self.patch * self.merge

    @property
    def tile_tokens(self) -> int:
        """Visual tokens of a tile, before any are left out."""
        return (self.side // self.factor) ** 2

    @property
    def min_tokens(self) -> int:
        """Visual tokens of a picture at least."""
        return self.tile_tokens

    @property
    def max_tokens(self) -> int:
        """Visual tokens of a picture at most."""
        tiles = self.most[1]
        return self.tile_tokens * (tiles + (tiles > 1))

    @property
    def most(self) -> tuple[str, int, int]:
        """The field that bounds a picture from above, the most tiles of any phase and dataset, and the pixels of one."""
        named = (most for _, most in (*self.by_phase, *self.by_dataset))
        return "max_tiles", max([self.max_tiles, *named]), self.side**2

    def of(self, phase: str, dataset: str) -> "Tiles":
        """The limits of a dataset's pictures in a phase."""
        most = dict(self.by_phase).get(phase) or dict(self.by_dataset).get(dataset) or self.max_tiles
        return replace(self, max_tiles=most, by_phase=(), by_dataset=())

    def canvas(self, height: int, width: int) -> tuple[int, int]:
        """Rows and columns of tiles of a picture: those whose shape is nearest to its own.

        Of equally near ones the more tiles win where the picture has more than half of their pixels (InternVL's rule).
        """
        return _canvas(height, width, self.side, self.max_tiles)

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width of the tiles as they travel, one below the other, the thumbnail last."""
        rows, columns = self.canvas(height, width)
        return self.side * (rows * columns + (rows * columns > 1)), self.side

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """Tiles and patches on their sides of a picture of the given size."""
        return self.grid_of(*self.resized(height, width))

    def grid_of(self, height: int, width: int) -> tuple[int, int, int]:
        """The same of tiles as they travel."""
        return height // width, width // self.patch, width // self.patch

    def grid_with(self, visual: int) -> tuple[int, int, int]:
        """The grid of a picture of about so many visual tokens: whole tiles."""
        return -(-visual // self.tile_tokens), self.side // self.patch, self.side // self.patch

    def at(self, visual: int) -> "Tiles":
        """The tiles of a picture of so many visual tokens at most, the thumbnail's among them: one tile at least."""
        return replace(self, max_tiles=max(1, visual // self.tile_tokens - 1), by_phase=(), by_dataset=())

    def within(self, least: int, most: int) -> "Tiles":
        """These tiles, whose tokens are counted whole. Raises ConfigError for other limits."""
        if (least, most) != (self.min_tokens, self.max_tokens):
            raise ConfigError(
                f"{least} to {most} visual tokens: the model sees tiles of {self.tile_tokens}; set pixels.max_tiles"
            )
        return self

    def over_picture(self, values: np.ndarray, tokens: tuple[int, ...], height: int, width: int) -> np.ndarray:
        """Values (..., V) of a picture's visual tokens, of grid `tokens` (tiles, h, w), as they lie over it:
        (..., rows * h, columns * w). What a token of the thumbnail has is spread evenly over what it sees; the sum stays.
        """
        rows, columns = self.canvas(height, width)
        count, rest = rows * columns, values.shape[:-1]
        tiles: np.ndarray = values.reshape(*rest, *tokens)
        cut: np.ndarray = tiles[..., :count, :, :].reshape(*rest, rows, columns, *tokens[1:])
        whole: np.ndarray = np.moveaxis(cut, -3, -2).reshape(*rest, rows * tokens[1], columns * tokens[2]).copy()
        if tokens[0] == count:
            return whole
        whole += tiles[..., -1, :, :].repeat(rows, axis=-2).repeat(columns, axis=-1) / count
        return whole

    def show(self, picture: Image.Image, view: View = WHOLE) -> np.ndarray:
        """What is seen of an RGB picture, (3, tiles * side, side) uint8, of the whole picture's tiles for every view."""
        rows, columns = self.canvas(picture.height, picture.width)
        box = view.box(*picture.size)
        whole = np.asarray(picture.resize((columns * self.side, rows * self.side), Image.Resampling.BICUBIC, box=box))
        cut = whole.reshape(rows, self.side, columns, self.side, 3).transpose(0, 2, 1, 3, 4).reshape(-1, self.side, 3)
        if rows * columns > 1:
            thumbnail = picture.resize((self.side, self.side), Image.Resampling.BICUBIC, box=box)
            cut = np.concatenate([cut, np.asarray(thumbnail)])
        return np.ascontiguousarray(cut.transpose(2, 0, 1))


@lru_cache(maxsize=4096)
def _canvas(height: int, width: int, side: int, most: int) -> tuple[int, int]:
    best, nearest, shape = (1, 1), float("inf"), width / height
    for rows, columns in _arrangements(most):
        distance = abs(shape - columns / rows)
        fills = height * width > 0.5 * side * side * rows * columns
        if distance < nearest or (distance == nearest and fills):
            best, nearest = (rows, columns), distance
    return best


@lru_cache(maxsize=64)
def _arrangements(most: int) -> tuple[tuple[int, int], ...]:
    """(rows, columns) of up to so many tiles: few tiles first; of as many, few columns first."""
    every = [(rows, columns) for columns in range(1, most + 1) for rows in range(1, most // columns + 1)]
    return tuple(sorted(every, key=lambda tiles: tiles[0] * tiles[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class TileCutter:
    """Normalises tiles as they travel and takes them apart, as the model folder's preprocessor says."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch: int = 14
    merge: int = 2
    side: int = 448
    tiles: ClassVar[bool] = True

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """(I, 3, tiles * side, side) uint8 -> (I * tiles, 3, side, side) float32."""
        count, channels, _, side = pictures.shape
        tiles = pictures.reshape(count, channels, -1, side, side).transpose(1, 2).flatten(0, 1)
        return normalised(tiles, self.mean, self.std)


def settings_of(cutter: Any, tiles: Tiles) -> dict[str, Any]:
    """Picture settings of an exported folder."""
    return {
        "image_processor_type": "GotOcr2ImageProcessor",
        "image_mean": list(cutter.mean),
        "image_std": list(cutter.std),
        "size": {"height": tiles.side, "width": tiles.side},
        "crop_to_patches": tiles.max_tiles > 1,
        "min_patches": 1,
        "max_patches": tiles.max_tiles,
    }
