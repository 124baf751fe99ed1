"""Low-rank adapters: settings, where they sit, and that merging them changes no output."""

from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch

from pipeline.batch import pack
from pipeline.errors import ConfigError
from pipeline.inference import load_model
from pipeline.model.adapters import LoRA, Projection, merge
from pipeline.sample import Side
from pipeline.train.build import build_embedder
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import picture, random_row, small_recipe


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"adapter\.rank: 0 is less than 1"):
        LoRA(rank=0)
    with pytest.raises(ConfigError, match=r"adapter\.targets: qkv, lm_head given; name one or more of q_proj"):
        LoRA(targets=("q_proj", "qkv", "lm_head"))
    with pytest.raises(ConfigError, match=r"adapter\.targets: none given"):
        LoRA(targets=())


@pytest.mark.parametrize("targets", [LoRA().targets, get_args(Projection)])
def test_merged_weights_give_what_the_adapters_gave(model_folder: Path, targets: tuple[str, ...]) -> None:
    recipe = small_recipe().with_phase(adapter=LoRA(rank=3, alpha=7, targets=targets), tower="frozen")
    model = load_model(model_folder, recipe=recipe)
    disturb(model.embedder)
    rng = np.random.default_rng(0)
    rows = [random_row(model.builder, rng, slot=slot, num_images=1, num_turns=1) for slot in range(3)]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    sides, questions = [Side(images=(picture(rng),)), Side(text="red star")], ["what is red", "where"]

    text = model.embedder.backbone.text
    weights = {name: tensor.clone() for name, tensor in text.state_dict().items()}
    with torch.no_grad():
        before = model.embedder(batch)
        answers = [model.answer(sides, questions, compressed=flag, max_new_tokens=6) for flag in (True, False)]
        merge(text)
        after = model.embedder(batch)
    torch.testing.assert_close(after.embeddings, before.embeddings, atol=1e-5, rtol=1e-5)
    torch.testing.assert_close(after.token_losses, before.token_losses, atol=1e-5, rtol=1e-5)
    assert answers == [model.answer(sides, questions, compressed=flag, max_new_tokens=6) for flag in (True, False)]

    plain, _ = build_embedder(model_folder, small_recipe(), dtype=torch.float32)
    merged = text.state_dict()
    assert set(merged) == set(plain.backbone.text.state_dict())
    assert {type(part) for part in text.modules()} == {type(part) for part in plain.backbone.text.modules()}
    for target in targets:
        (name,) = (name for name in merged if name.startswith("layers.1.") and name.endswith(f"{target}.weight"))
        stem = name.removesuffix(".weight")
        low, high = (weights[f"{stem}.lora_{part}.default.weight"] for part in "AB")
        torch.testing.assert_close(merged[name], weights[f"{stem}.base_layer.weight"] + 7 / 3 * high @ low)


def test_a_model_without_adapters_stays_as_it_is(model_folder: Path) -> None:
    embedder, _ = build_embedder(model_folder, small_recipe(), dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in embedder.state_dict().items()}
    merge(embedder.backbone.text)
    after = embedder.state_dict()
    assert set(after) == set(before) and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
