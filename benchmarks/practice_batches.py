"""The common practice's batches: rows padded to a width, masks of tokens by tokens, float patches of the stock processor."""

import io
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from pipeline.batch import Batch, Row, row_places, shared_system
from pipeline.model.inputs import View
from pipeline.recipe import Recipe
from pipeline.roles import Layout, Role
from pipeline.sequence import Vocabulary
from pipeline.spans import causal_spans
from pipeline.train.dataloader.step_dataset import RowBuilder

Part = tuple[list[Row], int]
"""Rows of a chunk, and the length that they are padded to (0: packed)."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class MicroBatch:
    """A chunk: its rows, their tensors, how many rows are padded to one width (0: packed), and a mask or none."""

    rows: Sequence[Row]
    batch: Batch
    num_padded: int
    mask: torch.Tensor | None


class StockRows(RowBuilder):
    """Rows whose pictures went through transformers' own processor. A row's `pixels` only name them; `patches` has the floats."""

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary) -> None:
        super().__init__(recipe, vocabulary)
        limits = recipe.pixels
        self._area = limits.factor**2
        size = {"shortest_edge": limits.min_tokens * self._area, "longest_edge": limits.max_tokens * self._area}
        self._processor: Any = Qwen2VLImageProcessorPil(size=size, patch_size=limits.patch, merge_size=limits.merge)
        self._patches: dict[int, tuple[np.ndarray, torch.Tensor]] = {}

    def pixels(self, picture: bytes, key: str, view: View, dataset: str = "") -> np.ndarray:
        """A stand-in of the picture's resized shape that takes no memory."""
        with Image.open(io.BytesIO(picture)) as opened:
            made = self._processor(images=opened.convert("RGB"), return_tensors="pt")
        _, rows, columns = made["image_grid_thw"][0].tolist()
        patch = self.recipe.pixels.patch
        stand_in = np.broadcast_to(np.uint8(0), (3, rows * patch, columns * patch))
        self._patches[id(stand_in)] = stand_in, made["pixel_values"]  # with the stand-in, so that its id stays its own
        return stand_in

    def patches(self, stand_in: np.ndarray) -> torch.Tensor:
        """Float patches (P, C) of a picture."""
        return self._patches[id(stand_in)][1]

    def forget(self) -> None:
        """Let go of the pictures of a step."""
        self._patches.clear()


def padded(rows: Sequence[Row], packed: Batch, width: int, layout: Layout) -> Batch:
    """The packed batch of rows laid out as rows of `width` tokens one after another, padding at the right (B * width tokens)."""
    starts = np.arange(len(rows)) * width
    source, place = np.zeros(len(rows) * width, dtype=np.int64), np.zeros(len(packed.input_ids), dtype=np.int64)
    for row, theirs, start in zip(rows, row_places(rows), starts, strict=True):
        ours = start + np.arange(len(row.sequence))
        source[ours] = theirs
        place[theirs] = ours
    # Padding goes on with the row's last role: it costs what tokens cost, and no token sees it.
    roles = [(np.pad(row.sequence.roles, (0, width - len(row.sequence)), mode="edge"), row.compressed) for row in rows]
    spans = causal_spans(roles, [start + np.arange(width) for start in starts], layout)
    table, moved = torch.from_numpy(source), torch.from_numpy(place)
    return replace(
        packed,
        input_ids=packed.input_ids[table],
        position_ids=packed.position_ids[:, table],
        image_index=moved[packed.image_index],
        spans=spans,
        pool_index=moved[packed.pool_index],
        score_index=moved[packed.score_index],
    )


def padded_mask(rows: Sequence[Row], width: int) -> torch.Tensor:
    """Eq. 2 of CREM for padded rows, (B, 1, width, width), added to the scores; padding sees itself alone."""
    roles = np.stack([np.pad(row.sequence.roles, (0, width - len(row.sequence)), constant_values=-1) for row in rows])
    blind = np.array([row.compressed for row in rows])[:, None] & (roles >= Role.QUESTION)
    hidden = blind[:, :, None] & (roles == Role.CONTEXT)[:, None]
    seen = np.tril(np.ones((width, width), dtype=bool)) & ~hidden & (roles >= 0)[:, None] | np.eye(width, dtype=bool)
    return _additive(seen[:, None])


def packed_mask(rows: Sequence[Row], places: Sequence[np.ndarray]) -> torch.Tensor:
    """Eq. 2 of CREM between all tokens of a packed row, (1, 1, T, T), added to the scores."""
    length, shared = int(places[-1][-1]) + 1, shared_system(rows)
    owner, roles, blind = (np.zeros(length, dtype=kind) for kind in (np.int64, np.int8, bool))
    for number, (row, place) in enumerate(zip(rows, places, strict=True)):
        owner[place], roles[place] = number, row.sequence.roles
        blind[place] = row.compressed & (row.sequence.roles >= Role.QUESTION)
    same = (owner[:, None] == owner) | (np.arange(length) < shared)
    return _additive((np.tril(same) & ~(blind[:, None] & (roles == Role.CONTEXT)))[None, None])


def _additive(seen: np.ndarray) -> torch.Tensor:
    mask = torch.from_numpy(seen)
    return torch.zeros(mask.shape).masked_fill(~mask, float("-inf"))
