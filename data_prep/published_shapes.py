"""Published models without their weights: their configurations as the makers' folders have them, and random weights.

Figures: config.json of the folders named below. A forecast needs the configuration alone; a rehearsal takes steps.
"""

import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import torch
from transformers import AutoConfig, AutoModelForImageTextToText, GotOcr2ImageProcessorPil, Qwen2VLImageProcessorPil

from data_prep.tiny_model import train_tokenizer
from pipeline.errors import ConfigError
from pipeline.manifest import write_atomic
from pipeline.model.families.internvl import IMAGENET_MEAN, IMAGENET_STD

TOKENIZER_WORDS = 2048
"""Entries of a rehearsal's tokenizer; the table of embeddings has the published number of rows all the same."""
_SHARD_SIZE = "2GB"
_TILE = 448
_PATCH_IDS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_TILE_IDS = {"image_token_id": "<IMG_CONTEXT>"}
_PATCHES = {"patch_size": 14, "spatial_merge_size": 2, "temporal_patch_size": 2}


def _qwen2(hidden: int, *, feed_forward: int, heads: int, kv_heads: int, vocabulary: int, tied: bool) -> dict[str, Any]:
    """Qwen2-VL. Its tower is the same at every size, but for the width that it hands on."""
    tower = {"depth": 32, "embed_dim": 1280, "mlp_ratio": 4, "num_heads": 16, "hidden_size": hidden, **_PATCHES}
    return _language(hidden, 28, feed_forward, heads, kv_heads, vocabulary, tied) | {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "vision_config": tower,
    }


def _qwen2_5(
    hidden: int, *, layers: int, feed_forward: int, heads: int, kv_heads: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    """Qwen2.5-VL: four layers of its tower attend to whole pictures, the others inside of windows of 112 pixels."""
    windows = {"window_size": 112, "fullatt_block_indexes": [7, 15, 23, 31], "hidden_act": "silu"}
    tower = {"depth": 32, "hidden_size": 1280, "intermediate_size": 3420, "num_heads": 16, "out_hidden_size": hidden}
    return _language(hidden, layers, feed_forward, heads, kv_heads, vocabulary, tied) | {
        "architectures": ["Qwen2_5_VLForConditionalGeneration"],
        "model_type": "qwen2_5_vl",
        "vision_config": {**tower, **windows, **_PATCHES},
    }


def _language(
    hidden: int, layers: int, feed_forward: int, heads: int, kv_heads: int, vocabulary: int, tied: bool
) -> dict[str, Any]:
    return {
        "hidden_size": hidden,
        "num_hidden_layers": layers,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": vocabulary,
        "tie_word_embeddings": tied,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vision_start_token_id": 151_652,
        "vision_end_token_id": 151_653,
        "image_token_id": 151_655,
        "video_token_id": 151_656,
    }


def _internvl3(hidden: int, *, feed_forward: int, heads: int, kv_heads: int) -> dict[str, Any]:
    """InternVL3 in transformers' own layout: Qwen2.5's language model of 1.5B or 7B beside InternViT-300M, the head untied."""
    text = {
        "model_type": "qwen2",
        "hidden_size": hidden,
        "num_hidden_layers": 28,
        "intermediate_size": feed_forward,
        "num_attention_heads": heads,
        "num_key_value_heads": kv_heads,
        "vocab_size": 151_674,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "tie_word_embeddings": False,
    }
    tower = {"hidden_size": 1024, "num_hidden_layers": 24, "num_attention_heads": 16, "intermediate_size": 4096}
    return {
        "architectures": ["InternVLForConditionalGeneration"],
        "model_type": "internvl",
        "text_config": text,
        "vision_config": {**tower, "attention_bias": True, "image_size": [_TILE, _TILE], "patch_size": [14, 14]},
        "image_token_id": 151_667,
        "image_seq_length": 256,
        "downsample_ratio": 0.5,
        "tie_word_embeddings": False,
        "torch_dtype": "bfloat16",
    }


SHAPES: Mapping[str, dict[str, Any]] = {
    "Qwen2-VL-2B-Instruct": _qwen2(1536, feed_forward=8960, heads=12, kv_heads=2, vocabulary=151_936, tied=True),
    "Qwen2-VL-7B-Instruct": _qwen2(3584, feed_forward=18944, heads=28, kv_heads=4, vocabulary=152_064, tied=False),
    "Qwen2.5-VL-3B-Instruct": _qwen2_5(2048, layers=36, feed_forward=11008, heads=16, kv_heads=2, vocabulary=151_936, tied=True),
    "Qwen2.5-VL-7B-Instruct": _qwen2_5(3584, layers=28, feed_forward=18944, heads=28, kv_heads=4, vocabulary=152_064, tied=False),
    "InternVL3-2B-hf": _internvl3(1536, feed_forward=8960, heads=12, kv_heads=2),
    "InternVL3-8B-hf": _internvl3(3584, feed_forward=18944, heads=28, kv_heads=4),
}
"""config.json in the published form, by the name that recipes give the backbone."""


def shape_of(name: str) -> dict[str, Any]:
    """The configuration of a published model. Raises ConfigError for one whose shape is not written down here."""
    if name not in SHAPES:
        raise ConfigError(f"{name}: its shape is not known here, so it is not rehearsed; there are {', '.join(SHAPES)}")
    return SHAPES[name]


def write_config(folder: Path, name: str) -> Path:
    """Write config.json of a published model into a folder, which is all that a forecast reads. Returns the folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_atomic(folder / "config.json", json.dumps(shape_of(name), indent=1))
    return folder


def build_random_model(folder: Path, name: str, texts: Iterable[str], *, seed: int) -> int:
    """Write a whole model folder of a published shape with random bfloat16 weights; returns their number.

    Only the ids of special tokens differ from the published configuration: the tokenizer is a small one, trained on `texts`. The
    host needs twice as many bytes as weights, and the disk too.
    """
    write_config(folder, name)
    tiles = shape_of(name)["model_type"] == "internvl"
    tokenizer = train_tokenizer(texts, TOKENIZER_WORDS, tiles=tiles)
    config = AutoConfig.from_pretrained(folder, local_files_only=True)
    for field, token in (_TILE_IDS if tiles else _PATCH_IDS).items():
        setattr(config, field, tokenizer.convert_tokens_to_ids(token))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = AutoModelForImageTextToText.from_config(config, dtype=torch.bfloat16)
    model.save_pretrained(folder, max_shard_size=_SHARD_SIZE)
    tokenizer.save_pretrained(folder)
    (_tile_settings() if tiles else Qwen2VLImageProcessorPil()).save_pretrained(folder)
    return sum(weight.numel() for weight in model.parameters())


def _tile_settings() -> Any:
    size = {"height": _TILE, "width": _TILE}
    return GotOcr2ImageProcessorPil(size=size, crop_to_patches=True, image_mean=IMAGENET_MEAN, image_std=IMAGENET_STD)
