"""One training step, the same for every recipe: gradient caching over the chunks of a global batch.

1. embed every chunk (without a graph, rows ended at their pooled tokens), 2. contrastive loss over the whole global batch and
its gradient for each embedding, 3. run the chunks again with their cached gradients and the language loss, 4. one optimizer
step. A chunk whose first pass kept its graph is not run again.
"""

from dataclasses import dataclass

import torch

from pipeline.batch import NUM_GROUPS, Batch, Outputs
from pipeline.losses.contrastive import precision_at_1
from pipeline.recipe import Phase, Recipe
from pipeline.train.engine import Engine
from pipeline.train.work import StepWork


@dataclass(frozen=True, slots=True)
class StepReport:
    """Losses and norms of a step, over the global batch."""

    contrastive: float
    own_language: float
    outside_language: float
    precision_at_1: float
    gradient_norm: float

    @property
    def finite(self) -> bool:
        """Whether every figure is a finite number."""
        figures = (self.contrastive, self.own_language, self.outside_language, self.gradient_norm)
        return bool(torch.isfinite(torch.tensor(figures)).all())


def train_step(engine: Engine, work: StepWork, recipe: Recipe, phase: Phase, learning_rate: float) -> StepReport:
    """Forward, backward and one optimizer step over a global batch."""
    units = engine.sum(work.units.to(engine.device)).clamp(min=1.0)
    first_kept = max(0, len(work.chunks) - phase.kept_chunks)
    kept, embeddings = first_pass(engine, work, first_kept)
    contrastive, gradient, hits = contrastive_gradient(embeddings, candidate_items(engine, work), recipe, phase)
    language = torch.zeros(NUM_GROUPS, device=engine.device)
    order = [*range(first_kept, len(work.chunks)), *range(first_kept)]
    num_idle = engine.most(len(order)) - len(order)
    for place, index in enumerate(order):
        full = work.chunks[index].full
        outputs = kept.pop(index) if index in kept else engine(full)
        sums = language_sums(outputs, full, recipe) / units
        loss = (outputs.embeddings * gradient[full.slots.to(engine.device)]).sum() + phase.language_weight * sums.sum()
        engine.backward(loss, last=place == len(order) - 1 and not num_idle)
        language += sums.detach()
    for place in range(num_idle):
        outputs = engine(work.idle)
        engine.backward(0.0 * (outputs.embeddings.sum() + outputs.token_losses.sum()), last=place == num_idle - 1)
    norm = engine.step(learning_rate)
    own, outside = engine.sum(language).tolist()
    return StepReport(contrastive, own, outside, hits, norm)


def first_pass(engine: Engine, work: StepWork, first_kept: int) -> tuple[dict[int, Outputs], torch.Tensor]:
    """Embeddings (2 Q, D) of the global batch, and the outputs of the chunks whose graph is kept."""
    kept: dict[int, Outputs] = {}
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    for index, chunk in enumerate(work.chunks):
        if index >= first_kept:
            kept[index] = outputs = engine(chunk.full)
            parts.append((chunk.full.slots, outputs.embeddings.detach()))
        elif chunk.prefix is not None:
            with torch.no_grad():
                parts.append((chunk.prefix.slots, engine(chunk.prefix).embeddings))
    for _ in range(engine.most(len(parts)) - len(parts)):
        with torch.no_grad():
            engine(work.idle)
    embeddings = torch.zeros(len(work.items), engine.module.width, device=engine.device)
    for slots, values in parts:
        embeddings[slots.to(engine.device)] = values
    return kept, engine.sum(embeddings)


def candidate_items(engine: Engine, work: StepWork) -> torch.Tensor:
    """What each candidate of the global batch is, (Q,) int64: each rank knows its own rows."""
    return engine.sum(work.items.to(engine.device, copy=True))[work.num_pairs :]


def contrastive_gradient(
    embeddings: torch.Tensor, items: torch.Tensor, recipe: Recipe, phase: Phase
) -> tuple[float, torch.Tensor, float]:
    """Contrastive loss, its weighted gradient for each embedding (2 Q, D), and the batch's P@1.

    Every rank holds all embeddings, so each computes the whole loss and takes the gradient of its own rows: no gradient
    crosses ranks, and no other factor than the engine's is needed.
    """
    leaf = embeddings.detach().requires_grad_()
    queries, candidates = leaf[: -len(items)], leaf[-len(items) :]
    loss = recipe.contrastive(queries, candidates, items)
    (gradient,) = torch.autograd.grad(loss, leaf)
    hits = precision_at_1(queries.detach(), candidates.detach())
    return float(loss.detach()), phase.contrastive_weight * gradient, hits


def language_sums(outputs: Outputs, batch: Batch, recipe: Recipe) -> torch.Tensor:
    """Sums (2,) of the language loss of a chunk by group."""
    device = outputs.token_losses.device
    return recipe.language.sums(outputs.token_losses, batch.score_row_tokens.to(device), batch.score_group.to(device), NUM_GROUPS)
