"""The written-down shapes against the sizes of the published weights, and a folder of such a shape against the loading code."""

import json
from pathlib import Path

import pytest
import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from data_prep import published_shapes
from data_prep.published_shapes import SHAPES, build_random_model, shape_of, write_config
from pipeline.errors import ConfigError
from pipeline.model.backbone import open_folder
from pipeline.recipe import PublishedBackbone
from pipeline.recipes import RECIPES, load

BYTES = {
    "Qwen2-VL-2B-Instruct": 4_417_971_200,
    "Qwen2-VL-7B-Instruct": 16_582_751_232,
    "Qwen2.5-VL-3B-Instruct": 7_509_245_952,
    "Qwen2.5-VL-7B-Instruct": 16_584_333_312,
    "InternVL3-2B-hf": 2 * 2_088_957_440,
    "InternVL3-8B-hf": 2 * 7_944_373_760,
}
"""`total_size` of the published folders' model.safetensors.index.json: bfloat16, a tied head once. Of InternVL3 the weights that
others count in the headers of the published safetensors (READMEs on GitHub; the folders themselves were not seen here).
"""


@pytest.mark.parametrize("name", SHAPES)
def test_a_shape_has_as_many_weights_as_are_published(tmp_path: Path, name: str) -> None:
    config = AutoConfig.from_pretrained(write_config(tmp_path, name), local_files_only=True)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    assert 2 * sum(weight.numel() for weight in model.parameters()) == BYTES[name]


def test_every_recipe_can_be_rehearsed() -> None:
    backbones = [load(name).backbone for name in RECIPES]
    assert {backbone.name for backbone in backbones if isinstance(backbone, PublishedBackbone)} == set(SHAPES)


def test_a_random_folder_of_tiles_opens_as_a_published_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Narrow and of two layers, with the published vocabulary and tiles."""
    shape = json.loads(json.dumps(SHAPES["InternVL3-2B-hf"]))
    shape["text_config"] |= {"hidden_size": 64, "intermediate_size": 96, "num_attention_heads": 4, "num_hidden_layers": 2}
    shape["vision_config"] |= {"hidden_size": 32, "intermediate_size": 48, "num_attention_heads": 2, "num_hidden_layers": 2}
    monkeypatch.setattr(published_shapes, "SHAPES", {"narrow": shape})
    build_random_model(tmp_path, "narrow", ["a red ring above a blue star"] * 20, seed=0)
    folder = open_folder(tmp_path)
    assert folder.vocab_size == 151_674 and folder.family.title == "InternVL3 (-hf)"
    config, settings = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("config", "preprocessor_config"))
    assert (
        config["image_token_id"] == folder.tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>") and settings["size"]["height"] == 448
    )
    assert settings["image_mean"] == [0.485, 0.456, 0.406] and settings["crop_to_patches"]


def test_an_unknown_shape_is_refused_with_the_known_ones() -> None:
    with pytest.raises(ConfigError, match=r"Nobody-1B: its shape is not known here, .*; there are Qwen2-VL-2B-Instruct, "):
        shape_of("Nobody-1B")


@pytest.mark.parametrize("name", ["Qwen2-VL-2B-Instruct", "Qwen2.5-VL-3B-Instruct"])
def test_a_random_folder_opens_as_a_published_one_does(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    """At an eighth of the width and two layers, with the published vocabulary: what is checked does not depend on the rest."""
    shape = json.loads(json.dumps(SHAPES[name]))
    small = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "num_hidden_layers": 2,
    }
    tower = {"depth": 2, "num_heads": 2, "embed_dim": 32, "hidden_size": 64}
    if "out_hidden_size" in shape["vision_config"]:
        tower = {"depth": 2, "num_heads": 2, "hidden_size": 32, "intermediate_size": 48, "out_hidden_size": 64}
    shape |= small | {
        "rope_scaling": {"type": "mrope", "mrope_section": [2, 3, 3]},
        "vision_config": shape["vision_config"] | tower,
    }
    monkeypatch.setattr(published_shapes, "SHAPES", {name: shape})
    weights = build_random_model(tmp_path, name, ["a red ring above a blue star"] * 20, seed=0)
    folder = open_folder(tmp_path)
    assert folder.vocab_size == 151_936 and len(folder.tokenizer) <= published_shapes.TOKENIZER_WORDS
    index = [file.stat().st_size for file in tmp_path.glob("*.safetensors")]
    assert 2 * weights <= sum(index) <= 2 * weights + 100_000, "bfloat16 throughout"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["image_token_id"] == folder.tokenizer.convert_tokens_to_ids("<|image_pad|>")
