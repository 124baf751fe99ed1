"""InternVL3 in transformers' own layout (folders whose names end in -hf): tiles, a projector behind a pixel shuffle, positions
that count up.

A tile's patches enter the tower with one more token, which is dropped. What is left of them is shuffled, 2 x 2 patches into the
width of one, and projected. A shrinker acts before the shuffle: 32 x 32 patches to 16 x 16 are 64 visual tokens of 256.
"""

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn
from transformers import InternVLForConditionalGeneration, InternVLModel

from pipeline.errors import CheckpointError
from pipeline.model.families.family import Applied, Family, Markers, TowerShape
from pipeline.model.inputs import PixelLimits
from pipeline.model.shrinkers import Shrinker
from pipeline.model.tiles import TileCutter, Tiles, settings_of
from pipeline.visual_tokens import VisualTokens

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)


class TileTower(nn.Module):
    """Tower and projector, which stand apart in the model, as one."""

    def __init__(self, vision_tower: nn.Module, projector: nn.Module, merge: int) -> None:
        super().__init__()
        self.vision_tower, self.projector, self.merge = vision_tower, projector, merge

    def forward(self, tiles: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """Visual tokens (V, D) of tiles (I, 3, side, side)."""
        states = self.vision_tower(pixel_values=tiles).last_hidden_state[:, 1:]
        side = round(states.shape[1] ** 0.5)
        planes = states.reshape(len(states), side, side, -1)
        if not shrinker.keeps_all:
            left = int(VisualTokens(merge=self.merge, shrinker=shrinker).grids([(1, side, side)])[0, 1]) * self.merge
            planes = shrinker(planes.permute(0, 3, 1, 2).float(), (left, left)).to(states.dtype).permute(0, 2, 3, 1).contiguous()
        shuffled = InternVLModel.pixel_shuffle(self, planes, scale_factor=1 / self.merge)
        features: torch.Tensor = self.projector(shuffled.flatten(1, 2)).flatten(0, 1)
        return features


class InternVL(Family):
    """A tower of tiles."""

    title = "InternVL3 (-hf)"
    model_class = InternVLForConditionalGeneration
    rule = "text"
    markers = Markers(vision_start="<img>", vision_end="</img>", image_pad="<IMG_CONTEXT>")

    def check(self, config: Any, where: object) -> None:
        """Raise CheckpointError for settings that no published folder has."""
        if config.vision_feature_layer != -1 or config.vision_feature_select_strategy != "default":
            raise CheckpointError(f"{where}: its features are not the last layer's patches; take another model")

    def cutter(self, settings: Mapping[str, Any], config: Any) -> TileCutter:
        """By preprocessor_config.json; ImageNet's values, as InternVL has them, where a folder has none."""
        return TileCutter(
            mean=tuple(settings.get("image_mean", IMAGENET_MEAN)),
            std=tuple(settings.get("image_std", IMAGENET_STD)),
            patch=int(config.vision_config.patch_size[0]),
            merge=round(1 / config.downsample_ratio),
            side=int(config.vision_config.image_size[0]),
        )

    def tower(self, model: Any) -> nn.Module:
        """Tower and projector; the weights keep their places in the model."""
        return TileTower(model.model.vision_tower, model.model.multi_modal_projector, round(1 / model.config.downsample_ratio))

    def take_tower(self, model: Any) -> nn.Module:
        """Both are taken out."""
        tower = self.tower(model)
        model.model.vision_tower = model.model.multi_modal_projector = None
        return tower

    def use_attention(self, model: Any, *, text: str, vision: str) -> None:
        """Both configs name their function."""
        model.model.language_model.config._attn_implementation = text
        model.model.vision_tower.config._attn_implementation = vision

    def features(self, tower: Any, inputs: torch.Tensor, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """Visual tokens (V, D) of tiles (I, 3, side, side); what a picture's tiles are, its grid says elsewhere."""
        features: torch.Tensor = tower(inputs, shrinker)
        return features

    def outline(self, tower: Any, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """As many tiles as the grids have."""
        embeddings = tower.vision_tower.embeddings.patch_embeddings
        weight, count = embeddings.projection.weight, int(grid_thw[:, 0].sum())
        return self.features(
            tower, torch.empty(count, 3, *embeddings.image_size, dtype=weight.dtype, device=weight.device), grid_thw, shrinker
        )

    def shape(self, tower: Any) -> TowerShape:
        """A tile has one more token."""
        config = tower.vision_tower.config
        return TowerShape(layers=config.num_hidden_layers, whole=config.num_hidden_layers, width=int(config.hidden_size), extra=1)

    def applied(self, name: str) -> Applied:
        """Positions and the further token are added, not multiplied."""
        if name.startswith("projector."):
            return "token"
        if name.startswith("vision_tower.encoder."):
            return "layer"
        return "pixels" if ".patch_embeddings." in name else "nothing"

    def exported_settings(self, cutter: Any, limits: PixelLimits | Tiles) -> dict[str, Any]:
        """Tiles and their number."""
        assert isinstance(limits, Tiles), "build_embedder refused others"
        return settings_of(cutter, limits)
