"""The slow, plain definition of masked attention: one row at a time through transformers' own eager model, with a 4-D mask.

Nothing of the split into causal attentions, of packing or of our positions is used here.
"""

from typing import Any

import torch
from torch import nn

from pipeline.batch import Row
from pipeline.model.embedder import Embedder
from pipeline.roles import Layout


def dense_mask(row: Row, layout: Layout) -> torch.Tensor:
    """Eq. 2 entry by entry, (T, T) bool: causal, and in a compressed row no query of a hidden pair sees its keys."""
    roles = row.sequence.roles
    mask = torch.zeros(len(roles), len(roles), dtype=torch.bool)
    for i in range(len(roles)):
        for j in range(i + 1):
            hidden = any(roles[i] in hide.queries and roles[j] in hide.keys for hide in layout.hidden)
            mask[i, j] = not (row.compressed and hidden)
    return mask


class DenseModel:
    """An eager copy of an embedder's model, for rows that are not packed."""

    def __init__(self, embedder: Embedder) -> None:
        model = embedder.backbone.model
        self.embedder = embedder
        self.model: Any = type(model)(type(model.config).from_dict(model.config.to_dict()))
        self.model.load_state_dict(model.state_dict())
        self.model.set_attn_implementation("eager")

    @property
    def text(self) -> nn.Module:
        """The language model without its head."""
        text: nn.Module = self.model.model.language_model
        return text

    @torch.no_grad()
    def embeddings(self, row: Row) -> torch.Tensor:
        """What enters the language model, (T, D): words, compression rows, features of each picture by itself."""
        ids = torch.from_numpy(row.sequence.input_ids)
        embeddings = self.embedder.bank(ids, self.model.model.language_model.embed_tokens(ids))
        parts = [seen.pooler_output for seen in self._seen(row)]
        if parts:
            embeddings[ids == self.model.config.image_token_id] = torch.cat(parts)
        return embeddings

    @torch.no_grad()
    def _seen(self, row: Row) -> list[Any]:
        """What the tower makes of each picture by itself."""
        grids = torch.from_numpy(row.sequence.grid_thw)
        return [
            self.model.model.visual(self.embedder.cutter(torch.from_numpy(picture)[None]), grid_thw=grid[None])
            for picture, grid in zip(row.pixels, grids, strict=True)
        ]

    def _deeper(self, row: Row, ids: torch.Tensor) -> dict[str, Any]:
        """Further levels of features, where the family has some."""
        if not row.pixels or not hasattr(self.model.model.visual, "deepstack_merger_list"):
            return {}
        seen = self._seen(row)
        levels = zip(*(each.deepstack_features for each in seen), strict=True)
        mask = ids == self.model.config.image_token_id
        return {"visual_pos_masks": mask, "deepstack_visual_embeds": [torch.cat(level) for level in levels]}

    def states(self, row: Row, layout: Layout, embeddings: torch.Tensor) -> torch.Tensor:
        """Hidden states (T, D) of a row from what enters the language model."""
        ids = torch.from_numpy(row.sequence.input_ids)[None]
        grids = torch.from_numpy(row.sequence.grid_thw) if len(row.sequence.grid_thw) else None
        positions, _ = self.model.model.get_rope_index(ids, (ids == self.model.config.image_token_id).int(), grids)
        additive = torch.where(dense_mask(row, layout), 0.0, torch.finfo(torch.float32).min)[None, None]
        # Qwen3-VL's language model takes a mask alone, Qwen2-VL's one for each sort of layer.
        deeper = self._deeper(row, ids)
        mask = additive if hasattr(self.model.model.visual, "deepstack_merger_list") else {"full_attention": additive}
        output = self.text(inputs_embeds=embeddings[None], position_ids=positions, attention_mask=mask, **deeper)
        states: torch.Tensor = output.last_hidden_state[0]
        return states
