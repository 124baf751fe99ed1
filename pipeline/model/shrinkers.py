"""Shrinkers leave fewer visual tokens of a picture (Magic-MM-Embedding, visual token compression).

One is a value of a recipe, any frozen dataclass under `Shrinker`. It acts on the tower's patches as they lie in the picture,
before the map that makes visual tokens of them, so that this map and the language model meet fewer. None of ours has weights.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import ClassVar

import numpy as np
import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate

from pipeline.ranges import check_least
from pipeline.visual_tokens import IntArray, VisualTokens


class Shrinker(ABC):
    """What is left of a picture's visual tokens."""

    __slots__ = ()
    keeps_all: ClassVar[bool] = False
    """Whether pictures need not be looked at."""

    @abstractmethod
    def side(self, tokens: IntArray) -> IntArray:
        """Of sides of so many tokens, int64 of any shape, how many are left: at least 1, at most all."""

    @abstractmethod
    def __call__(self, planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Features (I, C, *size) float32 of features (I, C, H, W) float32."""


@dataclass(frozen=True, slots=True)
class KeepAll(Shrinker):
    """All tokens."""

    keeps_all: ClassVar[bool] = True

    def side(self, tokens: IntArray) -> IntArray:
        """As many."""
        return tokens

    def __call__(self, planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """The same."""
        return planes


KEEP_ALL = KeepAll()


@dataclass(frozen=True, slots=True)
class _ByFactor(Shrinker):
    """A side of n tokens keeps n / factor of them, to the nearest whole number (halves upwards), and one at least."""

    factor: float = 2.0

    def __post_init__(self) -> None:
        check_least(self, "vision", factor=1)

    def side(self, tokens: IntArray) -> IntArray:
        """max(1, floor(n / factor + 1/2)): 16 -> 8, 5 -> 3, 1 -> 1 at factor 2; 16 -> 6 at factor 2.667."""
        left: IntArray = np.maximum(1, np.floor(tokens / self.factor + 0.5)).astype(np.int64)
        return left


@dataclass(frozen=True, slots=True)
class Bilinear(_ByFactor):
    """Each new point is interpolated between the four old ones around it (the paper's, at factor 2: 75 % fewer tokens)."""

    def __call__(self, planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Points are the centres of equal cells; at factor 2 and even sides it is the mean of 2 x 2."""
        return interpolate(planes, size=size, mode="bilinear", align_corners=False)


@dataclass(frozen=True, slots=True)
class AveragePool(_ByFactor):
    """Each new point is the mean of the old ones that its cell touches (the paper's ablation)."""

    def __call__(self, planes: torch.Tensor, size: tuple[int, int]) -> torch.Tensor:
        """Cells from floor(i H / h) to ceil((i + 1) H / h), so that neighbours share a row where h does not divide H."""
        return adaptive_avg_pool2d(planes, size)


def shrink_patches(states: torch.Tensor, grid_thw: torch.Tensor, merge: int, shrinker: Shrinker) -> torch.Tensor:
    """States of patches (P, C) in merge order, of pictures of grids (I, 3) -> those that are left (P', C), in merge order.

    In merge order the merge x merge patches of a visual token are neighbours. They are laid out as in the picture first: what is
    beside a patch in the row of states is not what is beside it in the picture.
    """
    if shrinker.keeps_all:
        return states
    grids = grid_thw.tolist()
    left = (VisualTokens(merge=merge, shrinker=shrinker).grids(grids)[:, 1:] * merge).tolist()
    parts, start = [], 0
    for count, (frames, rows, columns), size in _runs(grids, left):
        stop = start + count * frames * rows * columns
        planes = _laid_out(states[start:stop].reshape(count * frames, rows * columns, -1), (rows, columns), merge)
        parts.append(_in_merge_order(shrinker(planes.float(), size).to(states.dtype), merge))
        start = stop
    return torch.cat(parts)


def _runs(grids: list[list[int]], left: list[list[int]]) -> Iterator[tuple[int, tuple[int, int, int], tuple[int, int]]]:
    """(pictures, grid, patches left on its sides) of each run of neighbours with one grid."""
    for (grid, size), run in groupby(zip(grids, left, strict=True)):
        yield sum(1 for _ in run), (grid[0], grid[1], grid[2]), (size[0], size[1])


def _laid_out(states: torch.Tensor, size: tuple[int, int], merge: int) -> torch.Tensor:
    """(I, H * W, C) in merge order -> (I, C, H, W)."""
    (count, _, width), (rows, columns) = states.shape, size
    cut = states.reshape(count, rows // merge, columns // merge, merge, merge, width)
    return cut.permute(0, 5, 1, 3, 2, 4).reshape(count, width, rows, columns)


def _in_merge_order(planes: torch.Tensor, merge: int) -> torch.Tensor:
    """(I, C, H, W) -> (I * H * W, C) in merge order."""
    count, width, rows, columns = planes.shape
    cut = planes.reshape(count, width, rows // merge, merge, columns // merge, merge)
    return cut.permute(0, 2, 4, 3, 5, 1).reshape(-1, width)
