"""The held-out slice of train: what a run looks at every n steps, never the evaluation sets."""

import logging
import math
from collections.abc import Sequence
from dataclasses import replace

import torch

from pipeline.batch import NUM_LOSS_GROUPS, OUTSIDE, OWN, Batch
from pipeline.losses.contrastive import precision_at_1
from pipeline.phase import Phase
from pipeline.train.collectives import max_over_ranks, of_all_ranks, sum_over_ranks
from pipeline.train.dataloader.held_out_work import HeldOutWork
from pipeline.train.dataloader.unreadable import Unreadable, UnreadableError
from pipeline.train.engine import Engine
from pipeline.train.global_batch import candidates
from pipeline.train.step import language_sums

logger = logging.getLogger(__name__)


def is_due(done: int, phase: Phase) -> bool:
    """Whether the slice is looked at after so many steps: a checkpoint that may be the best must have its figures."""
    for_checkpoint = phase.keep_best != "none" and done % phase.checkpoint_every == 0
    return done % phase.evaluate_every == 0 or done == phase.steps or for_checkpoint


def num_due(phase: Phase) -> int:
    """The looks of a whole phase: `is_due` counted, whatever the number of steps."""
    steps, looks, saves = phase.steps, phase.evaluate_every, phase.checkpoint_every
    count = steps // looks
    if phase.keep_best != "none":
        count += steps // saves - steps // math.lcm(looks, saves)
    is_last_alone = steps % looks != 0 and (phase.keep_best == "none" or steps % saves != 0)
    return count + is_last_alone


class HeldOut:
    """Rows set aside from training: contrastive loss, P@1, and the language loss with and without compression.

    What the phase reads no rows for has no figure. `named` are the sides left out that were warned of.
    """

    def __init__(self, phase: Phase) -> None:
        self.phase = phase
        self.named: set[Unreadable] = set()

    @torch.no_grad()
    def evaluate(self, engine: Engine, work: HeldOutWork, dummy: Batch) -> dict[str, float]:
        """Figures by name, over all ranks' shares. Every rank must call it; one without a share repeats `dummy` meanwhile.

        Raises UnreadableError, on all ranks, where nothing of the slice can be read.
        """
        unreadable = of_all_ranks(work.unreadable)
        self._warn(unreadable, says=engine.rank == 0)
        engine.module.eval()
        embeddings, sums = self._passes(engine, work, dummy)
        engine.module.train()
        figures = self._language(sum_over_ranks(torch.cat([sums, work.units[None].to(engine.device)])))
        figures |= self._contrastive(sum_over_ranks(embeddings), sum_over_ranks(work.items.to(engine.device)), work)
        if unreadable and not figures:
            raise UnreadableError(unreadable[-1])
        return figures

    def _warn(self, unreadable: Sequence[Unreadable], *, says: bool) -> None:
        for side in unreadable if says else ():
            if side not in self.named:
                logger.warning("held-out slice: left out, %s: %s", side.shard, side.reason)
        self.named |= set(unreadable)

    def _passes(self, engine: Engine, work: HeldOutWork, dummy: Batch) -> tuple[torch.Tensor, torch.Tensor]:
        """Of this rank's share: embeddings (2 Q + H, D), and sums (2, NUM_LOSS_GROUPS) of the language loss, full and compressed.

        An embedding comes from the pass that answers with compression: what follows the pooled tokens is not seen by them. Of
        elastic tokens it is that of all.
        """
        embeddings = torch.zeros(len(work.items), engine.module.width, device=engine.device)
        sums = torch.zeros(2, NUM_LOSS_GROUPS, device=engine.device)
        num_dummies = (
            max_over_ranks(work.num_passes) - work.num_passes
        )  # before any pass: under ZeRO-3 each is full of collectives
        for chunk in work.chunks:
            # Once for both passes: the tower's features stand in for the pixels from here on.
            batch = engine.vision.seen_once(chunk.compressed.to(engine.device))
            outputs = engine(batch)
            embeddings[batch.slots] = outputs.embeddings[:, -1] if engine.module.elastic else outputs.embeddings
            sums[1] += language_sums(outputs, batch, self.phase)
            if chunk.full_spans is not None:
                sums[0] += language_sums(engine(replace(batch, spans=chunk.full_spans)), batch, self.phase)
        for _ in range(num_dummies):
            engine(replace(dummy, reference=None))  # as all passes of a look, which tell likelihoods whatever the loss is
        return embeddings, sums

    def _language(self, sums: torch.Tensor) -> dict[str, float]:
        """From sums (3, NUM_LOSS_GROUPS) over all ranks: of the loss without and with compression, and of its units."""
        full, compressed, units = sums.tolist()
        loss_groups = {"own": OWN, "outside": OUTSIDE}
        return {
            f"held_out/{loss_group}_language_{name}": losses[number] / units[number]
            for name, losses in (("full", full), ("compressed", compressed))
            for loss_group, number in loss_groups.items()
            if units[number]
        }

    def _contrastive(self, embeddings: torch.Tensor, items: torch.Tensor, work: HeldOutWork) -> dict[str, float]:
        """From embeddings (2 Q + H, D) and items (2 Q + H,) of the whole slice."""
        taken = candidates(items, work.owners, work.num_pairs)
        count, own = taken.num_queries, embeddings[taken.slots]
        if not count:
            return {}
        loss = float(self.phase.contrastive(own[:count], own[count:], taken.items, taken.owners))
        return {"held_out/contrastive": loss, "held_out/precision_at_1": precision_at_1(own[:count], own[count:])}
