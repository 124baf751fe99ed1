"""Every component of a recipe trains, is saved, resumes bit for bit and is served with the weights it was trained to."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import pipeline.train.loop as loop
from pipeline.inference import load_model
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.roles import Layout, Role
from pipeline.sample import Side
from pipeline.tracking import NullTracker
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder
from pipeline.train.loop import Places, train
from tests.pipeline.corpus import MemoryQa, corpus, small_recipe

WITHOUT_TOKENS = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
SIDES = [Side(text="red circle"), Side(text="blue star top left")]


def no_tokens(recipe: Recipe) -> Recipe:
    return replace(recipe, layout=WITHOUT_TOKENS, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT))


def whole_table_under_lora(recipe: Recipe) -> Recipe:
    return replace(recipe, adapter=LoRA(rank=2), tower="frozen", tokens=Chorus(count=4, trained="table"))


def still_rows_at_new_ids(recipe: Recipe) -> Recipe:
    return replace(recipe, adapter=LoRA(rank=2), tokens=Chorus(count=4, start="eos", trained="none", place="new"))


VARIANTS = (no_tokens, whole_table_under_lora, still_rows_at_new_ids)


@pytest.fixture(autouse=True)
def corpus_in_memory(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(loop.ShardIndex, "open", classmethod(lambda cls, folder: corpus()))
    monkeypatch.setattr(loop.QaTable, "open", classmethod(lambda cls, folder: MemoryQa()))


def run(out: Path, model: Path, recipe: Recipe, stop_after: int | None = None) -> Path:
    places = Places(shards=out, qa=None, model=model, out=out)
    return train(places, recipe, NullTracker(), progress=lambda done, total, note: None, num_workers=0, stop_after=stop_after)


@pytest.mark.parametrize("vary", VARIANTS)
@pytest.mark.parametrize("stage", [0, 2])
def test_a_variant_trains_resumes_and_is_served(
    tmp_path: Path, model_folder: Path, vary: Callable[[Recipe], Recipe], stage: int
) -> None:
    recipe = vary(small_recipe(zero_stage=stage, steps=3, evaluate_every=3, checkpoint_every=10))
    whole = run(tmp_path / "whole", model_folder, recipe)
    run(tmp_path / "broken", model_folder, recipe, stop_after=2)
    resumed = run(tmp_path / "broken", model_folder, recipe)
    expected, found = checkpoint.weights(whole), checkpoint.weights(resumed)
    assert set(expected) == set(found) and all(torch.equal(tensor, found[name]) for name, tensor in expected.items())

    trained, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    assert set(expected) == {name for name, parameter in trained.named_parameters() if parameter.requires_grad}
    served = load_model(whole, recipe=recipe)
    weights = dict(served.embedder.named_parameters())
    assert all(torch.equal(tensor, weights[name]) for name, tensor in expected.items())
    untrained = load_model(model_folder, recipe=recipe)
    assert np.abs(served.embed(SIDES) - untrained.embed(SIDES)).max() > 1e-5
    assert len(served.answer(SIDES, ["where", "what"], compressed=False, max_new_tokens=2)) == 2
