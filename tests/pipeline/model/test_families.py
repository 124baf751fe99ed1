"""Qwen2.5-VL passes the oracles of Qwen2-VL: they are collected here a second time, over a tiny model of that family."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from transformers import Qwen2_5_VLForConditionalGeneration

from data_prep.tiny_model import build_tiny_model
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import SMALL, TEXTS
from tests.pipeline.model.test_attention import (  # noqa: F401
    dense,
    test_answers_reach_the_context_through_the_tokens_alone,
    test_native_rows_are_packed_beside_plain_prompts,
    test_packed_rows_equal_single_rows_under_the_dense_mask,
    test_the_mask_matters,
    test_the_tower_attends_inside_each_picture,
)
from tests.pipeline.model.test_backbone import (  # noqa: F401
    published,
    test_a_missing_weight_is_refused_by_name,
    test_the_published_layout_loads_with_nothing_missing_or_unexpected,
)
from tests.pipeline.model.test_embedder import test_token_losses_are_the_negative_log_likelihood_of_the_answers  # noqa: F401
from tests.pipeline.model.test_generation import (  # noqa: F401
    contexts,
    model,
    test_answers_and_their_logits_equal_whole_forward_passes,
    test_batched_answers_equal_single_ones_and_differ_from_native,
)
from tests.pipeline.model.test_token_attention import test_weights_are_those_of_transformers_own_forward  # noqa: F401
from tests.pipeline.test_sequence import test_positions_are_transformers_own  # noqa: F401
from tests.pipeline.train.test_step import test_cached_gradients_equal_the_full_batch  # noqa: F401


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-2.5")
    build_tiny_model(folder, TEXTS, replace(SMALL, family="qwen2_5_vl"), seed=0)
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


def test_the_family_is_its_own_class(embedder: Embedder) -> None:
    assert type(embedder.backbone.model) is Qwen2_5_VLForConditionalGeneration
    assert embedder.backbone.tower.fullatt_block_indexes == [1] and embedder.backbone.tower.window_size == 56


@pytest.mark.parametrize(("rows", "columns"), [(4, 4), (5, 3), (1, 7)])
def test_windows_reach_the_tower(embedder: Embedder, rows: int, columns: int) -> None:
    """Features are those of transformers' own tower, windows cut off at the edges included, and full attention gives others."""
    tower = embedder.backbone.tower
    picture = torch.from_numpy(np.random.default_rng(0).integers(0, 255, (3, rows * 28, columns * 28), dtype=np.uint8))
    patches, grid = embedder.cutter(picture[None]), torch.tensor([[1, rows * 2, columns * 2]])
    with torch.no_grad():
        features = embedder.backbone.features(patches, grid)
        config = type(tower.config).from_dict(tower.config.to_dict())
        config._attn_implementation = "eager"
        reference = type(tower)(config)
        reference.load_state_dict(tower.state_dict())
        windowed = reference(patches, grid_thw=grid).pooler_output
        reference.fullatt_block_indexes = [0, 1]
        everywhere = reference(patches, grid_thw=grid).pooler_output
    torch.testing.assert_close(features, windowed, atol=1e-5, rtol=1e-5)
    assert float((everywhere - windowed).abs().max()) > 1e-3
