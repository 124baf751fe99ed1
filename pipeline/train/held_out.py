"""The held-out slice of train: what a run looks at every n steps, never the evaluation sets."""

from dataclasses import replace

import torch

from pipeline.batch import NUM_GROUPS, OUTSIDE, OWN
from pipeline.losses.contrastive import precision_at_1
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork, pack_work
from pipeline.train.engine import Engine
from pipeline.train.step import language_sums, readable_slots


class HeldOut:
    """Rows set aside from training, read once: contrastive loss, P@1, and the language loss with and without compression.

    What the phase reads no rows for has no figure.
    """

    def __init__(self, dataset: StepDataset) -> None:
        self.dataset = dataset
        self._works: dict[bool, StepWork] | None = None

    def evaluate(self, engine: Engine) -> dict[str, float]:
        """Figures by name. Every rank evaluates the whole slice: it is small, and all ranks make the same calls."""
        if not self.dataset.held_out.pairs and not self.dataset.held_out.outside:
            return {}
        works = self._works = self._works or {compressed: self._work(compressed) for compressed in (False, True)}
        engine.module.eval()
        figures = self._language(engine, works[False], "full") | self._language(engine, works[True], "compressed")
        figures |= self._contrastive(engine, works[True])
        engine.module.train()
        return figures

    def _work(self, compressed: bool) -> StepWork:
        rows, plan = self.dataset.held_out_batch()
        rows = [replace(row, compressed=compressed and row.has_compression) for row in rows]
        return pack_work(rows, plan, self.dataset.recipe, self.dataset.phase)

    @torch.no_grad()
    def _language(self, engine: Engine, work: StepWork, name: str) -> dict[str, float]:
        sums = torch.zeros(NUM_GROUPS, device=engine.device)
        for chunk in work.chunks:
            sums += language_sums(engine(chunk.full), chunk.full, self.dataset.phase)
        groups = {"own": OWN, "outside": OUTSIDE}
        return {
            f"held_out/{group}_language_{name}": float(sums[number]) / float(work.units[number])
            for group, number in groups.items()
            if work.units[number]
        }

    @torch.no_grad()
    def _contrastive(self, engine: Engine, work: StepWork) -> dict[str, float]:
        if not work.num_pairs:
            return {}
        embeddings = torch.zeros(len(work.items), engine.module.width, device=engine.device)
        for chunk in work.chunks:
            if chunk.prefix is not None:
                embeddings[chunk.prefix.slots.to(engine.device)] = engine(chunk.prefix_with_pixels()).embeddings
        items = work.items.to(engine.device)
        slots = readable_slots(items, work.num_pairs)
        num_pairs = int((slots < work.num_pairs).sum())
        if not num_pairs:
            return {}
        queries, candidates, items = embeddings[slots[:num_pairs]], embeddings[slots[num_pairs:]], items[slots[num_pairs:]]
        loss = float(self.dataset.phase.contrastive(queries, candidates, items))
        return {"held_out/contrastive": loss, "held_out/precision_at_1": precision_at_1(queries, candidates)}
