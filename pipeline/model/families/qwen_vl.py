"""Qwen2-VL and Qwen2.5-VL: one grid a picture, a tower of patches in 2 x 2 merge order, a merger at its end, M-RoPE.

What Qwen2.5-VL does otherwise stays behind its class: most layers of its tower attend inside of windows, which reach our
attention function as more and shorter sequences than pictures; norms, MLPs and the spacing of a video's frames are its own.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import nn
from transformers import Qwen2_5_VLForConditionalGeneration, Qwen2VLForConditionalGeneration

from pipeline.model.families.family import Applied, Family, TowerShape
from pipeline.model.inputs import PatchCutter, PixelLimits
from pipeline.model.shrinkers import Shrinker, shrink_patches
from pipeline.model.tiles import Tiles

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)


class Qwen2VL(Family):
    """Every layer of the tower sees whole pictures."""

    title = "Qwen2-VL"
    model_class = Qwen2VLForConditionalGeneration

    def cutter(self, settings: Mapping[str, Any], config: Any) -> PatchCutter:
        """By preprocessor_config.json; CLIP's values, as Qwen2-VL has them, where a folder has none."""
        return PatchCutter(
            mean=tuple(settings.get("image_mean", CLIP_MEAN)),
            std=tuple(settings.get("image_std", CLIP_STD)),
            patch=settings.get("patch_size", config.vision_config.patch_size),
            merge=settings.get("merge_size", config.vision_config.spatial_merge_size),
            temporal=settings.get("temporal_patch_size", 2),
        )

    def tower(self, model: Any) -> nn.Module:
        """Blocks and merger."""
        tower: nn.Module = model.model.visual
        return tower

    def take_tower(self, model: Any) -> nn.Module:
        """Blocks and merger."""
        tower, model.model.visual = self.tower(model), None
        return tower

    def use_attention(self, model: Any, *, text: str, vision: str) -> None:
        """Both configs name their function."""
        model.model.language_model.config._attn_implementation = text
        model.model.visual.config._attn_implementation = vision

    def features(self, tower: Any, inputs: torch.Tensor, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """Visual tokens (V, levels * D) of patches (P, C)."""
        return self._see(tower, inputs, grid_thw, shrinker)

    def outline(self, tower: Any, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """The tower reads the grids' numbers; what it would make of them for each patch is given."""
        weight, num_patches = tower.patch_embed.proj.weight, int(grid_thw.prod(dim=-1).sum())
        patches = torch.empty(num_patches, weight[0].numel(), dtype=weight.dtype, device=weight.device)
        return self._see(tower, patches, grid_thw, shrinker, **self._places(num_patches, weight.device))

    def _places(self, num_patches: int, device: torch.device) -> dict[str, torch.Tensor]:
        """What the tower computes of grids, for patches that stand nowhere."""
        return {"position_ids": torch.empty(num_patches, 2, dtype=torch.int64, device=device)}

    def _mergers(self, tower: Any) -> list[Any]:
        """What makes visual tokens of patches, a level each."""
        return [tower.merger]

    def _levels(self, output: Any) -> list[torch.Tensor]:
        """What the mergers gave."""
        return [output.pooler_output]

    def _see(self, tower: Any, patches: torch.Tensor, grid_thw: torch.Tensor, shrinker: Shrinker, **more: Any) -> torch.Tensor:
        """Visual tokens; with a shrinker, the mergers see what it leaves of the patches."""
        if shrinker.keeps_all:
            return _beside(self._levels(tower(patches, grid_thw=grid_thw, **more)))
        merge, mergers = int(tower.spatial_merge_size), self._mergers(tower)
        with unmerged(*mergers, merge=merge):
            tokens = self._levels(tower(patches, grid_thw=grid_thw, **more))
        states = [level.reshape(len(level) * merge**2, -1) for level in tokens]
        left = [shrink_patches(level, grid_thw, merge, shrinker) for level in states]
        return _beside([merger(level) for merger, level in zip(mergers, left, strict=True)])

    def shape(self, tower: Any) -> TowerShape:
        """No windows."""
        layers = len(tower.blocks)
        return TowerShape(layers=layers, whole=layers, width=int(tower.blocks[0].attn.qkv.in_features))

    def applied(self, name: str) -> Applied:
        """The merger sees merge x merge patches at once."""
        if name.startswith("blocks."):
            return "layer"
        if name.startswith("merger."):
            return "token"
        return "pixels"

    def exported_settings(self, cutter: Any, limits: PixelLimits | Tiles) -> dict[str, Any]:
        """The limits under their old and new names."""
        least, most = (tokens * limits.factor**2 for tokens in (limits.min_tokens, limits.max_tokens))
        return {
            "image_processor_type": "Qwen2VLImageProcessor",
            "image_mean": list(cutter.mean),
            "image_std": list(cutter.std),
            "patch_size": cutter.patch,
            "merge_size": cutter.merge,
            "temporal_patch_size": cutter.temporal,
            "min_pixels": least,
            "max_pixels": most,
            "size": {"shortest_edge": least, "longest_edge": most},
        }


class Qwen25VL(Qwen2VL):
    """Few layers of the tower see whole pictures, the others windows."""

    title = "Qwen2.5-VL"
    model_class = Qwen2_5_VLForConditionalGeneration

    def shape(self, tower: Any) -> TowerShape:
        """A window's side is given in pixels."""
        config, merge = tower.config, int(tower.spatial_merge_size)
        return TowerShape(
            layers=len(tower.blocks),
            whole=len(config.fullatt_block_indexes),
            width=int(tower.blocks[0].attn.qkv.in_features),
            window=int(config.window_size // merge // config.patch_size * merge),
        )


def _beside(levels: list[torch.Tensor]) -> torch.Tensor:
    """Levels (V, D) side by side; one alone as it is."""
    return torch.cat(levels, dim=1) if len(levels) > 1 else levels[0]


@contextmanager
def unmerged(*mergers: nn.Module, merge: int) -> Iterator[None]:
    """While it lasts, a tower's mergers hand on the patches (P, C) of each visual token side by side, (P / merge^2, merge^2 C).

    So the tower's own order of tokens comes back as without it: Qwen2.5-VL takes its windows apart behind the merger.
    """
    for merger in mergers:
        merger.forward = lambda states: states.reshape(len(states) // merge**2, -1)
    try:
        yield
    finally:
        for merger in mergers:
            del merger.forward
