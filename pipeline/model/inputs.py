"""Pixels: encoded pictures to uint8 arrays in the workers, to normalised patches on the model's device.

Travelling as uint8 is a quarter of the bytes of float pixels, and cutting into patches is a permutation that a device does
in no time. The result is bit-equal to transformers' Qwen2-VL image processor.
"""

import io
import math
from dataclasses import dataclass

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
        resized_height, resized_width = self.resized(height, width)
        return 1, resized_height // self.patch, resized_width // self.patch


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


def load_pixels(encoded: bytes, limits: PixelLimits, *, where: str, view: View = WHOLE) -> np.ndarray:
    """Decode a picture and resize what is seen of it: uint8 (3, H, W), of the whole picture's H and W for every view.

    Raises DataError naming `where` when it cannot be decoded.
    """
    try:
        with Image.open(io.BytesIO(encoded)) as picture:
            picture.load()
            shown = rgb(upright(picture))
    except Exception as error:  # Pillow's decoders raise many kinds on damaged files; all mean the same here.
        reason = "unknown format" if isinstance(error, UnidentifiedImageError) else error  # which names an object in memory
        raise DataError(f"{where}: picture cannot be decoded ({reason}); mend it, or leave its row out") from error
    height, width = limits.resized(shown.height, shown.width)
    if view != WHOLE or (width, height) != shown.size:
        shown = shown.resize((width, height), Image.Resampling.BICUBIC, box=view.box(*shown.size))
    return np.ascontiguousarray(np.asarray(shown).transpose(2, 0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class PatchCutter:
    """Normalises uint8 pictures and cuts them into the tower's patches, as the model folder's preprocessor says."""

    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    patch: int = 14
    merge: int = 2
    temporal: int = 2

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """(I, 3, H, W) uint8 -> (I * P, 3 * temporal * patch^2) float32, patches in the tower's 2 x 2 merge order."""
        scale = (
            torch.tensor(self.mean, device=pictures.device).view(3, 1, 1),
            torch.tensor(self.std, device=pictures.device).view(3, 1, 1),
        )
        # 1/255 is a float64 product rounded once, as the processor computes it; bit equality depends on it.
        floats = (pictures.double() * (1 / 255)).float()
        floats = (floats - scale[0]) / scale[1]
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
