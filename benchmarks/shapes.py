"""The shapes of the published Qwen2-VL models as folders that hold a config alone."""

import json
from pathlib import Path
from typing import Any

_SHAPES: dict[str, dict[str, Any]] = {
    "2b": {"hidden_size": 1536, "intermediate_size": 8960, "num_attention_heads": 12, "num_key_value_heads": 2},
    "7b": {"hidden_size": 3584, "intermediate_size": 18944, "num_attention_heads": 28, "num_key_value_heads": 4},
}
_VOCABULARIES = {"2b": 151_936, "7b": 152_064}


def config_folder(folder: Path, size: str) -> Path:
    """Write the config.json of Qwen2-VL `size` ("2b" or "7b"), in the flat form of the published folders."""
    config = _SHAPES[size] | {
        "architectures": ["Qwen2VLForConditionalGeneration"],
        "model_type": "qwen2_vl",
        "num_hidden_layers": 28,
        "hidden_act": "silu",
        "rms_norm_eps": 1e-6,
        "rope_theta": 1_000_000.0,
        "rope_scaling": {"type": "mrope", "mrope_section": [16, 24, 24]},
        "tie_word_embeddings": size == "2b",
        "torch_dtype": "bfloat16",
        "use_sliding_window": False,
        "vocab_size": _VOCABULARIES[size],
        "vision_start_token_id": 151_652,
        "vision_end_token_id": 151_653,
        "image_token_id": 151_655,
        "video_token_id": 151_656,
        "vision_config": {
            "depth": 32,
            "embed_dim": 1280,
            "mlp_ratio": 4,
            "num_heads": 16,
            "hidden_size": _SHAPES[size]["hidden_size"],
            "patch_size": 14,
            "spatial_merge_size": 2,
            "temporal_patch_size": 2,
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    return folder
