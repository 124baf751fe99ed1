"""An exported folder, read back as what it is: its recipe, its compression rows and its pooling's weights.

The folder may have been moved. Its files must be those that were written: `embedding.json` holds a digest of each.
"""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors.torch import load_file

from pipeline.embedding_json import SETTINGS, Prompt, Settings
from pipeline.errors import CheckpointError
from pipeline.manifest import fingerprint
from pipeline.model.adapters import Full, LoRA
from pipeline.model.backbone import READ_FILES, Folder, folder_digests
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder, load_trained

ROWS, POOLING = "chorus.safetensors", "pooling.safetensors"
DECISIVE = (*READ_FILES, checkpoint.RECIPE, "adapter_config.json")
"""Patterns of an exported folder's files that decide its vectors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Exported:
    """A whole exported folder. Its weights begin from `model_folder`: an adapter's base, or the folder itself."""

    path: Path
    settings: Settings
    recipe: Recipe
    model_folder: Path

    @staticmethod
    def open(path: Path) -> "Exported":
        """Find everything. Raises CheckpointError for a file that is missing or changed, and for an adapter without its base."""
        settings = Settings.read(path)
        _refuse_changes(path, settings.files, DECISIVE)
        base = _find_base(path, settings) if settings.base else path
        return Exported(path=path, settings=settings, recipe=checkpoint.recipe(path), model_folder=base)

    @property
    def fingerprint(self) -> str:
        """Names all that decides what it computes, wherever it lies."""
        return fingerprint([self.settings.files, self.settings.base_files])

    def build(self, *, dtype: torch.dtype) -> tuple[Embedder, Folder]:
        """The model, on the CPU. Raises CheckpointError when the folder lacks a weight."""
        recipe, chorus = self.recipe, tuple(self.settings.prompt.chorus_ids)
        if self.settings.base:
            embedder, folder = build_embedder(self.model_folder, recipe, dtype=dtype, chorus=chorus)
            assert isinstance(recipe.phase.adapter, LoRA), "other recipes have no adapter to export"
            rows = load_file(self.path / ROWS)["rows"]
            adapters = recipe.phase.adapter.read(self.path)
        else:
            embedder, folder = build_embedder(self.path, recipe.with_phase(adapter=Full()), dtype=dtype, chorus=chorus)
            embedder.backbone.requires_grad_(False)
            rows, adapters = embedder.backbone.text.embed_tokens.weight.detach()[list(chorus)].float(), {}
        trained = {f"backbone.model.model.language_model.{name}": weight for name, weight in adapters.items()}
        trained |= {"bank.rows": rows} if chorus else {}
        if (self.path / POOLING).is_file():
            trained |= {f"pooling.{name}": weight for name, weight in load_file(self.path / POOLING).items()}
        load_trained(embedder, trained, self.path)
        return embedder, folder

    def check_prompt(self, builder: SequenceBuilder) -> None:
        """Raise CheckpointError where this program makes another prompt of the recipe than stands in the folder."""
        if Prompt.of(builder, self.recipe) != self.settings.prompt:
            raise CheckpointError(
                f"{self.path}: this version makes another prompt of its recipe than {SETTINGS} says; load it with the version "
                "that wrote it, or export the model again"
            )


def _refuse_changes(folder: Path, stated: Mapping[str, str], patterns: Sequence[str]) -> None:
    found = folder_digests(folder, patterns)
    changed = [name for name in sorted({*stated, *found}) if stated.get(name) != found.get(name)]
    if changed:
        how = "is missing" if changed[0] not in found else "is not what was exported"
        raise CheckpointError(f"{folder}: {changed[0]} {how}; copy the folder again, or export the model again")


def _find_base(path: Path, settings: Settings) -> Path:
    """The adapter's model folder: where it was when it was exported, or where it lies from the folder that was moved with it."""
    places = [Path(settings.base), Path(os.path.normpath(path.resolve() / settings.base_beside))]
    there = [place for place in places if (place / "config.json").is_file()]
    for place in there:
        if folder_digests(place) == settings.base_files:
            return place
    what = f"{there[0]} holds another one" if there else "it is not there"
    raise CheckpointError(
        f"{path}: an adapter of the model folder {settings.base}, and {what}; put that folder back there, or at {places[1]}"
    )
