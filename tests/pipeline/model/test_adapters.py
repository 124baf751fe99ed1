"""Low-rank adapters: settings, where they sit, and that merging them changes no output."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.batch import pack
from pipeline.errors import ConfigError
from pipeline.inference import load_model
from pipeline.model.adapters import Adapter, LoRA, Projection, merge
from pipeline.model.dropout import TokenNoise
from pipeline.sample import Side
from pipeline.train.build import build_embedder
from pipeline.train.forecast.saved_bytes import SavedBytes
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import picture, random_row, small_recipe
from tests.pipeline.recipes_at_random import HeadAlone


def test_settings_that_are_none_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"adapter\.rank: 0 is less than 1"):
        LoRA(rank=0)
    with pytest.raises(ConfigError, match=r"adapter\.targets: qkv, lm_head given; name one or more of q_proj"):
        LoRA(targets=("q_proj", "qkv", "lm_head"))
    with pytest.raises(ConfigError, match=r"adapter\.targets: none given"):
        LoRA(targets=())


@dataclass(frozen=True)
class Gate(Adapter):
    """Puts a weight beside the model's own."""

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        text.gate = nn.Linear(2, 2)


def test_an_own_adapter_marks_what_it_trains_and_adds_nothing_that_could_not_be_merged(model_folder: Path) -> None:
    build = partial(build_embedder, model_folder, dtype=torch.float32)
    embedder, _ = build(small_recipe().with_phase(adapter=HeadAlone(), tower="frozen"))
    trained = {name for name, weight in embedder.named_parameters() if weight.requires_grad}
    assert trained == {
        name for name, weight in embedder.named_parameters() if weight is embedder.backbone.model.lm_head.weight
    } | {"bank.rows"}
    with pytest.raises(ConfigError, match=r"adapter: Gate adds gate\.weight, which could not be merged"):
        build(small_recipe().with_phase(adapter=Gate()))


@pytest.mark.parametrize(
    ("targets", "dora"), [(LoRA().targets, False), (get_args(Projection), False), (get_args(Projection), True)]
)
def test_merged_weights_give_what_the_adapters_gave(model_folder: Path, targets: tuple[str, ...], dora: bool) -> None:
    recipe = small_recipe().with_phase(adapter=LoRA(rank=3, alpha=7, dora=dora, targets=targets), tower="frozen")
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
        expected = weights[f"{stem}.base_layer.weight"] + 7 / 3 * high @ low
        if dora:
            lengths = weights[f"{stem}.lora_magnitude_vector.default.weight"]
            expected = lengths[:, None] * expected / expected.square().sum(dim=1, keepdim=True).sqrt()
        torch.testing.assert_close(merged[name], expected)


def one_target(dtype: torch.dtype, dropout: float) -> tuple[nn.Module, torch.Tensor, torch.Tensor]:
    """A map of 12 to 8 with a bias and DoRA beside it, inputs (5, 12), and what (5, 8) its outputs' gradient is."""
    torch.manual_seed(4)
    text = nn.ModuleDict({"q_proj": nn.Linear(12, 8)}).to(dtype)
    LoRA(rank=3, alpha=6, dora=True, dropout=dropout).apply(text, nn.Identity())
    return text, torch.randn(5, 12, dtype=dtype, requires_grad=True), torch.randn(5, 8, dtype=dtype)


def test_dora_begins_as_the_map_it_stands_beside_and_keeps_no_copy_of_it() -> None:
    with SavedBytes([]) as meter:
        text, inputs, _ = one_target(torch.float32, 0.0)
        assert meter.now == 0
    layer = text["q_proj"]  # type: ignore[index]
    assert torch.equal(layer(inputs), layer.base_layer(inputs))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("dropout", [0.0, 0.3])
def test_dora_is_its_paper_s_equation_and_peft_s_dropout(dropout: float, dtype: torch.dtype) -> None:
    """Outputs and gradients of m, A, B and the inputs, written out; the lengths of V's rows are a constant."""
    text, inputs, gradient = one_target(dtype, dropout)
    layer, noise = text["q_proj"], TokenNoise()  # type: ignore[index]
    with torch.no_grad():
        for name, weight in text.named_parameters():
            weight.add_(0.3 * torch.randn(weight.shape) * ("lora_" in name))
    numbers = torch.arange(5) + 2**40
    mask = torch.ones(5, 12)
    if dropout:
        layer.lora_dropout["default"].noise = noise
        mask = (~layer.lora_dropout["default"].dropped(numbers)).float() / (1 - dropout)
    with noise.of(numbers):
        found = layer(inputs)
        found.backward(gradient)

    names = ("lora_magnitude_vector", "lora_A", "lora_B")
    leaves = [getattr(layer, name)["default"].weight.detach().float().requires_grad_() for name in names]
    lengths, low, high = leaves
    base, bias = layer.base_layer.weight.detach().float(), layer.base_layer.bias.detach().float()
    given = inputs.detach().float().requires_grad_()
    direction = base + 6 / 3 * high @ low
    scale = lengths / direction.detach().square().sum(dim=1).sqrt()
    expected = given @ base.T + bias + (mask * given) @ (scale[:, None] * direction - base).T
    expected.backward(gradient.float())
    near = {"atol": 1e-5, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 0.1, "rtol": 0.05}
    torch.testing.assert_close(found.float(), expected, **near)
    for name, leaf in zip(names, leaves, strict=True):
        torch.testing.assert_close(getattr(layer, name)["default"].weight.grad.float(), leaf.grad, **near)
    torch.testing.assert_close(inputs.grad.float(), given.grad, **near)  # type: ignore[union-attr]


def test_a_model_without_adapters_stays_as_it_is(model_folder: Path) -> None:
    embedder, _ = build_embedder(model_folder, small_recipe(), dtype=torch.float32)
    before = {name: tensor.clone() for name, tensor in embedder.state_dict().items()}
    merge(embedder.backbone.text)
    after = embedder.state_dict()
    assert set(after) == set(before) and all(torch.equal(tensor, after[name]) for name, tensor in before.items())
