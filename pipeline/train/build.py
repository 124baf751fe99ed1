"""From a recipe and a model folder to an Embedder: weights, compression rows, adapters, and what is trained."""

import sys
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.errors import CheckpointError, ConfigError
from pipeline.model.adapters import attach
from pipeline.model.backbone import Backbone, Folder, load_weights, open_folder
from pipeline.model.compression import make_bank
from pipeline.model.embedder import Embedder
from pipeline.model.tiles import Tiles
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder

DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16}

OWN_WEIGHTS = "start.safetensors"
"""In a model folder: compression rows and the pooling's weights, which no model of the family has, in float32."""


def chorus_ids(folder: Folder, recipe: Recipe) -> tuple[int, ...]:
    """Ids of the compression tokens in a model folder; none where the layout has no such tokens."""
    return recipe.tokens.ids(folder.vocab_size, len(folder.tokenizer))


def sequence_builder(folder: Folder, recipe: Recipe, chorus: tuple[int, ...] | None = None) -> SequenceBuilder:
    """What writes a recipe's rows, of any length; `chorus` are the compression tokens' ids where the folder does not decide."""
    vocabulary = folder.vocabulary(chorus_ids(folder, recipe) if chorus is None else chorus, recipe.vision)
    return SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=sys.maxsize)


def refuse_other_patches(folder: Folder, recipe: Recipe) -> None:
    """Raise ConfigError where a recipe resizes pictures for other patches than the model's."""
    rule = "Tiles" if folder.cutter.tiles else "PixelLimits"
    if type(recipe.pixels).__name__ != rule:
        raise ConfigError(f"pixels: {type(recipe.pixels).__name__}, and {folder.path} is shown {rule}; --set pixels={rule}")
    if isinstance(recipe.pixels, Tiles) and recipe.pixels.side != folder.cutter.side:
        side = folder.cutter.side
        raise ConfigError(f"pixels.side: {recipe.pixels.side}, and {folder.path} sees tiles of {side}; --set pixels.side={side}")
    for name in ("patch", "merge"):
        ours, theirs = getattr(recipe.pixels, name), getattr(folder.cutter, name)
        if ours != theirs:
            what = f"cuts patches of {theirs} pixels" if name == "patch" else f"merges {theirs} x {theirs} patches"
            raise ConfigError(f"pixels.{name}: {ours}, and {folder.path} {what}; --set pixels.{name}={theirs}")


def build_embedder(
    path: Path, recipe: Recipe, *, dtype: torch.dtype, chorus: tuple[int, ...] | None = None, needs_head: bool = True
) -> tuple[Embedder, Folder]:
    """The model of a recipe, on the CPU, with exactly the recipe's weights marked for training.

    `chorus` are the ids of the compression tokens where the folder has them already. Only a model that writes `needs_head`.
    """
    folder = open_folder(path)
    refuse_other_patches(folder, recipe)
    ids = chorus_ids(folder, recipe) if chorus is None else chorus
    backbone = Backbone(load_weights(path, dtype=dtype, needs_head=needs_head), recipe.vision)
    table = backbone.text.embed_tokens.weight
    generator = torch.Generator().manual_seed(recipe.seed)
    bank = make_bank(recipe.tokens.rows(table, ids, folder.vocabulary(ids).im_end, generator), ids)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(recipe.seed)  # adapters and poolings draw their start from torch's own generator
        attach(recipe.phase.adapter, backbone.text, backbone.model.lm_head)
        pooling = recipe.pooling.build(backbone.width)
    recipe.tokens.mark(bank, table)
    backbone.tower.requires_grad_(recipe.phase.tower == "trained")
    embedder = Embedder(backbone, bank, pooling, folder.cutter, recipe.tokens.elastic)
    if (path / OWN_WEIGHTS).is_file():
        _load_own(embedder, load_file(path / OWN_WEIGHTS), path)
    return embedder, folder


def _load_own(embedder: Embedder, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    """Put a folder's compression rows and pooling in the place of new ones. Raises CheckpointError where they do not fit."""
    own = {name: weight for name, weight in embedder.named_parameters() if name.startswith(("bank.", "pooling."))}
    shapes = {name: weight.shape for name, weight in weights.items()}
    if shapes != {name: weight.shape for name, weight in own.items()}:
        raise CheckpointError(
            f"{where}: {OWN_WEIGHTS} holds {', '.join(shapes) or 'nothing'}, and the recipe has {', '.join(own) or 'nothing'} of "
            "these shapes; its tokens and pooling must be those of the start"
        )
    with torch.no_grad():
        for name, weight in own.items():
            weight.copy_(weights[name])


def load_trained(embedder: Embedder, weights: Mapping[str, torch.Tensor], where: Path) -> None:
    """Copy trained weights to their places, one at a time.

    Raises CheckpointError, naming `where`, when one is missing, has no place, or is of another shape.
    """
    own = dict(embedder.named_parameters())
    trained = {name for name, weight in own.items() if weight.requires_grad}
    wrong = sorted(trained - set(weights)) + sorted(set(weights) - set(own))
    if wrong:
        raise CheckpointError(
            f"{where}: {len(wrong)} missing or unexpected weights, first {wrong[0]}; it does not belong to its recipe"
        )
    for name, value in weights.items():
        if own[name].shape != value.shape:
            raise CheckpointError(
                f"{where}: {name} is {tuple(value.shape)}, not {tuple(own[name].shape)}; it does not belong to its recipe"
            )
        with torch.no_grad():
            own[name].copy_(value)
