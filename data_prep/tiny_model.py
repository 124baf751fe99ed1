"""A tiny random model of a family as an ordinary model folder: the demo's and the tests' backbone.

Its tokenizer is trained on the corpus. Nothing downstream knows that it is tiny: it is loaded by the path that loads a published
folder.
"""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import (
    GotOcr2ImageProcessorPil,
    InternVLConfig,
    InternVLForConditionalGeneration,
    PreTrainedConfig,
    Qwen2_5_VLConfig,
    Qwen2_5_VLForConditionalGeneration,
    Qwen2Tokenizer,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
    Qwen2VLImageProcessorPil,
    Qwen3VLConfig,
    Qwen3VLForConditionalGeneration,
)

from pipeline.recipe import TinyBackbone
from pipeline.roles import RECONSTRUCT_TEXT, REPRESENT_IMAGE, SYSTEM_PROMPT

SPECIAL_TOKENS = (
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|vision_start|>",
    "<|vision_end|>",
    "<|vision_pad|>",
    "<|image_pad|>",
    "<|video_pad|>",
)
TILE_TOKENS = {
    "start_image_token": "<img>",
    "end_image_token": "</img>",
    "context_image_token": "<IMG_CONTEXT>",
    "video_token": "<video>",
}
"""InternVL's special tokens beside those, by the names that its processor asks for."""
CLASSES = {
    "qwen2_vl": (Qwen2VLConfig, Qwen2VLForConditionalGeneration),
    "qwen2_5_vl": (Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration),
    "qwen3_vl": (Qwen3VLConfig, Qwen3VLForConditionalGeneration),
    "internvl": (InternVLConfig, InternVLForConditionalGeneration),
}
"""Configuration and model of each family."""

WINDOW_PIXELS = 56
"""Side of a window of Qwen2.5-VL's tower: 2 visual tokens, as a tiny model's pictures are small (published: 112, 4 tokens)."""

TILE_PIXELS = 56
"""Side of a tile of InternVL's tower: 4 visual tokens (published: 448, 256 tokens)."""

SPARE_ROWS = 64
"""Table rows after the tokenizer's last id, as Qwen2-VL has them: the compression tokens live there."""

CHAT_TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% if message['content'] is string %}{{ message['content'] }}"
    "{% else %}{% for part in message['content'] %}"
    "{% if part['type'] == 'image' %}<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ part['text'] }}{% endif %}"
    "{% endfor %}{% endif %}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)


def build_tiny_model(out: Path, texts: Iterable[str], spec: TinyBackbone, *, seed: int) -> int:
    """Write the folder `out`; returns the number of weights. The seed decides the weights, `texts` the tokenizer."""
    tokenizer = train_tokenizer(texts, spec.vocab_size, tiles=spec.family == "internvl")
    config = tiny_config(tokenizer, spec)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = CLASSES[spec.family][1](config)
    model.save_pretrained(out)
    tokenizer.save_pretrained(out)
    _picture_settings(spec).save_pretrained(out)
    return sum(parameter.numel() for parameter in model.parameters())


def _picture_settings(spec: TinyBackbone) -> Any:
    if spec.family == "internvl":
        return GotOcr2ImageProcessorPil(size={"height": TILE_PIXELS, "width": TILE_PIXELS}, crop_to_patches=True)
    return Qwen2VLImageProcessorPil()


def train_tokenizer(texts: Iterable[str], vocab_size: int, *, tiles: bool = False) -> Qwen2Tokenizer:
    """A byte-level BPE tokenizer of Qwen2's class; the template's own words are always in its corpus. `tiles`: of InternVL."""
    special = [*SPECIAL_TOKENS, *(TILE_TOKENS.values() if tiles else ())]
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocab_size - len(special), initial_alphabet=pre_tokenizers.ByteLevel.alphabet(), show_progress=False
    )
    template = [f"system\n{SYSTEM_PROMPT}", "user\n", "assistant\n", REPRESENT_IMAGE, RECONSTRUCT_TEXT] * 50
    bpe.train_from_iterator([*template, *texts], trainer)
    vocabulary = bpe.get_vocab()
    merges = [tuple(merge) for merge in _merges(bpe)]
    tokenizer = Qwen2Tokenizer(
        vocab=vocabulary,
        merges=merges,
        unk_token=None,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        additional_special_tokens=special,
        **({"model_specific_special_tokens": TILE_TOKENS} if tiles else {}),
    )
    tokenizer.chat_template = CHAT_TEMPLATE
    return tokenizer


def _merges(bpe: Tokenizer) -> list[list[str]]:
    merges: list[list[str]] = json.loads(bpe.to_str())["model"]["merges"]
    return merges


def tiny_config(tokenizer: Qwen2Tokenizer, spec: TinyBackbone) -> PreTrainedConfig:
    """Configuration of the tiny model."""
    if spec.family == "internvl":
        return _tile_config(tokenizer, spec)
    ids = {
        name: tokenizer.convert_tokens_to_ids(f"<|{name}|>") for name in ("image_pad", "video_pad", "vision_start", "vision_end")
    }
    return CLASSES[spec.family][0](
        text_config=_text(tokenizer, spec)
        | {
            "rope_parameters": {"rope_type": "default", "rope_theta": 1000.0, "mrope_section": _sections(spec)},
            **({"head_dim": spec.hidden // spec.heads} if spec.family == "qwen3_vl" else {}),
        },
        vision_config=_tower(spec),
        image_token_id=ids["image_pad"],
        video_token_id=ids["video_pad"],
        vision_start_token_id=ids["vision_start"],
        vision_end_token_id=ids["vision_end"],
        initializer_range=spec.spread,
        tie_word_embeddings=True,
    )


def _text(tokenizer: Qwen2Tokenizer, spec: TinyBackbone) -> dict[str, object]:
    """The language model's settings, which all families call alike."""
    return {
        "vocab_size": len(tokenizer) + SPARE_ROWS,
        "hidden_size": spec.hidden,
        "intermediate_size": spec.feed_forward,
        "num_hidden_layers": spec.layers,
        "num_attention_heads": spec.heads,
        "num_key_value_heads": spec.kv_heads,
        "initializer_range": spec.spread,
        "bos_token_id": None,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }


def _tile_config(tokenizer: Qwen2Tokenizer, spec: TinyBackbone) -> PreTrainedConfig:
    """InternVL's: Qwen2's language model, and a tower of tiles of 4 x 4 patches."""
    rope = {"rope_type": "default", "rope_theta": 1000.0}
    return InternVLConfig(
        text_config={"model_type": "qwen2", **_text(tokenizer, spec), "rope_parameters": rope},
        vision_config={
            "hidden_size": spec.tower_dim,
            "num_hidden_layers": spec.tower_layers,
            "num_attention_heads": spec.tower_heads,
            "intermediate_size": 2 * spec.tower_dim,
            "attention_bias": True,
            "image_size": [TILE_PIXELS, TILE_PIXELS],
            "initializer_range": spec.spread,
        },
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=4,
        initializer_range=spec.spread,
        tie_word_embeddings=True,
    )


def _sections(spec: TinyBackbone) -> list[int]:
    """How many of the angles that rotate a head's half are given to time, height and width.

    Of the angles that rotate a head's half, Qwen2-VL gives the fastest to time, the next to height and the slowest to width,
    2 : 3 : 3. On the few visual tokens of a small picture the slowest hardly turn (left and right are 0.003 rad apart), so here
    time and height have only a few of the fastest, and the base is small. Text has one position for all three.
    Qwen3-VL takes turns among the three, so equal parts reach the fastest.
    """
    half = spec.hidden // spec.heads // 2
    if spec.family == "qwen3_vl":
        third = half // 3
        return [half - 2 * third, third, third]
    height = max(1, half // 8)
    return [1, height, half - height - 1]


def _tower(spec: TinyBackbone) -> dict[str, object]:
    """The tower's settings, which the families name differently; in Qwen2.5-VL's only the last layer looks past windows.

    Qwen3-VL's gives every layer's features but the last one's beside those of the last, and has Qwen2-VL's patches: the published
    ones are of 16 pixels.
    """
    shared: dict[str, object] = {"depth": spec.tower_layers, "num_heads": spec.tower_heads, "initializer_range": spec.spread}
    if spec.family == "qwen2_vl":
        return shared | {"embed_dim": spec.tower_dim, "hidden_size": spec.hidden, "mlp_ratio": 2}
    sizes = {"hidden_size": spec.tower_dim, "intermediate_size": 2 * spec.tower_dim, "out_hidden_size": spec.hidden}
    if spec.family == "qwen3_vl":
        levels = list(range(spec.tower_layers - 1)) or [0]
        return shared | sizes | {"patch_size": 14, "num_position_embeddings": 36, "deepstack_visual_indexes": levels}
    return (
        shared
        | sizes
        | {
            "window_size": WINDOW_PIXELS,
            "fullatt_block_indexes": [spec.tower_layers - 1],
        }
    )
