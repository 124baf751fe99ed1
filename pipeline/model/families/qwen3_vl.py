"""Qwen3-VL: patches of 16 pixels, and features of some of the tower's layers beside those of its last one (deepstack).

Each further level is added to the language model's states behind one of its first layers, at the places of visual tokens. Whoever
calls that model with ready embeddings must hand them over, or pictures are poorer without a word.
"""

from typing import Any

import torch
from transformers import Qwen3VLForConditionalGeneration

from pipeline.model.families.family import Applied, TowerShape
from pipeline.model.families.qwen_vl import Qwen2VL


class Qwen3VL(Qwen2VL):
    """A merger a level; positions in the tower are interpolated from a learned grid."""

    title = "Qwen3-VL"
    model_class = Qwen3VLForConditionalGeneration

    def deeper(self, length: int, places: torch.Tensor, levels: tuple[torch.Tensor, ...]) -> dict[str, Any]:
        """A mask of the visual tokens, and the levels."""
        mask = torch.zeros(1, length, dtype=torch.bool, device=places.device)
        mask[0, places] = True
        return {"visual_pos_masks": mask, "deepstack_visual_embeds": list(levels)}

    def shape(self, tower: Any) -> TowerShape:
        """No windows, and a level for each merger."""
        layers, levels = len(tower.blocks), 1 + len(tower.deepstack_merger_list)
        return TowerShape(layers=layers, whole=layers, width=int(tower.blocks[0].attn.qkv.in_features), levels=levels)

    def applied(self, name: str) -> Applied:
        """The learned grid of positions is looked up, not multiplied."""
        if name.startswith("deepstack_merger_list."):
            return "token"
        return "nothing" if name.startswith("pos_embed.") else super().applied(name)

    def _places(self, num_patches: int, device: torch.device) -> dict[str, torch.Tensor]:
        return {
            **super()._places(num_patches, device),
            "interp_indices": torch.empty(num_patches, 4, dtype=torch.int64, device=device),
            "interp_weights": torch.empty(num_patches, 4, device=device),
        }

    def _mergers(self, tower: Any) -> list[Any]:
        return [tower.merger, *tower.deepstack_merger_list]

    def _levels(self, output: Any) -> list[torch.Tensor]:
        return [output.pooler_output, *output.deepstack_features]
