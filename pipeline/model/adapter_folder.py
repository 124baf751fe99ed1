"""A published adapter as PEFT writes it (LoRA, DoRA), added to the weights of the model that it belongs to.

Only `adapter_config.json` and `adapter_model.safetensors` are read. Every tensor must find its weight: an adapter that is half
applied embeds without a word of complaint, and wrong.
"""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file

from pipeline.errors import CheckpointError
from pipeline.model.adapters import MAGNITUDE, merge

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
FILES = (CONFIG, WEIGHTS)

_PREFIX = "base_model.model."
_PART = re.compile(rf"(?P<layer>.+)\.(?P<part>lora_[AB]\.weight|{re.escape(MAGNITUDE[1:])}(\.weight)?)")


def base_of(folder: Path) -> str:
    """What an adapter calls the model that it belongs to: a path or the name of a published one."""
    return str(_config(folder).get("base_model_name_or_path") or "")


def merge_folder(model: Any, folder: Path) -> None:
    """Add the adapter of a folder to a whole model's weights, in place: W + alpha / r * B A; DoRA with its lengths.

    Names may be those of before transformers 4.52 (`model.layers`, `visual`). Raises CheckpointError where the folder is not such
    an adapter, or a tensor of it has no place in the model.
    """
    from peft import LoraConfig, inject_adapter_in_model

    config, tensors = _config(folder), _tensors(folder)
    parts: dict[str, torch.Tensor] = {}
    layers: dict[str, str] = {}
    known = dict(model.named_modules())
    for name, value in tensors.items():
        match = _PART.fullmatch(name.removeprefix(_PREFIX))
        layer = _place(match["layer"], known) if match else None
        if match is None or layer is None:
            raise CheckpointError(f"{folder}: {name} of the adapter has no place in the model; name the right --base")
        layers[layer] = match["layer"]
        parts[f"{layer}.{_own_part(match['part'])}"] = value
    fields = {name: config[name] for name in ("r", "lora_alpha", "use_dora", "use_rslora", "fan_in_fan_out") if name in config}
    patterns = {name: _patterns(config.get(name) or {}, layers) for name in ("rank_pattern", "alpha_pattern")}
    inject_adapter_in_model(LoraConfig(target_modules=sorted(layers), **patterns, **fields), model)
    state = {name: value for name, value in model.state_dict().items() if ".lora_" in name}
    if {name: value.shape for name, value in state.items()} != {name: value.shape for name, value in parts.items()}:
        wrong = sorted(set(state) ^ set(parts)) or [name for name in sorted(parts) if state[name].shape != parts[name].shape]
        raise CheckpointError(f"{folder}: {wrong[0]} is missing, or not of the model's shape; name the right --base")
    with torch.no_grad():
        for name, value in parts.items():
            state[name].copy_(value)
    merge(model)


def _config(folder: Path) -> dict[str, Any]:
    try:
        config: dict[str, Any] = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind = config["peft_type"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: {CONFIG} cannot be read ({type(error).__name__}); download the adapter again"
        ) from error
    if kind != "LORA" or config.get("bias", "none") != "none" or config.get("modules_to_save"):
        raise CheckpointError(f"{folder}: only LoRA and DoRA without biases and further weights can be merged; merge it yourself")
    return config


def _tensors(folder: Path) -> Mapping[str, torch.Tensor]:
    if not (folder / WEIGHTS).is_file():
        raise CheckpointError(f"{folder}: no {WEIGHTS}; other forms of weights are not read, save it as safetensors")
    try:
        tensors: dict[str, torch.Tensor] = load_file(folder / WEIGHTS)
    except Exception as error:  # safetensors has a class of its own for a damaged file
        raise CheckpointError(f"{folder}: {WEIGHTS} is damaged ({error}); download it again") from error
    return tensors


def _place(layer: str, known: Mapping[str, object]) -> str | None:
    """The module that an adapter's file means: by its name of today or of before."""
    older = layer.replace("model.layers.", "model.language_model.layers.", 1)
    names = (layer, older, f"model.{layer}", f"model.language_model.{layer}")
    return next((name for name in names if name in known), None)


def _own_part(part: str) -> str:
    """A part's name in a file as it is in a model with an adapter called default."""
    return f"{MAGNITUDE[1:]}.default.weight" if part.startswith(MAGNITUDE[1:]) else part.replace(".weight", ".default.weight")


def _patterns(given: Mapping[str, int], layers: Mapping[str, str]) -> dict[str, int]:
    """Ranks or alphas by layer: a key is a layer's whole name, its end, or an expression for either, as PEFT reads it."""
    found = {}
    for layer, named in layers.items():
        for key, value in given.items():
            if re.match(rf"(.*\.)?({key})$", named) or re.match(rf"(.*\.)?({key})$", layer):
                found[layer] = value
                break
    return found
