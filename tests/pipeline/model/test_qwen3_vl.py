"""Qwen3-VL: its further levels of features reach the language model, whole or shrunk, and the oracles of Qwen2-VL hold."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from data_prep.tiny_model import build_tiny_model
from pipeline.batch import pack, row_places, truncate
from pipeline.errors import ConfigError
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Folder, load_weights
from pipeline.model.embedder import Embedder
from pipeline.model.shrinkers import Bilinear
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.forecast.trace import outline_embedder
from tests.pipeline.cases import random_case
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import SMALL, TEXTS, random_row
from tests.pipeline.dense import DenseModel
from tests.pipeline.model.test_attention import check_case
from tests.pipeline.model.test_embedder import test_token_losses_are_the_negative_log_likelihood_of_the_answers  # noqa: F401
from tests.pipeline.model.test_generation import (  # noqa: F401
    contexts,
    model,
    test_answers_and_their_logits_equal_whole_forward_passes,
    test_batched_answers_equal_single_ones_and_differ_from_native,
)
from tests.pipeline.model.test_shrinkers import shrunk_by_hand
from tests.pipeline.model.test_token_attention import test_weights_are_those_of_transformers_own_forward  # noqa: F401
from tests.pipeline.own_forward import own_states
from tests.pipeline.test_sequence import test_positions_are_transformers_own  # noqa: F401
from tests.pipeline.train.test_step import test_cached_gradients_equal_the_full_batch  # noqa: F401


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-3")
    build_tiny_model(folder, TEXTS, replace(SMALL, family="qwen3_vl", layers=3, tower_layers=3), seed=0)
    return folder


@pytest.fixture(scope="module")
def loaded(model_folder: Path, recipe: Recipe) -> tuple[Embedder, Folder]:
    embedder, folder = build_embedder(model_folder, recipe, dtype=torch.float32)
    disturb(embedder)
    return embedder, folder


@pytest.fixture(scope="module")
def embedder(loaded: tuple[Embedder, Folder]) -> Embedder:
    return loaded[0]


@pytest.fixture(scope="module")
def builder(loaded: tuple[Embedder, Folder], recipe: Recipe) -> SequenceBuilder:
    vocabulary = loaded[1].vocabulary(chorus_ids(loaded[1], recipe))
    return SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)


def test_states_are_those_of_transformers_own_forward(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """Rows with none, one and several pictures, packed, against the whole model by itself."""
    rng = np.random.default_rng(0)
    rows = [random_row(builder, rng, slot=n, num_images=n, num_turns=1, compressed=False) for n in (0, 1, 2, 3)]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    with torch.no_grad():
        inputs = embedder.inputs(batch)
        states = embedder.backbone.hidden(inputs, batch.position_ids, SpanPlan.of(batch.spans))
    assert len(inputs.levels) == 2
    for row, place in zip(rows, row_places(rows), strict=True):
        torch.testing.assert_close(states[place], own_states(embedder, row), atol=1e-5, rtol=1e-5)


def test_packed_rows_equal_single_rows_under_the_dense_mask(embedder: Embedder, builder: SequenceBuilder) -> None:
    dense = DenseModel(embedder)
    for seed in range(20):
        check_case(embedder, dense, random_case(seed, builder.vocabulary), torch.Generator().manual_seed(seed))


def test_the_first_pass_takes_its_part_of_all_levels(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """Features made once, as a frozen tower's are: whole rows, and rows ended at their pooled tokens."""
    rows = [random_row(builder, np.random.default_rng(n), slot=n, num_images=2, num_turns=1) for n in range(2)]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    prefix = pack(truncate(rows, Role.COMPRESSION), recipe.phase.layout, recipe.pooling.positions)
    with torch.no_grad():
        expected = embedder(batch).embeddings
        features = embedder.backbone.features(torch.cat([embedder.cutter(s) for s in batch.pixels]), batch.grid_thw)
        found = [embedder(replace(each, pixels=(), features=features)).embeddings for each in (batch, prefix)]
    assert features.shape == (len(batch.image_index), 3 * embedder.width)
    for each in found:
        torch.testing.assert_close(each, expected, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize("factor", [2.0, 1.5])
def test_every_level_is_shrunk(embedder: Embedder, factor: float) -> None:
    """A level's patches, as they leave its layer, shrunk by hand before its own merger."""
    rng = np.random.default_rng(3)
    pictures = [torch.from_numpy(rng.integers(0, 255, (3, h * 28, w * 28), dtype=np.uint8)) for h, w in [(3, 5), (4, 2)]]
    patches = torch.cat([embedder.cutter(picture[None]) for picture in pictures])
    grids, tower = torch.tensor([(1, 6, 10), (1, 8, 4)]), embedder.backbone.tower
    layers: list[torch.Tensor] = []
    hooks = [block.register_forward_hook(lambda *given: layers.append(given[2])) for block in tower.blocks]
    with torch.no_grad():
        tower(patches, grid_thw=grids)
        for hook in hooks:
            hook.remove()
        found = embedder.backbone.family.features(tower, patches, grids, Bilinear(factor))
        mergers = [tower.merger, *tower.deepstack_merger_list]
        levels = [layers[-1], *(layers[index] for index in tower.deepstack_visual_indexes)]
        expected = [
            merger(torch.from_numpy(shrunk_by_hand(level.numpy(), [(1, 6, 10), (1, 8, 4)], Bilinear(factor))).float())
            for merger, level in zip(mergers, levels, strict=True)
        ]
    torch.testing.assert_close(found, torch.cat(expected, dim=1), atol=1e-5, rtol=1e-5)


def test_the_published_layout_loads_with_nothing_missing_or_unexpected(model_folder: Path, tmp_path: Path) -> None:
    """bfloat16, `rope_scaling`, the tower's old type, a head of its own as the larger models have."""
    folder = tmp_path / "published"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    rope = config["text_config"].pop("rope_parameters")
    scaling = {"mrope_interleaved": True, "mrope_section": rope["mrope_section"], "rope_type": "default"}
    config["text_config"] |= {"rope_theta": rope["rope_theta"], "rope_scaling": scaling}
    config["vision_config"]["model_type"], config["tie_word_embeddings"] = "qwen3_vl", False
    (folder / "config.json").write_text(json.dumps(config))
    tensors = {name: tensor.bfloat16() for name, tensor in load_file(folder / "model.safetensors").items()}
    table = tensors["model.language_model.embed_tokens.weight"]
    save_file({**tensors, "lm_head.weight": table.clone()}, folder / "model.safetensors", metadata={"format": "pt"})
    found: Any = load_weights(folder, dtype=torch.float32)
    own: Any = load_weights(model_folder, dtype=torch.float32)
    assert set(found.state_dict()) == set(own.state_dict())
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, own.state_dict()[name].bfloat16().float(), atol=0, rtol=0)
    rope = found.config.text_config.rope_parameters
    assert (rope["rope_theta"], rope["mrope_section"]) == (1000.0, own.config.text_config.rope_parameters["mrope_section"])


def test_patches_of_another_size_are_refused_by_the_field(model_folder: Path, recipe: Recipe) -> None:
    """Published folders cut patches of 16 pixels; pictures that were resized for 14 would be cut askew."""
    with pytest.raises(ConfigError, match=r"pixels\.patch: 16, and .* cuts patches of 14 pixels; --set pixels\.patch=14"):
        build_embedder(model_folder, replace(recipe, pixels=replace(recipe.pixels, patch=16)), dtype=torch.float32)


def test_the_outline_has_the_weights_of_the_model(model_folder: Path, embedder: Embedder, recipe: Recipe) -> None:
    found = outline_embedder(model_folder, recipe)
    assert {n: w.shape for n, w in found.named_parameters()} == {n: w.shape for n, w in embedder.named_parameters()}
