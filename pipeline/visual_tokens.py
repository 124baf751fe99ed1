"""How pictures stand in a sequence: how many visual tokens each has, and which positions they take.

Pictures are known by their grids of patches (t, h, w): t frames or tiles of h x w patches. `merge` x `merge` patches make a
visual token, and a shrinker may leave fewer of them.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Protocol

import numpy as np
import numpy.typing as npt

IntArray = npt.NDArray[np.int64]

PositionRule = Literal["mrope", "text"]
"""Visual tokens span a grid on three axes (M-RoPE), or count up like text on one."""


class Shrinks(Protocol):
    """What a shrinker of visual tokens leaves, as far as a sequence must know."""

    def side(self, tokens: IntArray) -> IntArray:
        """Of sides of so many tokens, int64 of any shape: the tokens that are left of each."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VisualTokens:
    """The rule of one model: its merge, its positions, and what a recipe's shrinker leaves (None: all)."""

    merge: int = 2
    rule: PositionRule = "mrope"
    shrinker: Shrinks | None = None

    def grids(self, grid_thw: npt.ArrayLike) -> IntArray:
        """Grids of visual tokens (I, 3) int64 of grids of patches (I, 3)."""
        grids: IntArray = np.asarray(grid_thw, dtype=np.int64).reshape(-1, 3) // np.array([1, self.merge, self.merge])
        if self.shrinker is not None:
            grids[:, 1:] = self.shrinker.side(grids[:, 1:])
        return grids

    def counts(self, grid_thw: npt.ArrayLike) -> IntArray:
        """Visual tokens (I,) int64 of each picture."""
        counts: IntArray = self.grids(grid_thw).prod(axis=1)
        return counts

    @property
    def axes(self) -> int:
        """Rows of a sequence's positions."""
        return 3 if self.rule == "mrope" else 1

    def positions(self, length: int, image_starts: Iterable[int], grid_thw: npt.ArrayLike) -> IntArray:
        """Position ids (axes, T) int64 of a sequence of so many tokens whose pictures begin at `image_starts` (I,).

        M-RoPE as Qwen2-VL defines it: text counts up by one on all three axes; a picture of h x w visual tokens spans h and w
        positions on its axes and moves the text on by max(h, w). The other rule counts all tokens alike.
        """
        if self.rule == "text":
            return np.arange(length, dtype=np.int64)[None]
        out = np.empty((3, length), dtype=np.int64)
        place = current = 0
        for start, (_, height, width) in zip(image_starts, self.grids(grid_thw).tolist(), strict=True):
            out[:, place:start] = np.arange(current, current + start - place)
            current += start - place
            rows, columns = np.divmod(np.arange(height * width), width)
            out[:, start : start + height * width] = np.stack([np.zeros_like(rows), rows, columns]) + current
            place, current = start + height * width, current + max(height, width)
        out[:, place:] = np.arange(current, current + length - place)
        return out


QWEN = VisualTokens()
"""2 x 2 patches a token, M-RoPE, all tokens."""
