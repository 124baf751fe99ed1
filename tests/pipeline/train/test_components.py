"""Every component of a recipe trains, is saved, resumes bit for bit and is served with the weights it was trained to."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import ConfigError
from pipeline.inference import load_model
from pipeline.model.pooling import AttentionPool, MLPMean
from pipeline.sample import Side
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, build_embedder
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train import test_step
from tests.pipeline.train.test_loop import corpus_in_memory, run  # noqa: F401
from tests.pipeline.train.test_step import run_ranks
from tests.pipeline.variants import VARIANTS

SIDES = [Side(text="red circle"), Side(text="blue star top left")]


HALF = [pytest.param(name, marks=pytest.mark.slow if name.startswith("half") else ()) for name in VARIANTS]


@pytest.mark.parametrize("name", HALF)
def test_a_variant_trains_resumes_and_is_served(tmp_path: Path, model_folder: Path, name: str) -> None:
    recipe = VARIANTS[name](small_recipe(zero_stage=1, steps=3, evaluate_every=3, checkpoint_every=10))
    whole = run(tmp_path / "whole", model_folder, recipe)
    run(tmp_path / "broken", model_folder, recipe, stop_after=2)
    resumed = run(tmp_path / "broken", model_folder, recipe)
    expected, found = checkpoint.weights(whole), checkpoint.weights(resumed)
    assert set(expected) == set(found) and all(torch.equal(tensor, found[name]) for name, tensor in expected.items())

    trained, _ = build_embedder(model_folder, recipe, dtype=DTYPES[recipe.phase.dtype])
    starts = {name: parameter for name, parameter in trained.named_parameters() if parameter.requires_grad}
    assert set(expected) == set(starts) and all(tensor.dtype == torch.float32 for tensor in expected.values())
    assert all(not torch.equal(tensor, starts[name].float()) for name, tensor in expected.items())
    learnt = isinstance(recipe.pooling, MLPMean | AttentionPool)
    assert any(name.startswith("pooling.") for name in expected) == learnt
    served = load_model(whole, recipe=recipe)
    weights = dict(served.embedder.named_parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in expected.items())
    untrained = load_model(model_folder, recipe=recipe)
    assert np.abs(served.embed(SIDES) - untrained.embed(SIDES)).max() > 1e-5
    assert len(served.answer(SIDES, ["where", "what"], compressed=False, max_new_tokens=2)) == 2


def test_questions_without_a_place_in_the_layout_are_refused() -> None:
    plain = VARIANTS["plain_prompt"](small_recipe())
    (phase,) = plain.phases
    for mixture in (replace(phase.mixture, own_sides=("query",)), replace(phase.mixture, outside=4)):
        with pytest.raises(ConfigError, match=r"layout\.order: has no QUESTION and ANSWER, but phase '\w+' asks"):
            replace(plain, phases=(replace(phase, mixture=mixture, language_weight=0.5),))


POOLINGS = (("attention_pool", 0), ("mlp_mean", 1), ("attention_pool", 2), ("mlp_mean", 3), ("attention_pool", 3))
"""A pooling for each ZeRO stage; both at stage 3, which gathers weights module by module."""

ADAPTERS = tuple((name, stage) for name in ("whole_table_under_lora", "dora") for stage in (0, 1, 2, 3))
"""Adapters beside a frozen language model and a frozen tower: the whole table trained; lengths of rows and dropout."""


@pytest.fixture(scope="module")
def two_ranks(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Gradients of components on two ranks with one row a chunk: those of conversations embed nothing."""
    out = tmp_path_factory.mktemp("components")
    job = {"folder": str(model_folder), "variants": (*POOLINGS, *ADAPTERS), "chunk_tokens": 1}
    run_ranks(job, out, program="tests.pipeline.train.variant_ranks")
    return out


@pytest.mark.slow
@pytest.mark.parametrize(("name", "stage"), [*POOLINGS, *ADAPTERS])
def test_weights_of_a_component_have_the_full_batch_gradient_on_two_ranks(
    two_ranks: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch, name: str, stage: int
) -> None:
    monkeypatch.setattr(test_step, "build_embedder", build_disturbed)
    found = torch.load(two_ranks / f"{name}-{stage}.pt", weights_only=True)
    expected = test_step.plain_gradients(model_folder, VARIANTS[name](small_recipe()))
    kind = "lora_" if (name, stage) in ADAPTERS else "pooling."
    assert "bank.rows" in expected and any(kind in name for name in expected)
    assert all(float(gradient.norm()) > 1e-6 for gradient in expected.values()), "each must be large enough to be compared"
    assert test_step.worst(found, expected) < 1e-5
