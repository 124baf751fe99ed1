"""Pixels: encoded pictures to uint8 arrays in the workers, to normalised patches on the model's device.

Travelling as uint8 is a quarter of the bytes of float pixels, and cutting into patches is a permutation that a device does
in no time. The result is bit-equal to transformers' Qwen2-VL image processor.
"""

import io
import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Protocol

import numpy as np
import torch
from PIL import Image, UnidentifiedImageError

from pipeline.errors import DataError
from pipeline.ranges import check_least
from pipeline.rgb import rgb, upright

MAX_ASPECT = 200
"""Qwen2-VL's limit of the ratio of a picture's sides."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PixelLimits:
    """Least and greatest number of visual tokens of a picture (one token is `patch * merge` pixels square)."""

    min_tokens: int = 4
    max_tokens: int = 1280
    patch: int = 14
    merge: int = 2

    def __post_init__(self) -> None:
        check_least(self, "pixels", patch=1, merge=1, min_tokens=1, max_tokens=self.min_tokens)

    @property
    def factor(self) -> int:
        """Side of a visual token in pixels."""
        return self.patch * self.merge

    @property
    def most(self) -> tuple[str, int, int]:
        """The field that bounds a picture from above, its value, and the pixels of one of it."""
        return "max_tokens", self.max_tokens, self.factor**2

    def resized(self, height: int, width: int) -> tuple[int, int]:
        """Height and width that the tower sees: multiples of `factor` near the picture's aspect, inside the limits.

        The rule is Qwen2-VL's `smart_resize`. Raises DataError for sides more than 200 : 1.
        """
        if max(height, width) > MAX_ASPECT * min(height, width):
            raise DataError(
                f"a picture of {width} x {height} pixels is more than {MAX_ASPECT} times longer than wide; crop or drop it"
            )
        least, most = self.min_tokens * self.factor**2, self.max_tokens * self.factor**2
        rows, columns = round(height / self.factor), round(width / self.factor)
        if rows * columns * self.factor**2 > most:
            shrink = math.sqrt(height * width / most)
            rows, columns = (max(1, math.floor(side / shrink / self.factor)) for side in (height, width))
        elif rows * columns * self.factor**2 < least:
            grow = math.sqrt(least / (height * width))
            rows, columns = (math.ceil(side * grow / self.factor) for side in (height, width))
        return rows * self.factor, columns * self.factor

    def grid(self, height: int, width: int) -> tuple[int, int, int]:
        """Patches (t, h, w) of a picture of the given size."""
        return self.grid_of(*self.resized(height, width))

    def grid_of(self, height: int, width: int) -> tuple[int, int, int]:
        """Patches (t, h, w) of a resized picture."""
        return 1, height // self.patch, width // self.patch

    def grid_with(self, visual: int) -> tuple[int, int, int]:
        """The grid of patches, as square as can be, of a picture of so many visual tokens before any are left out."""
        rows = next(side for side in range(math.isqrt(visual), 0, -1) if visual % side == 0)
        return 1, self.merge * rows, self.merge * visual // rows

    def of(self, phase: str, dataset: str) -> "PixelLimits":
        """The limits of a dataset's pictures in a phase: the same for all."""
        return self

    def at(self, visual: int) -> "PixelLimits":
        """The limits that show every picture at so many visual tokens."""
        return self.within(visual, visual)

    def within(self, least: int, most: int) -> "PixelLimits":
        """Other limits. Raises ConfigError where they cross."""
        return replace(self, min_tokens=least, max_tokens=most)

    def over_picture(self, values: np.ndarray, tokens: tuple[int, ...], height: int, width: int) -> np.ndarray:
        """Values (..., V) of a picture's visual tokens, of grid `tokens` (1, h, w), as they lie over it: (..., h, w)."""
        return values.reshape(*values.shape[:-1], *tokens[1:])

    def show(self, picture: Image.Image, view: "View") -> np.ndarray:
        """What is seen of an RGB picture, resized: uint8 (3, H, W), of the whole picture's H and W for every view."""
        height, width = self.resized(picture.height, picture.width)
        if view != WHOLE or (width, height) != picture.size:
            picture = picture.resize((width, height), Image.Resampling.BICUBIC, box=view.box(*picture.size))
        return np.ascontiguousarray(np.asarray(picture).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class View:
    """The part of a picture that is looked at, as shares of its width and height."""

    left: float = 0.0
    top: float = 0.0
    width: float = 1.0
    height: float = 1.0

    @staticmethod
    def draw(least: float, random: np.random.Generator) -> "View":
        """A part of at least the share `least` of either side, anywhere in the picture."""
        width, height = random.uniform(least, 1.0, size=2)
        left, top = random.uniform(0.0, (1.0 - width, 1.0 - height))
        return View(left=left, top=top, width=width, height=height)

    def box(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Left, upper, right and lower edge in the pixels of a picture of the given size."""
        left, top = self.left * width, self.top * height
        return left, top, min(width, left + self.width * width), min(height, top + self.height * height)


WHOLE = View()


class PictureRule(Protocol):
    """How a recipe shows pictures to a tower."""

    def show(self, picture: Image.Image, view: View) -> np.ndarray:
        """What is seen of an RGB picture: uint8 (3, H, W), of the whole picture's H and W for every view."""


def load_pixels(encoded: bytes, limits: PictureRule, *, where: str, view: View = WHOLE) -> np.ndarray:
    """Decode a picture and show it by a rule: uint8 (3, H, W), of the whole picture's H and W for every view.

    Raises DataError naming `where` when it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
            shown = rgb(upright(picture))
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files; all mean the same here.
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error  # which names an object in memory
        raise DataError(f"{where}: picture cannot be decoded ({reason}); mend it, or leave its row out") from error
    return limits.show(shown, view)


def normalised(pictures: torch.Tensor, mean: Sequence[float], std: Sequence[float]) -> torch.Tensor:
    """(I, 3, H, W) uint8 -> float32, from 0 to 1 less the channels' means, by their deviations."""
    means, deviations = (torch.tensor(numbers, device=pictures.device).view(3, 1, 1) for numbers in (mean, std))
    # 1/255 is a float64 product rounded once, as the processor computes it; bit equality depends on it.
    return ((pictures.double() * (1 / 255)).float() - means) / deviations


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchCutter:
    """Normalises uint8 pictures and cuts them into the tower's patches, as the model folder's preprocessor says."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch: int = 14
    merge: int = 2
    temporal: int = 2
    tiles: ClassVar[bool] = False

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """(I, 3, H, W) uint8 -> (I * P, 3 * temporal * patch^2) float32, patches in the tower's 2 x 2 merge order."""
        floats = normalised(pictures, self.mean, self.std)
        count, channels, height, width = floats.shape
        rows, columns = height // self.factor, width // self.factor
        cut = floats.reshape(count, channels, rows, self.merge, self.patch, columns, self.merge, self.patch)
        cut = cut.permute(0, 2, 5, 3, 6, 1, 4, 7).unsqueeze(6)
        cut = cut.expand(*cut.shape[:6], self.temporal, *cut.shape[7:])
        return cut.reshape(count * rows * columns * self.merge**2, -1)

    @property
    def factor(self) -> int:
        """Side of a visual token in pixels."""
        return self.patch * self.merge

    @property
    def side(self) -> int:
        """Of the smallest picture."""
        return self.factor
