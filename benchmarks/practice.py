"""The joint step as it is commonly written: gradient caching with each habit that costs time as a switch.

The habits are those of the public trainers of multimodal embedders (a collator pads a batch to its longest row, and chunks
are cut from it by rows; the whole model is called, so that logits of every position exist; queries and targets apart;
pictures through the stock processor), and of joint objectives that take the two losses from two forwards. With every switch
off it does what the pipeline's own step does. Nothing here is used by the pipeline.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace

import numpy as np
import torch
from torch.nn.functional import cross_entropy

from benchmarks.practice_batches import MicroBatch, Part, StockRows, packed_mask, padded, padded_mask
from pipeline.batch import NUM_LOSS_GROUPS, OUTSIDE, Batch, Outputs, Row, chunk_by_tokens, pack, row_places, truncate
from pipeline.model.attention import TEXT_ATTENTION, VISION_ATTENTION, SpanPlan
from pipeline.model.backbone import Inputs
from pipeline.model.embedder import Embedder
from pipeline.train.dataloader.plan import Plan
from pipeline.train.dataloader.step_dataset import RowBuilder, StepDataset
from pipeline.train.global_batch import candidates
from pipeline.train.step import contrastive_gradient, language_sums

ROWS_A_CHUNK = 4
"""Rows of a chunk where rows are padded (the public runs measured in a comparison of rivals used 4)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Habits:
    """Each true field is a waste.

    `padded`: rows in the order they come, padded to the longest of their side's batch, in chunks of equally many rows.
    `dense_mask`: attention with a mask of tokens by tokens, and stock attention. `tower_twice`: every forward makes its
    visual features anew. `tower_loop`: the tower attends picture by picture (transformers' own way). `two_forwards`: one with
    a graph for the contrastive loss and another for the language loss. `all_logits`: every forward makes the logits of every
    position and keeps them. `stock_pictures`: the stock processor in the collator, which yields normalised float patches.
    """

    padded: bool = False
    dense_mask: bool = False
    tower_twice: bool = False
    tower_loop: bool = False
    two_forwards: bool = False
    all_logits: bool = False
    stock_pictures: bool = False

    @classmethod
    def names(cls) -> tuple[str, ...]:
        """All switches."""
        return tuple(field.name for field in fields(cls))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Load:
    """What the collator hands to a step: chunks of the first pass, and of the passes with a graph."""

    plan: Plan
    items: torch.Tensor
    units: torch.Tensor
    first: Sequence[MicroBatch]
    graph: Sequence[MicroBatch]


@dataclass(frozen=True, slots=True, kw_only=True)
class Losses:
    """Of a global batch; `language` are the means of both groups."""

    contrastive: float
    language: tuple[float, ...]


class Practice:
    """A step over a global batch: `collate`, then call. Gradients stay in `.grad` until the next step."""

    def __init__(self, embedder: Embedder, dataset: StepDataset, habits: Habits) -> None:
        self.embedder, self.dataset, self.habits = embedder, dataset, habits
        self.recipe, self.phase = dataset.recipe, dataset.phase
        builder = StockRows if habits.stock_pictures else RowBuilder
        self.rows = builder(dataset.recipe, dataset.rows.builder.vocabulary)
        self.device, self.dtype = (
            embedder.backbone.text.embed_tokens.weight.device,
            embedder.backbone.text.embed_tokens.weight.dtype,
        )
        self.trained = [parameter for parameter in embedder.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.AdamW(self.trained, lr=0.0, weight_decay=0.0)
        self.shrunk = 1.0
        """What clipping multiplied the last gradient by."""
        self._features: dict[int, torch.Tensor] = {}

    def collate(self, step: int) -> Load:
        """Read, decode, tokenise and batch the rows of a step."""
        self.dataset.rows = self.rows
        draw = self.dataset.draw(step)
        plan, rows = self.dataset.plan(draw, step), self.dataset.global_rows(draw, step)
        used = [row for row in rows if row.slot >= 0 or row.num_scored]
        items, units = torch.zeros(plan.num_slots, dtype=torch.int64), torch.zeros(NUM_LOSS_GROUPS)
        for row in used:
            units[row.loss_group] += self.phase.language.units(row.num_scored)
            if row.slot >= 0:
                items[row.slot] = row.item
        first, graph = self._passes(used, plan)
        made = [[self._micro_batch(part, width) for part, width in parts] for parts in (first, graph)]
        return Load(plan=plan, items=items, units=units, first=made[0], graph=made[1])

    def __call__(self, load: Load) -> Losses:
        """One step at learning rate 0."""
        self._choose_attention()
        self._features.clear()
        self.optimizer.zero_grad()
        embeddings = torch.zeros(len(load.items), self.embedder.width, device=self.device)
        with torch.no_grad():
            for chunk in load.first:
                embeddings[chunk.batch.slots.to(self.device)] = self._forward(chunk).embeddings
        owners = torch.tensor(load.plan.owners, dtype=torch.int64, device=self.device)
        taken = candidates(load.items.to(self.device), owners, load.plan.num_pairs)
        contrast = contrastive_gradient(embeddings, taken, self.phase, load.plan.contrastive_weight)
        divisors = self.phase.language.divisors(load.units.to(self.device), self.phase.mixture.pairs)
        language = torch.zeros(NUM_LOSS_GROUPS, device=self.device)
        for chunk in load.graph:
            outputs = self._forward(chunk)
            sums = language_sums(outputs, chunk.batch, self.phase) / divisors
            cached = contrast.gradient[chunk.batch.slots.to(self.device)]
            loss = (outputs.embeddings * cached).sum() + load.plan.language_weight * sums.sum()
            loss.backward()  # type: ignore[no-untyped-call]
            language += sums.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.trained, self.phase.optimizer.clip)
        self.shrunk = min(1.0, self.phase.optimizer.clip / float(norm))
        self.optimizer.step()
        assert contrast.loss is not None, "the recipe has pairs"
        return Losses(contrastive=contrast.loss, language=tuple(language.tolist()))

    @torch.no_grad()
    def embed(self, rows: list[Row], width: int) -> torch.Tensor:
        """Embeddings (N, D) of rows, padded to `width` tokens (0: packed), by the habits of the forward pass."""
        self._choose_attention()
        self._features.clear()
        return self._forward(self._micro_batch(rows, width)).embeddings

    def _passes(self, used: Sequence[Row], plan: Plan) -> tuple[list[Part], list[Part]]:
        """Rows of each chunk, with the length that they are padded to (0: packed), in the first pass and with a graph."""
        last = self.recipe.pooling.positions.role
        if self.habits.two_forwards or self.habits.padded:
            first = self._parts(truncate(used, last), plan)
        else:
            first = [(short, 0) for part, _ in self._parts(used, plan) if (short := truncate(part, last))]
        if self.habits.two_forwards:
            asked = [replace(row, slot=-1) for row in used if row.num_scored]
            return first, [*first, *self._parts(asked, plan)]
        return first, self._parts(used, plan)

    def _parts(self, rows: Sequence[Row], plan: Plan) -> list[Part]:
        if not self.habits.padded:
            return [(part, 0) for part in chunk_by_tokens(rows, self.phase.budget.tokens)]
        sides = {id(row): (row.slot >= plan.num_pairs) + 2 * (row.loss_group == OUTSIDE) for row in rows}
        parts: list[Part] = []
        for side in sorted(set(sides.values())):
            batch = [row for row in rows if sides[id(row)] == side]
            width = max(len(row.sequence) for row in batch)
            parts += [(batch[first : first + ROWS_A_CHUNK], width) for first in range(0, len(batch), ROWS_A_CHUNK)]
        return parts

    def _micro_batch(self, rows: list[Row], width: int) -> MicroBatch:
        packed = pack(rows, self.phase.layout, self.recipe.pooling.positions)
        places = row_places(rows)
        batch = padded(rows, packed, width, self.phase.layout) if width else packed
        mask = None
        if self.habits.dense_mask:
            mask = padded_mask(rows, width) if width else packed_mask(rows, places)
        return MicroBatch(rows=rows, batch=batch, num_padded=len(rows) if width else 0, mask=mask)

    def _choose_attention(self) -> None:
        habits, backbone = self.habits, self.embedder.backbone
        backbone.text.config._attn_implementation = "sdpa" if habits.dense_mask else TEXT_ATTENTION
        backbone.tower.config._attn_implementation = "sdpa" if habits.tower_loop else VISION_ATTENTION

    def _forward(self, chunk: MicroBatch) -> Outputs:
        embedder, batch = self.embedder, chunk.batch.to(self.device)
        rows = embedder.backbone.embed_tokens(embedder.bank.table_ids(batch.input_ids))
        embeddings = embedder.bank(batch.input_ids, rows)
        if len(batch.image_index):
            embeddings = embeddings.index_put((batch.image_index,), self._visual(chunk.rows))
        states = self._states(embeddings, batch, chunk)
        return Outputs(embedder.pool(states, batch), self._token_losses(states, batch))

    def _states(self, embeddings: torch.Tensor, batch: Batch, chunk: MicroBatch) -> torch.Tensor:
        """Final states (T, D) of a packed row or, one after another, of padded rows."""
        backbone, count = self.embedder.backbone, chunk.num_padded or 1
        if chunk.mask is None:
            return backbone.hidden(Inputs(embeddings), batch.position_ids, SpanPlan.of(batch.spans))
        output = backbone.text(
            inputs_embeds=embeddings.view(count, -1, self.embedder.width),
            position_ids=batch.position_ids.view(3, count, -1),
            attention_mask={"full_attention": chunk.mask.to(self.device, self.dtype)},
            use_cache=False,
        )
        states: torch.Tensor = output.last_hidden_state.flatten(0, 1)
        return states

    def _token_losses(self, states: torch.Tensor, batch: Batch) -> torch.Tensor:
        if not self.habits.all_logits:
            return self.embedder.backbone.token_losses(states[batch.score_index], batch.score_target)
        logits = self.embedder.backbone.logits(states)
        if not len(batch.score_index):
            return states.new_zeros(0)
        labels = torch.full((len(states),), -100, device=self.device).index_put((batch.score_index,), batch.score_target)
        return cross_entropy(logits.float(), labels, reduction="none")[batch.score_index]

    @torch.no_grad()
    def _visual(self, rows: Sequence[Row]) -> torch.Tensor:
        """Visual tokens of rows, one row after another; the tower is frozen."""
        seen = [row for row in rows if row.pixels]
        needed = [row for row in seen if self.habits.tower_twice or id(row.pixels) not in self._features]
        if needed:
            patches = torch.cat([self._patches(picture) for row in needed for picture in row.pixels])
            grids = [torch.from_numpy(row.sequence.grid_thw) for row in needed]
            features = self.embedder.backbone.features(patches.to(self.device, self.dtype), torch.cat(grids).to(self.device))
            sizes = [int(grid.prod(dim=1).sum()) // self.embedder.cutter.merge**2 for grid in grids]
            self._features.update(zip((id(row.pixels) for row in needed), torch.split(features, sizes), strict=True))
        return torch.cat([self._features[id(row.pixels)] for row in seen])

    def _patches(self, picture: np.ndarray) -> torch.Tensor:
        if isinstance(self.rows, StockRows):
            return self.rows.patches(picture)
        return self.embedder.cutter(torch.from_numpy(picture)[None].to(self.device))
