"""What is computed again is computed alike: layers under gradient checkpointing, and dropout in the replay."""

from pathlib import Path

import pytest
import torch

from pipeline.model.adapters import LoRA
from pipeline.model.dropout import TokenDropout
from pipeline.recipe import Recipe
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train import ranks, test_step
from tests.pipeline.train.ranks import make, trial
from tests.pipeline.train.test_step import plain_gradients, worst


@pytest.fixture(autouse=True)
def disturbed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Adapters that add something from the first step on, in training mode everywhere."""

    for module in (ranks, test_step):
        monkeypatch.setattr(module, "build_embedder", build_disturbed)


def adapted(dropout: float, **phase: object) -> Recipe:
    return small_recipe(**phase).with_phase(adapter=LoRA(rank=2, dropout=dropout), tower="frozen")


WAYS = {
    "one chunk": {"chunk_tokens": 10**6},
    "chunks": {"chunk_tokens": 300},
    "kept and checkpointed": {"chunk_tokens": 300, "kept_chunks": 2, "gradient_checkpointing": True},
}


def test_both_passes_draw_the_masks_of_the_full_batch(model_folder: Path) -> None:
    """The reference: one graph over all rows, the same masks, nothing cached."""
    expected = plain_gradients(model_folder, adapted(0.3))
    reports = []
    for way in WAYS.values():
        found = trial(model_folder, adapted(0.3, **way))
        assert worst(found["gradients"], expected) < 1e-5
        reports.append(found["report"])
    assert all(report == pytest.approx(reports[0], rel=1e-5) for report in reports)
    without = plain_gradients(model_folder, adapted(0.0))
    assert worst(without, expected) > 0.1, "dropout hardly does anything here, so the test proves nothing"


def test_masks_change_from_step_to_step_and_rows_share_those_of_their_system_tokens(model_folder: Path) -> None:
    _, dataset = make(model_folder, adapted(0.3, chunk_tokens=10**6))
    one, other = (dataset.work(dataset.draw(0), step).chunks[0].full.token_noise for step in (0, 1))
    assert len(one.unique()) == len(one) and not set(one.tolist()) & set(other.tolist())
    full, chunks = one, dataset.work(dataset.draw(0), 0).chunks
    assert chunks[0].prefix is not None and set(chunks[0].prefix.token_noise.tolist()) <= set(full.tolist())


@pytest.mark.parametrize("tower", ["trained", "frozen"])
def test_checkpointed_layers_give_the_same_losses_and_gradients(model_folder: Path, tower: str) -> None:
    recipes = [small_recipe(chunk_tokens=300, gradient_checkpointing=on).with_phase(tower=tower) for on in (False, True)]
    plain, found = (trial(model_folder, recipe) for recipe in recipes)
    assert set(found["gradients"]) == set(plain["gradients"])
    assert worst(found["gradients"], plain["gradients"]) < 1e-6
    assert found["report"] == pytest.approx(plain["report"], rel=1e-6)


def test_a_checkpointed_layer_keeps_its_input_alone(model_folder: Path) -> None:
    """Bytes saved for the backward pass of one chunk, by torch's own hooks."""
    saved = {}
    for on in (False, True):
        engine, dataset = make(model_folder, small_recipe(chunk_tokens=10**6, gradient_checkpointing=on))
        total = 0

        def pack(tensor: torch.Tensor) -> torch.Tensor:
            nonlocal total
            total += tensor.numel() * tensor.element_size()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
            engine(engine.vision.full(dataset.work(dataset.draw(0), 0).chunks[0]))
        saved[on] = total
    assert saved[True] < 0.5 * saved[False]


def test_dropout_is_on_in_training_and_off_for_held_out_rows(model_folder: Path) -> None:
    found = [trial(model_folder, adapted(dropout)) for dropout in (0.0, 0.3)]
    assert found[0]["report"]["contrastive"] != pytest.approx(found[1]["report"]["contrastive"], rel=1e-3)
    engine, _ = make(model_folder, adapted(0.3))
    modules = [module for module in engine.module.modules() if isinstance(module, TokenDropout)]
    assert len(modules) == 2 * 4 and all(module.training for module in modules)
    assert len({module.module for module in modules}) == len(modules)
    assert all(module.noise is engine.module.noise for module in modules)
