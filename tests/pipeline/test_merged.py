"""A model that is evaluated has its adapters in its weights."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.export import export
from pipeline.inference import load_model
from pipeline.merged import load_merged
from pipeline.model.adapters import LoRA
from pipeline.model.device import Dtype
from pipeline.recipe import Recipe
from pipeline.sample import Side
from tests.pipeline.exports import items, save_moved


def lora(recipe: Recipe) -> Recipe:
    return recipe.with_phase(adapter=LoRA(rank=4, alpha=16), tower="frozen")


def dora(recipe: Recipe) -> Recipe:
    return recipe.with_phase(adapter=LoRA(rank=4, alpha=16, dora=True), tower="frozen")


@pytest.mark.parametrize("vary", [lora, dora])
def test_a_merged_model_says_what_the_adapters_said(
    tmp_path: Path, model_folder: Path, recipe: Recipe, vary: Callable[[Recipe], Recipe]
) -> None:
    trained = save_moved(tmp_path / "step-00000001", model_folder, vary(recipe))
    apart, merged = load_model(trained), load_merged(trained)
    assert any(".lora_" in name for name, _ in apart.embedder.named_parameters())
    assert not any(".lora_" in name for name, _ in merged.embedder.named_parameters())
    assert merged.fingerprint == f"merged {apart.fingerprint}"
    sides = items()
    np.testing.assert_allclose(merged.embed(sides), apart.embed(sides), atol=2e-6)
    asked = [Side(text="red star"), Side(text="blue circle")], ["what", "where"]
    for compressed in (True, False):
        answers = [model.answer(*asked, compressed=compressed, max_new_tokens=4) for model in (apart, merged)]
        assert answers[0] == answers[1]


def test_a_merged_model_is_its_merged_export(tmp_path: Path, model_folder: Path, recipe: Recipe) -> None:
    """In float32 to the last bit; in bfloat16 the adapters are rounded before they are added, there after."""
    trained = save_moved(tmp_path / "step-00000001", model_folder, lora(recipe))
    dtypes: tuple[Dtype, ...] = ("float32", "bfloat16")
    for dtype, allowed in zip(dtypes, (0.0, 2e-3), strict=True):
        export(trained, tmp_path / dtype, form="merged", dtype=dtype)
        here, there = load_merged(trained, dtype=dtype), load_model(tmp_path / dtype, dtype=dtype)
        own, exported = (dict(model.embedder.backbone.text.layers.named_parameters()) for model in (here, there))
        assert set(own) == set(exported)
        for name, weight in own.items():
            torch.testing.assert_close(weight, exported[name], atol=allowed, rtol=0)


def test_a_model_without_adapters_stays_as_it_is(trained: Path) -> None:
    assert load_merged(trained).fingerprint == load_model(trained).fingerprint
