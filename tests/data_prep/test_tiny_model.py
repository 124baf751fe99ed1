"""Shapes of a tiny random model: those that the recipe takes run, the others are refused before torch meets them."""

from typing import Any

import pytest
import torch

from data_prep.tiny_model import CLASSES, tiny_config, train_tokenizer
from pipeline.errors import ConfigError
from pipeline.recipe import TinyBackbone

SMALL = {"layers": 1, "tower_layers": 1, "feed_forward": 16, "vocab_size": 400, "heads": 4, "kv_heads": 2, "tower_heads": 4}
PATCH_VALUES = 3 * 2 * 14 * 14


@pytest.mark.parametrize("family", ["qwen2_vl", "qwen2_5_vl"])
@pytest.mark.parametrize("sizes", [{"hidden": 24, "tower_dim": 16}, {"hidden": 40, "tower_dim": 48}])
def test_the_smallest_shapes_that_are_taken_run(family: Any, sizes: dict[str, int]) -> None:
    """One picture of one visual token and two words, through text model and tower."""
    spec = TinyBackbone(family=family, **{**SMALL, **sizes})  # type: ignore[arg-type]
    config = tiny_config(train_tokenizer(["a word"], spec.vocab_size), spec)
    model = CLASSES[spec.family][1](config)
    ids = torch.tensor([[config.vision_start_token_id, config.image_token_id, 5, 6]])
    with torch.no_grad():
        found = model(
            input_ids=ids,
            mm_token_type_ids=torch.tensor([[0, 1, 0, 0]]),
            pixel_values=torch.randn(4, PATCH_VALUES),
            image_grid_thw=torch.tensor([[1, 2, 2]]),
        )
    assert found.logits.shape[:2] == (1, 4) and found.logits.isfinite().all()


@pytest.mark.parametrize(
    ("sizes", "line"),
    [
        ({"tower_dim": 24}, "backbone.tower_dim: 24 is 6 for each of 4 heads, and rotary positions need a multiple of 4"),
        ({"tower_dim": 8}, "backbone.tower_dim: 8 is 2 for each"),
        ({"hidden": 20}, "backbone.hidden: 20 is 5 for each of 4 heads, and rotary positions need a multiple of 2, at least 6"),
        ({"hidden": 16}, "backbone.hidden: 16 is 4 for each"),  # it runs, and the width of a picture turns nothing
    ],
)
def test_shapes_that_rotary_positions_cannot_turn_are_one_line(sizes: dict[str, int], line: str) -> None:
    with pytest.raises(ConfigError, match=line) as caught:
        TinyBackbone(**{**SMALL, **sizes})  # type: ignore[arg-type]
    assert "\n" not in str(caught.value)
