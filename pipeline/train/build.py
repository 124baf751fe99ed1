"""From a recipe and a model folder to an Embedder: weights, compression rows, adapters, and what is trained."""

from pathlib import Path

import torch

from pipeline.model.backbone import Backbone, Folder, load_weights, open_folder
from pipeline.model.compression import TokenBank
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chorus_ids(folder: Folder, recipe: Recipe) -> tuple[int, ...]:
    """Ids of the compression tokens in a model folder: its spare rows."""
    return recipe.tokens.ids(folder.vocab_size, len(folder.tokenizer))


def build_embedder(path: Path, recipe: Recipe, *, dtype: torch.dtype) -> tuple[Embedder, Folder]:
    """The model of a recipe, on the CPU, with exactly the recipe's weights marked for training."""
    folder = open_folder(path)
    backbone = Backbone(load_weights(path, dtype=dtype))
    ids = chorus_ids(folder, recipe)
    generator = torch.Generator().manual_seed(recipe.seed)
    eos = folder.vocabulary(ids).im_end
    with torch.no_grad():
        rows = recipe.tokens.rows(backbone.text.embed_tokens.weight, eos, generator)
    recipe.adapter.apply(backbone.text, backbone.model.lm_head)
    backbone.tower.requires_grad_(recipe.tower == "trained")
    return Embedder(backbone, TokenBank(rows, ids[0]), recipe.pooling, folder.cutter), folder
