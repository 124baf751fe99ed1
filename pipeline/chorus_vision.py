"""Pictures of an exported model: placeholders in its rows, and fewer visual tokens than its own code would make.

`crem export` copies this file into the folder, where chorus_input.py and the lines of docs/export.md read pictures with it. The
rules are those of training (pipeline/visual_tokens.py, pipeline/model/shrinkers.py).
"""

import math
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from types import SimpleNamespace
from typing import Any

import torch
from torch.nn.functional import adaptive_avg_pool2d, interpolate


def picture_ids(seen: dict[str, Any], number: int, config: Any, tokenizer: Any, factor: float) -> list[int]:
    """Token ids of a picture, by its number among those that the model's image processor has `seen`."""
    if "num_patches" in seen:  # InternVL's tiles
        side = config.vision_config.image_size[0] // config.vision_config.patch_size[0]
        grid, merge = [int(seen["num_patches"][number]), side, side], round(1 / config.downsample_ratio)
        marks = tokenizer.convert_tokens_to_ids(["<img>", "</img>"])
    else:
        grid, merge = seen["image_grid_thw"][number].tolist(), config.vision_config.spatial_merge_size
        marks = [config.vision_start_token_id, config.vision_end_token_id]
    return [marks[0], *[config.image_token_id] * math.prod(_left(grid, merge, factor)), marks[1]]


def model_inputs(model: Any, features: dict[str, Any], vision: str, factor: float) -> dict[str, Any]:
    """What `model.model` takes of `features`, with pictures through its tower where fewer visual tokens are left of them."""
    inner, inputs, shrinks = model.model, dict(features), vision != "KeepAll" and "pixel_values" in features
    if hasattr(inner, "vision_tower"):
        inputs = {name: value for name, value in inputs.items() if name not in ("num_patches", "mm_token_type_ids")}
        if shrinks:
            inputs["mm_encoder_outputs"] = {"image": _see_tiles(inner, inputs.pop("pixel_values"), vision, factor)}
    elif shrinks:
        pictures = inputs.pop("pixel_values"), inputs["image_grid_thw"]
        output, inputs["image_grid_thw"] = _see(inner, *pictures, vision, factor)
        inputs["mm_encoder_outputs"] = {"image": output}
    return inputs


def _left(grid: Sequence[int], merge: int, factor: float) -> list[int]:
    """Frames, rows and columns of visual tokens that are left of a picture of a grid of patches."""
    frames, *sides = grid
    return [frames, *(max(1, math.floor(side // merge / factor + 0.5)) for side in sides)]


def _see(inner: Any, pixels: torch.Tensor, grids: torch.Tensor, vision: str, factor: float) -> tuple[Any, torch.Tensor]:
    """Features of pictures of grids (I, 3), all levels of them, and the grids that have as many visual tokens."""
    tower, merge = inner.visual, int(inner.visual.spatial_merge_size)
    mergers = [tower.merger, *getattr(tower, "deepstack_merger_list", ())]
    with _unmerged(mergers, merge):
        output = tower(pixels.type(tower.dtype), grid_thw=grids)
    left = torch.tensor([_left(grid, merge, factor) for grid in grids.tolist()]) * torch.tensor([1, merge, merge])
    levels = [output.pooler_output, *(getattr(output, "deepstack_features", None) or ())]
    merged = [merger(_shrunk(each, grids, left, merge, vision)) for merger, each in zip(mergers, levels, strict=True)]
    output.pooler_output = [merged[0]]
    if len(merged) > 1:
        output.deepstack_features = [[each] for each in merged[1:]]
    return output, left


@contextmanager
def _unmerged(mergers: Sequence[Any], merge: int) -> Iterator[None]:
    """While it lasts, mergers hand on the patches of each visual token side by side."""
    for merger in mergers:
        merger.forward = lambda states: states.reshape(len(states) // merge**2, -1)
    try:
        yield
    finally:
        for merger in mergers:
            del merger.forward


def _shrunk(tokens: torch.Tensor, grids: torch.Tensor, left: torch.Tensor, merge: int, vision: str) -> torch.Tensor:
    """Patches side by side in their tokens (P / merge^2, merge^2 C) -> patches that are left (P', C), in merge order."""
    parts, start = [], 0
    for (frames, rows, columns), (_, *size) in zip(grids.tolist(), left.tolist(), strict=True):
        count = frames * (rows // merge) * (columns // merge)
        cut = tokens[start : start + count].reshape(frames, rows // merge, columns // merge, merge, merge, -1)
        small = _resized(cut.permute(0, 5, 1, 3, 2, 4).reshape(frames, -1, rows, columns), size, vision)
        cut = small.reshape(frames, -1, size[0] // merge, merge, size[1] // merge, merge).permute(0, 2, 4, 3, 5, 1)
        parts.append(cut.reshape(frames * size[0] * size[1], -1))
        start += count
    return torch.cat(parts)


def _see_tiles(inner: Any, pixels: torch.Tensor, vision: str, factor: float) -> Any:
    """Features of InternVL's tiles: shrunk between its tower and its pixel shuffle."""
    states = inner.vision_tower(pixel_values=pixels.to(inner.dtype)).last_hidden_state[:, 1:]
    side, merge = math.isqrt(states.shape[1]), round(1 / inner.config.downsample_ratio)
    size = [each * merge for each in _left((1, side, side), merge, factor)[1:]]
    small = _resized(states.transpose(1, 2).reshape(len(states), -1, side, side), size, vision)
    shuffled = inner.pixel_shuffle(small.permute(0, 2, 3, 1).contiguous(), scale_factor=inner.config.downsample_ratio)
    return SimpleNamespace(pooler_output=inner.multi_modal_projector(shuffled.flatten(1, 2)))


def _resized(planes: torch.Tensor, size: list[int], vision: str) -> torch.Tensor:
    """(I, C, H, W) -> (I, C, *size), computed in float32."""
    if vision == "AveragePool":
        return adaptive_avg_pool2d(planes.float(), (size[0], size[1])).to(planes.dtype)
    return interpolate(planes.float(), size=size, mode="bilinear", align_corners=False).to(planes.dtype)
