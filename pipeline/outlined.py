"""A model without its weights: the modules that its config describes, whose operations can be counted, and what reads sides."""

from dataclasses import dataclass
from pathlib import Path

from pipeline.embedding_json import SETTINGS
from pipeline.errors import CheckpointError
from pipeline.exported import Exported
from pipeline.model.adapters import Full
from pipeline.model.backbone import open_folder
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.recipe_diff import refuse_differences
from pipeline.side_reader import SideReader
from pipeline.train import checkpoint
from pipeline.train.build import refuse_other_patches, sequence_builder
from pipeline.train.forecast.trace import outline_embedder


@dataclass(frozen=True, slots=True, kw_only=True)
class Outlined:
    """What `load_merged` gives, with an embedder on the meta device: its weights have shapes and no values."""

    embedder: Embedder
    recipe: Recipe
    reader: SideReader


def outline_merged(path: Path, *, recipe: Recipe | None = None) -> Outlined:
    """The outline of a checkpoint, of an export or, with a recipe, of a model folder; adapters count as merged.

    Raises CheckpointError, naming the folder and what it lacks, and ConfigError for a recipe that differs.
    """
    if (path / checkpoint.STATE).is_file():
        own = checkpoint.recipe(path)
        refuse_differences(path, own, recipe or own)
        return _outlined((path / checkpoint.peek(path).model_folder).resolve(), own)
    if (path / SETTINGS).is_file():
        opened = Exported.open(path)
        refuse_differences(path, opened.recipe, recipe or opened.recipe)
        return _outlined(opened.model_folder, opened.recipe, tuple(opened.settings.prompt.chorus_ids))
    if recipe is None:
        raise CheckpointError(f"{path}: no {checkpoint.STATE}, so not a checkpoint; for a model folder name a recipe too")
    return _outlined(path, recipe)


def _outlined(path: Path, recipe: Recipe, chorus: tuple[int, ...] | None = None) -> Outlined:
    folder = open_folder(path)
    refuse_other_patches(folder, recipe)
    builder = sequence_builder(folder, recipe, chorus)
    reader = SideReader(builder=builder, pixels=recipe.pixels, pooled=recipe.pooling.positions)
    return Outlined(embedder=outline_embedder(path, recipe.with_phase(adapter=Full())), recipe=recipe, reader=reader)
