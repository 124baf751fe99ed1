"""One training step, the same for every recipe: gradient caching over the chunks of a global batch.

1. embed every chunk (without a graph, rows ended at their pooled tokens), 2. contrastive loss over the whole global batch and
its gradient for each embedding, 3. run the chunks again with their cached gradients and the language loss, 4. one optimizer
step. A chunk whose first pass kept its graph is not run again.
"""

import math
from dataclasses import astuple, dataclass, replace

import torch

from pipeline.batch import NUM_LOSS_GROUPS, Batch, Outputs
from pipeline.errors import DataError
from pipeline.losses.contrastive import precision_at_1
from pipeline.phase import Phase
from pipeline.train.collectives import max_over_ranks, sum_over_ranks
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.global_batch import Candidates, candidates


@dataclass(frozen=True, slots=True)
class StepReport:
    """Losses and norms of a step, over the global batch; None where the step has nothing of the kind. `pairs` are those that the
    contrastive loss took: without what could not be read.
    """

    contrastive: float | None
    own_language: float | None
    outside_language: float | None
    precision_at_1: float | None
    gradient_norm: float
    pairs: int

    @property
    def finite(self) -> bool:
        """Whether every figure is a finite number."""
        return all(math.isfinite(figure) for figure in astuple(self) if figure is not None)


def train_step(engine: Engine, work: StepWork, phase: Phase, learning_rate: float) -> StepReport:
    """Forward, backward and one optimizer step over a global batch. Raises DataError for a loss with a weight and no value."""
    units = sum_over_ranks(work.units.to(engine.device))
    refuse_unanswered(work, units)
    divisors = phase.language.divisors(units, phase.mixture.pairs)
    first_kept = max(0, len(work.chunks) - phase.budget.kept)
    kept, embeddings = first_pass(engine, work, first_kept)
    contrast = contrast_of(embeddings, items_of_all(engine, work), work, phase)
    language = torch.zeros(NUM_LOSS_GROUPS, device=engine.device)
    order = [*range(first_kept, len(work.chunks)), *range(first_kept)]
    num_dummies = max(1, max_over_ranks(len(order))) - len(order)
    for turn, index in enumerate(order):
        chunk, full = work.chunks[index], work.chunks[index].full
        outputs = kept.pop(index) if index in kept else engine(engine.vision.full(chunk))
        sums = language_sums(outputs, full, phase) / divisors
        cached = contrast.gradient[full.slots.to(engine.device)]
        loss = (outputs.embeddings * cached).sum() + work.language_weight * sums.sum()
        engine.backward(loss, last=turn == len(order) - 1 and not num_dummies)
        engine.vision.forget(chunk)
        language += sums.detach()
    for turn in range(num_dummies):
        engine.run_dummy(work.dummy, last=turn == num_dummies - 1)
    norm = engine.step(learning_rate)
    means = (sum_over_ranks(language) * (divisors / units)).tolist()
    own, outside = (mean if count else None for mean, count in zip(means, units.tolist(), strict=True))
    return StepReport(contrast.loss, own, outside, contrast.precision_at_1, norm, contrast.pairs)


def refuse_unanswered(work: StepWork, units: torch.Tensor) -> None:
    """A step that asks, with a weight, and has no answer to score would train less than the recipe says, in silence."""
    if work.language_weight and work.asks and not units.any():
        raise DataError(
            f"language_weight: {work.language_weight:g} at this step, whose questions have no answer to score; "
            "give synthesized questions, raise max_length, or set the weight to 0"
        )


def first_pass(engine: Engine, work: StepWork, first_kept: int) -> tuple[dict[int, Outputs], torch.Tensor]:
    """Embeddings (2 Q + H, D) or (2 Q + H, k, D) of the global batch, and the outputs of the chunks whose graph is kept."""
    kept: dict[int, Outputs] = {}
    parts: list[tuple[torch.Tensor, torch.Tensor]] = []
    calls = sum(index >= first_kept or chunk.prefix is not None for index, chunk in enumerate(work.chunks))
    num_dummies = max_over_ranks(calls) - calls  # before any call: under ZeRO-3 each is full of collectives of its own
    for index, chunk in enumerate(work.chunks):
        if index >= first_kept:
            kept[index] = outputs = engine(engine.vision.full(chunk))
            parts.append((chunk.full.slots, outputs.embeddings.detach()))
        elif chunk.prefix is not None:
            with torch.no_grad():
                parts.append((chunk.prefix.slots, engine(engine.vision.prefix(chunk)).embeddings))
    for _ in range(num_dummies):
        with torch.no_grad():
            engine(work.dummy)
    embeddings = torch.zeros(len(work.items), *engine.module.embedding_shape, device=engine.device)
    for slots, values in parts:
        embeddings[slots.to(engine.device)] = values
    return kept, sum_over_ranks(embeddings)


def items_of_all(engine: Engine, work: StepWork) -> torch.Tensor:
    """What each slot of the global batch is, (2 Q + H,) int64, 0 where its row could not be read: each rank knows its own."""
    return sum_over_ranks(work.items.to(engine.device))


def contrast_of(embeddings: torch.Tensor, items: torch.Tensor, work: StepWork, phase: Phase) -> "Contrast":
    """The contrastive loss over what could be read of a global batch; all other embeddings have no gradient."""
    taken = candidates(items, work.owners, work.num_pairs)
    found = contrastive_gradient(embeddings[taken.slots], taken, phase, work.contrastive_weight)
    return replace(found, gradient=torch.zeros_like(embeddings).index_put((taken.slots,), found.gradient))


@dataclass(frozen=True, slots=True)
class Contrast:
    """Contrastive loss and P@1 of a global batch (None without pairs), each embedding's weighted gradient (2 Q + H, D), and Q."""

    loss: float | None
    precision_at_1: float | None
    gradient: torch.Tensor
    pairs: int


def contrastive_gradient(embeddings: torch.Tensor, taken: Candidates, phase: Phase, weight: float) -> Contrast:
    """The contrastive loss over embeddings (2 Q + H, D) of what is taken.

    Of embeddings (2 Q + H, k, D) at k numbers of tokens it is the mean over these, each among its equals; P@1 is the last one's.

    Every rank holds all embeddings, so each computes the whole loss and takes the gradient of its own rows: no gradient
    crosses ranks, and no other factor than the engine's is needed.
    """
    count = taken.num_queries
    if not count:
        return Contrast(None, None, embeddings, 0)
    leaf = embeddings.detach().requires_grad_()
    at_counts = leaf.unbind(dim=1) if leaf.ndim == 3 else (leaf,)
    losses = [phase.contrastive(each[:count], each[count:], taken.items, taken.owners) for each in at_counts]
    loss = torch.stack(losses).mean()
    (gradient,) = torch.autograd.grad(loss, leaf)
    last = at_counts[-1].detach()
    return Contrast(float(loss.detach()), precision_at_1(last[:count], last[count:]), weight * gradient, count)


def language_sums(outputs: Outputs, batch: Batch, phase: Phase) -> torch.Tensor:
    """Sums (2,) of the language loss of a chunk by group."""
    device = outputs.token_losses.device
    return phase.language.sums(
        outputs.token_losses, batch.score_row_tokens.to(device), batch.score_loss_group.to(device), NUM_LOSS_GROUPS
    )
