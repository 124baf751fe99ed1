"""The families of models, by the `model_type` of a folder's config.json."""

import json
from pathlib import Path
from typing import Any

from transformers import AutoConfig, PreTrainedConfig

from pipeline.errors import CheckpointError
from pipeline.model.families.family import Family
from pipeline.model.families.internvl import InternVL
from pipeline.model.families.qwen3_vl import Qwen3VL
from pipeline.model.families.qwen_vl import Qwen2VL, Qwen25VL

FAMILIES: dict[str, Family] = {"qwen2_vl": Qwen2VL(), "qwen2_5_vl": Qwen25VL(), "qwen3_vl": Qwen3VL(), "internvl": InternVL()}

TITLES = " or ".join(family.title for family in FAMILIES.values())
"""All of them in words."""


def family_of(config: PreTrainedConfig) -> Family:
    """The family of a model's config."""
    return FAMILIES[config.model_type]


def read_config(path: Path) -> PreTrainedConfig:
    """config.json of a model folder of one of the families. Raises CheckpointError for any other folder."""
    if not (path / "config.json").is_file():
        raise CheckpointError(f"{path}: no config.json in it; give a Hugging Face folder of a {TITLES} model")
    if "auto_map" in _plain(path / "config.json"):
        raise CheckpointError(
            f"{path}: its config.json wants code of the folder's own to run (auto_map), which is not done here; "
            "of InternVL3, take a folder whose name ends in -hf"
        )
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(path, local_files_only=True)
    except (ValueError, OSError) as error:
        raise CheckpointError(f"{path}: {str(error).splitlines()[0]}") from error
    if config.model_type not in FAMILIES:
        raise CheckpointError(f"{path}: model type {config.model_type!r} is not one of {', '.join(FAMILIES)}")
    return config


def _plain(path: Path) -> dict[str, Any]:
    """A config as JSON. Raises CheckpointError where it is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise CheckpointError(f"{path}: no JSON ({error}); download the folder again") from error
    return found if isinstance(found, dict) else {}
