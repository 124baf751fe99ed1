"""What one rank does in a step: packed chunks, and the little it must know of the global batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline.batch import NUM_LOSS_GROUPS, Batch, Row, chunk_by_tokens, pack, stacks, truncate
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.train.dataloader.plan import Plan
from pipeline.train.dataloader.unreadable import Unreadable


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """`full` rows for the second pass; `prefix` (the embedded rows, ended at their pooled tokens), if any, for the first.

    The prefix travels without pixels: they are among those of the whole rows. `prefix_pictures` (I',) and `prefix_features` (V',)
    int64 are the numbers of its pictures and of its visual tokens among those of the whole rows.
    """

    full: Batch
    prefix: Batch | None
    prefix_pictures: torch.Tensor
    prefix_features: torch.Tensor

    def prefix_with_pixels(self) -> Batch:
        """The prefix with its pixels, copied from those of the whole rows."""
        assert self.prefix is not None
        pictures = [picture for stack in self.full.pixels for picture in stack.numpy()]
        return replace(self.prefix, pixels=stacks([pictures[number] for number in self.prefix_pictures.tolist()]))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepWork:
    """What one rank does in a step.

    `num_pairs` Q describes the global batch (0: no contrastive loss), `items` (2 Q + H,) int64 what its slots represent (queries,
    positives, hard negatives; 0 where another rank has the row), `owners` (H,) int64 the number of the pair that each hard
    negative is of; `asks` says whether the plan has questions, `units` (2,) are this rank's share of the language loss's
    divisors; `dummy` is a small chunk, without pictures if there is one, that a rank repeats, times zero, while others still have
    work. The weights are the step's. Of `num_unanswered` rows that were to be asked something nothing is there to learn: no
    synthesized answer, or a paired side without words. `unreadable` are the sides of this rank's share that are left out: their
    slots have the item 0 on every rank.
    """

    chunks: Sequence[Chunk]
    dummy: Batch
    num_pairs: int
    items: torch.Tensor
    owners: torch.Tensor
    asks: bool
    units: torch.Tensor
    contrastive_weight: float
    language_weight: float
    num_tokens: int
    num_cut: int
    num_unanswered: int = 0
    unreadable: tuple[Unreadable, ...] = ()


def pack_work(rows: Sequence[Row], plan: Plan, recipe: Recipe) -> StepWork:
    """Cut rows into chunks by the token budget and pack them for both passes. Rows that neither loss looks at are left out."""
    used, phase = used_rows(rows), recipe.phase
    items, units = items_and_units(used, plan, phase)
    return StepWork(
        chunks=[pack_chunk(part, recipe) for part in chunk_by_tokens(used, phase.budget.tokens)],
        dummy=pack_for(recipe, [min(rows, key=lambda row: (len(row.pixels), len(row.sequence)))]),
        num_pairs=plan.num_pairs,
        items=items,
        owners=torch.tensor(plan.owners, dtype=torch.int64),
        asks=any(planned.asks for planned in plan.sides),
        units=units,
        contrastive_weight=plan.contrastive_weight,
        language_weight=plan.language_weight,
        num_tokens=sum(len(row.sequence) for row in used),
        num_cut=sum(row.sequence.cut for row in rows),
        num_unanswered=sum(row.asked and not row.num_scored and not row.sequence.cut for row in rows),
    )


def used_rows(rows: Sequence[Row]) -> list[Row]:
    """The rows that a loss looks at."""
    return [row for row in rows if row.slot >= 0 or row.num_scored]


def items_and_units(used: Sequence[Row], plan: Plan, phase: Phase) -> tuple[torch.Tensor, torch.Tensor]:
    """What a rank's rows say of the global batch: `items` and `units` of its work."""
    units, items = torch.zeros(NUM_LOSS_GROUPS), torch.zeros(plan.num_slots, dtype=torch.int64)
    for row in used:
        units[row.loss_group] += phase.language.units(row.num_scored)
        if row.slot >= 0:
            items[row.slot] = row.item
    return items, units


def pack_for(recipe: Recipe, rows: Sequence[Row]) -> Batch:
    """Rows packed for a training pass of a recipe's last phase.

    All batches of a phase have a reference or none has, be it read or not: under ZeRO-3 ranks must make equally many calls.
    """
    phase = recipe.phase
    return pack(rows, phase.layout, recipe.pooling.positions, has_reference=phase.language.has_reference)


def pack_chunk(rows: Sequence[Row], recipe: Recipe) -> Chunk:
    """Rows packed for both passes."""
    embedded = [replace(row, pixels=()) for row in truncate(rows, recipe.pooling.positions.role)]
    return Chunk(
        full=pack_for(recipe, rows),
        prefix=pack_for(recipe, embedded) if embedded else None,
        prefix_pictures=_embedded(rows, lambda row: len(row.pixels)),
        prefix_features=_embedded(rows, lambda row: len(row.sequence.image_tokens())),
    )


def _embedded(rows: Sequence[Row], count: Callable[[Row], int]) -> torch.Tensor:
    """Positions of what the embedded rows have (a row has `count` of it) among that of all rows."""
    embedded = [np.full(count(row), row.slot >= 0) for row in rows]
    return torch.from_numpy(np.flatnonzero(np.concatenate(embedded)))
