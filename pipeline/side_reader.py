"""What a model reads of a side, made without its weights: tokens and resized pictures, in processes beside the model too."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.batch import Batch, PoolPositions, Row, pack
from pipeline.data.pictures import measure
from pipeline.data.reject import RowError
from pipeline.encode.encoder import Reading
from pipeline.errors import DataError
from pipeline.model.inputs import PixelLimits, load_pixels
from pipeline.model.tiles import Tiles
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.train.dataloader.step_dataset import side_digest


@dataclass(frozen=True, slots=True, kw_only=True)
class SideReader:
    """Builds rows by a layout and pixel limits; `pooled` are the positions that an embedding pools."""

    builder: SequenceBuilder
    pixels: PixelLimits | Tiles
    pooled: PoolPositions

    def reading(self, side: Side) -> Reading:
        """Tokens and shown sizes, from the headers of its pictures. Raises DataError for what is no JPEG or PNG."""
        shown = self.shown(side)
        return Reading(tokens=len(self.builder.build(side, self._grids(shown))), shown=shown)

    def roles(self, side: Side) -> np.ndarray:
        """The roles (T,) int8 of its tokens; raises as `reading`."""
        return self.builder.build(side, self._grids(self.shown(side))).roles

    def row(self, side: Side, turns: Sequence[Turn] = (), *, slot: int) -> Row:
        """A side with its pictures decoded and resized. Raises DataError where one cannot be decoded."""
        pixels = tuple(load_pixels(picture, self.pixels, where="a picture to embed") for picture in side.images)
        sequence = self.builder.build(side, self._grids([picture.shape[1:] for picture in pixels]), turns)
        return Row(key="", sequence=sequence, pixels=pixels, slot=slot, item=side_digest(side))

    def batch(self, sides: Sequence[Side]) -> Batch:
        """All sides as one packed batch, on the CPU; a side's slot is its place."""
        return self.pack([self.row(side, slot=slot) for slot, side in enumerate(sides)])

    def pack(self, rows: Sequence[Row]) -> Batch:
        """A packed batch of rows, on the CPU."""
        return pack(rows, self.builder.layout, self.pooled)

    def shown(self, side: Side) -> tuple[tuple[int, int], ...]:
        """Height and width at which each picture is shown, from its header; raises as `reading`."""
        try:
            sizes = [measure(picture)[1:] for picture in side.images]
        except RowError as error:
            raise DataError(f"a picture to embed: {error}; mend it, or leave its row out") from error
        return tuple(self.pixels.resized(height, width) for width, height in sizes)

    def _grids(self, sizes: Sequence[tuple[int, ...]]) -> np.ndarray:
        return np.array([self.pixels.grid_of(*size) for size in sizes], dtype=np.int64)
