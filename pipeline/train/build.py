"""From a recipe and a model folder to an Embedder: weights, compression rows, adapters, and what is trained."""

from pathlib import Path

import torch

from pipeline.model.backbone import Backbone, Folder, load_weights, open_folder
from pipeline.model.compression import make_bank
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}


def chorus_ids(folder: Folder, recipe: Recipe) -> tuple[int, ...]:
    """Ids of the compression tokens in a model folder; none where the layout has no such tokens."""
    return recipe.tokens.ids(folder.vocab_size, len(folder.tokenizer))


def build_embedder(path: Path, recipe: Recipe, *, dtype: torch.dtype) -> tuple[Embedder, Folder]:
    """The model of a recipe, on the CPU, with exactly the recipe's weights marked for training."""
    folder = open_folder(path)
    ids = chorus_ids(folder, recipe)
    backbone = Backbone(load_weights(path, dtype=dtype))
    table = backbone.text.embed_tokens.weight
    generator = torch.Generator().manual_seed(recipe.seed)
    bank = make_bank(recipe.tokens.rows(table, folder.vocabulary(ids).im_end, generator), ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # adapters and poolings draw their start from torch's own generator
        recipe.adapter.apply(backbone.text, backbone.model.lm_head)
        pooling = recipe.pooling.build(backbone.width)
    recipe.tokens.mark(bank, table)
    backbone.tower.requires_grad_(recipe.tower == "trained")
    return Embedder(backbone, bank, pooling, folder.cutter), folder
