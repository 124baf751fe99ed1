"""What one rank looks at of the held-out slice, on its way from the loader like a step's work.

Nothing of it is kept from look to look, though the rows are the same: a picture of 1,280 visual tokens is 3 MB of pixels, 1.5 GB
for the two times 256 of the default, for the whole run; to read and decode them again is a third of a step's work for the
loaders, once in a hundred steps, while the GPUs train.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch

from pipeline.batch import Batch, Row, chunk_by_tokens, pack, uncompressed_spans
from pipeline.recipe import Recipe
from pipeline.spans import Spans
from pipeline.train.dataloader.plan import Plan
from pipeline.train.dataloader.step_work import items_and_units, used_rows
from pipeline.train.dataloader.unreadable import Unreadable

HELD_OUT = -1
"""The number of the held-out slice, where steps count from 0."""


@dataclass(frozen=True, slots=True, eq=False)
class HeldOutChunk:
    """Rows that answer from their compression tokens, all coins of Eq. 4 turned to it. `full_spans` are what the same tokens
    see without compression; None where none of them is scored: an embedding does not depend on it.
    """

    compressed: Batch
    full_spans: Spans | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class HeldOutWork:
    """This rank's share of the slice, which may be empty. `num_pairs`, `items`, `owners`, `units` and `unreadable` are as in
    StepWork.
    """

    chunks: Sequence[HeldOutChunk]
    num_pairs: int
    items: torch.Tensor
    owners: torch.Tensor
    units: torch.Tensor
    unreadable: tuple[Unreadable, ...]

    @property
    def num_passes(self) -> int:
        """Forward passes that a look at this share takes."""
        return sum(1 + (chunk.full_spans is not None) for chunk in self.chunks)


def pack_held_out(rows: Sequence[Row], plan: Plan, recipe: Recipe, unreadable: tuple[Unreadable, ...]) -> HeldOutWork:
    """Cut rows into chunks as a step's are."""
    used, phase = used_rows(rows), recipe.phase
    items, units = items_and_units(used, plan, phase)
    return HeldOutWork(
        chunks=[pack_held_out_chunk(part, recipe) for part in chunk_by_tokens(used, phase.budget.tokens)],
        num_pairs=plan.num_pairs,
        items=items,
        owners=torch.tensor(plan.owners, dtype=torch.int64),
        units=units,
        unreadable=unreadable,
    )


def pack_held_out_chunk(rows: Sequence[Row], recipe: Recipe) -> HeldOutChunk:
    """Rows packed for both passes."""
    pooled, is_scored = recipe.pooling.positions, any(row.num_scored for row in rows)
    return HeldOutChunk(
        compressed=pack([replace(row, compressed=row.has_compression) for row in rows], recipe.phase.layout, pooled),
        full_spans=uncompressed_spans(rows, recipe.phase.layout) if is_scored else None,
    )
