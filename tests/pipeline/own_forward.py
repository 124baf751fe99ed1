"""transformers' own forward of a whole model, on one row: its features, placeholders, positions, layers and mask."""

from typing import Any

import torch

from pipeline.batch import Row
from pipeline.model.embedder import Embedder


def own_states(embedder: Embedder, row: Row) -> torch.Tensor:
    """Final states (T, D) of a row from which nothing is hidden."""
    states: torch.Tensor = _own_output(embedder, row).last_hidden_state[0]
    return states


def own_attentions(embedder: Embedder, row: Row) -> list[torch.Tensor]:
    """Attention weights (H, T, T) of every layer over a row from which nothing is hidden."""
    return [layer[0] for layer in _own_output(embedder, row, output_attentions=True).attentions]


@torch.no_grad()
def _own_output(embedder: Embedder, row: Row, **asked: bool) -> Any:
    """What an eager copy makes of a row; its table holds the compression rows."""
    model = embedder.backbone.model
    copy: Any = type(model)(type(model.config).from_dict(model.config.to_dict()))
    copy.load_state_dict(model.state_dict())
    copy.set_attn_implementation("eager")
    ids = torch.from_numpy(row.sequence.input_ids)
    table = copy.get_input_embeddings().weight
    table[ids] = embedder.bank(ids, table[ids])
    given: dict[str, Any] = dict(asked)
    if row.pixels:
        inputs = torch.cat([embedder.cutter(torch.from_numpy(picture)[None]) for picture in row.pixels])
        given["pixel_values"] = inputs
    if row.pixels and embedder.backbone.family.rule == "mrope":
        given["image_grid_thw"] = torch.from_numpy(row.sequence.grid_thw)
        given["mm_token_type_ids"] = (ids == copy.config.image_token_id).int()[None]
    return copy.model(input_ids=ids[None], **given, use_cache=False)
