"""Token ids of a side under a preset: what the published program would hand its model, id for id."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.encode.encoder import Reading
from pipeline.errors import DataError
from pipeline.presets import Preset
from pipeline.roles import Role
from pipeline.sample import IMAGE_MARKER, Side, Turn
from pipeline.sequence import SequenceBuilder, TokenSequence
from pipeline.side_reader import SideReader


@dataclass(frozen=True, slots=True)
class _Tokens:
    """Special tokens; of a picture's, `visual` is the first visual one's place among them (-1: no picture)."""

    ids: tuple[int, ...]
    visual: int = -1


_Piece = str | _Tokens
"""No text begins with white space where another ends, so each is encoded by itself as in the whole prompt."""


@dataclass(frozen=True, slots=True, eq=False)
class CountedSequence(TokenSequence):
    """A sequence whose positions count its tokens up, pictures' too."""

    def positions(self, *given: int) -> np.ndarray:
        """Position ids, 0, 1, 2, ... on every axis, int64."""
        axes = TokenSequence.positions(self, *given)
        return np.broadcast_to(np.arange(len(self), dtype=np.int64), axes.shape).copy()


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetBuilder(SequenceBuilder):
    """Builds the sequences of a preset; `end` are the ids behind everything."""

    preset: Preset
    end: tuple[int, ...] = ()

    def build(self, side: Side, grid_thw: np.ndarray, turns: Sequence[Turn] = (), *, key: str = "") -> TokenSequence:
        """Tokens of a side. Raises DataError, naming `key`, where pictures and markers do not match, or nothing is to be read."""
        grids = np.asarray(grid_thw, dtype=np.int64).reshape(-1, 3)
        system, _ = self._encoded(self._system(side))
        context, starts = self._encoded(self._context(side, grids, key))
        if not context:
            raise DataError(f"{key or 'a row'}: has nothing to embed; mend the row or drop it")
        ids = np.asarray([*system, *context], dtype=np.int64)
        roles = np.repeat(np.array([Role.SYSTEM, Role.CONTEXT], dtype=np.int8), [len(system), len(context)])
        kind = CountedSequence if self.preset.positions == "count" else TokenSequence
        return kind(ids, roles, grids, np.asarray(starts, dtype=np.int64) + len(system))

    def _system(self, side: Side) -> Iterator[_Piece]:
        v = self.vocabulary
        if self.preset.system:
            line = side.instruction if self.preset.instruction != "text" and side.instruction else self.preset.system
            yield from (_Tokens((v.im_start,)), f"system\n{line}", _Tokens((v.im_end,)), "\n", _Tokens((v.im_start,)))

    def _context(self, side: Side, grids: np.ndarray, key: str) -> Iterator[_Piece]:
        v = self.vocabulary
        if self.preset.system:
            yield "user\n"
            yield from map(self._picture, grids)
            yield from (side.text.strip(), _Tokens((v.im_end,)), "\n", _Tokens((v.im_start,)), "assistant\n")
        else:
            yield from self._marked(side.instruction + side.text, grids, key)
        yield _Tokens(self.end)

    def _marked(self, text: str, grids: np.ndarray, key: str) -> Iterator[_Piece]:
        """A text with pictures at their markers, or in front of it. Bare, a lone marker of no picture is one token."""
        bare = not self.preset.framed
        parts = IMAGE_MARKER.split(text if bare else text.strip())
        words, numbers = parts[0::2], [int(number) for number in parts[1::2]]
        pictures = [self._picture(grid) for grid in grids]
        if bare and not pictures and numbers == [1]:
            pictures = [_Tokens((self.vocabulary.image_pad,))]
        if numbers and numbers != list(range(1, len(pictures) + 1)):
            raise DataError(f"{key or 'a row'}: {len(grids)} pictures but markers {numbers}; mend the row or drop it")
        yield from pictures[len(numbers) :]
        yield words[0]
        for picture, following in zip(pictures, words[1:], strict=False):
            yield from (picture, following)

    def _picture(self, grid: np.ndarray) -> _Tokens:
        block = self._visual_ids(grid)
        return _Tokens(tuple(block), visual=1) if self.preset.framed else _Tokens(tuple(block[1:-1]), visual=0)

    def _encoded(self, pieces: Iterator[_Piece]) -> tuple[list[int], list[int]]:
        """Ids of pieces, and where the visual tokens of each picture begin among them."""
        ids, starts = list[int](), list[int]()
        for piece in pieces:
            if isinstance(piece, str):
                ids += self.vocabulary.encode(piece)
            else:
                starts += [len(ids) + piece.visual] * (piece.visual >= 0)
                ids += piece.ids
        return ids, starts


@dataclass(frozen=True, slots=True, kw_only=True)
class PresetReader(SideReader):
    """Reads sides under a preset; a system line of a side's own tells it from one with the same words in its text."""

    def reading(self, side: Side) -> Reading:
        """Tokens, shown sizes, and the words that stand in the system turn."""
        return replace(super(PresetReader, self).reading(side), apart=side.instruction)
