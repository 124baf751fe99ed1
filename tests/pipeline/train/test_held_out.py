"""Figures of the held-out slice against one plain pass over its rows: no chunks, no engine, no dropout."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.batch import OUTSIDE, OWN, pack
from pipeline.model.adapters import LoRA
from pipeline.recipe import Recipe
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.held_out import HeldOut
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train import ranks
from tests.pipeline.train.ranks import make


def plain_figures(folder: Path, recipe: Recipe, dataset: StepDataset) -> dict[str, float]:
    """Means by group with every coin tossed by hand, and the contrastive loss and hits term by term."""
    embedder = build_disturbed(folder, recipe, dtype=torch.float32)[0].eval()
    rows, plan = dataset.held_out_batch()
    found: dict[str, float] = {}
    for name, compressed in (("full", False), ("compressed", True)):
        tossed = [replace(row, compressed=compressed and row.has_compression) for row in rows]
        with torch.no_grad():
            outputs = embedder(pack(tossed, recipe.phase.layout, recipe.pooling.positions))
        losses = torch.split(outputs.token_losses, [row.num_scored for row in rows])
        for group, number in (("own", OWN), ("outside", OUTSIDE)):
            means = [float(part.mean()) for row, part in zip(rows, losses, strict=True) if row.group == number and len(part)]
            found[f"held_out/{group}_language_{name}"] = sum(means) / len(means)
    queries, candidates = outputs.embeddings[: plan.num_pairs], outputs.embeddings[plan.num_pairs :]
    scores = queries @ candidates.T
    likelihoods = (scores / recipe.phase.contrastive.temperature).log_softmax(dim=1).diagonal()
    hits = [int(row.argmax()) == place for place, row in enumerate(scores)]
    return found | {"held_out/contrastive": -float(likelihoods.mean()), "held_out/precision_at_1": sum(hits) / len(hits)}


@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_figures_are_those_of_one_plain_pass(model_folder: Path, monkeypatch: pytest.MonkeyPatch, tower: str) -> None:
    monkeypatch.setattr(ranks, "build_embedder", build_disturbed)
    recipe = small_recipe(chunk_tokens=200).with_phase(adapter=LoRA(rank=2, dropout=0.5), tower=tower)
    engine, dataset = make(model_folder, recipe)
    found = HeldOut(dataset).evaluate(engine)
    assert found == pytest.approx(plain_figures(model_folder, recipe, dataset), rel=1e-5)
    for group in ("own", "outside"):
        assert found[f"held_out/{group}_language_full"] != pytest.approx(found[f"held_out/{group}_language_compressed"], rel=1e-3)
    assert engine.module.training and len(dataset.held_out_batch()[0]) > 4
