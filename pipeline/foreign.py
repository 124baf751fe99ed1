"""A model that others published, as an EmbeddingModel under its preset: a whole folder, or an adapter beside its base."""

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

from pipeline.cache_size import CacheSize
from pipeline.embedding_json import SETTINGS
from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import EmbeddingModel
from pipeline.manifest import fingerprint
from pipeline.model import adapter_folder
from pipeline.model.backbone import Folder, folder_digests, open_folder, special_id
from pipeline.model.compression import Chorus
from pipeline.model.device import Dtype, device_of
from pipeline.model.families import read_config
from pipeline.model.families.family import Cutter
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import LastToken
from pipeline.model_origin import ModelOrigin
from pipeline.outlined import Outlined
from pipeline.phase import Mixture, Phase
from pipeline.preset_prompt import PresetBuilder, PresetReader
from pipeline.presets import Preset
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Layout, Role
from pipeline.sample import Side
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, build_embedder
from pipeline.train.forecast.trace import outline_embedder

_NOT_ASKED = "--preset: a published embedder is measured in retrieval alone; name a recipe to ask it questions"


@dataclass(frozen=True, slots=True, kw_only=True)
class ForeignModel(EmbeddingModel):
    """Embeds sides as its preset reads them. It answers nothing: no preset says how it would be asked."""

    @property
    def reader(self) -> PresetReader:
        """What makes rows and batches of sides, without the weights."""
        return PresetReader(builder=self.builder, pixels=self.recipe.pixels, pooled=self.recipe.pooling.positions)

    def answer(self, contexts: Sequence[Side], questions: Sequence[str], **how: object) -> list[str]:
        """Raises ConfigError."""
        raise ConfigError(_NOT_ASKED)

    def cache_size(self, contexts: Sequence[Side]) -> CacheSize:
        """Raises ConfigError."""
        raise ConfigError(_NOT_ASKED)


def load_foreign(
    path: Path, preset: Preset, *, base: Path | None = None, device: str = "cpu", dtype: Dtype = "float32"
) -> ForeignModel:
    """The model of a published folder, or of an adapter's folder and its `base`, the adapter merged into the weights.

    Raises CheckpointError, naming the folder and what it lacks; ConfigError for a base that is not needed, and for a device that
    is not there.
    """
    whole, is_adapter = _whole_folder(path, preset, base)
    place, recipe = device_of(device), _recipe(preset, _cutter_of(whole, preset))
    embedder, folder = build_embedder(whole, recipe, dtype=DTYPES[dtype], needs_head=False)
    digests = folder_digests(whole)
    if is_adapter:
        adapter_folder.merge_folder(embedder.backbone.model, path)
        digests |= {f"adapter/{name}": digest for name, digest in folder_digests(path, adapter_folder.FILES).items()}
    embedder.eval().requires_grad_(False).to(place)
    origin = ModelOrigin(digests, _preset_name(preset), recipe, dtype)
    return ForeignModel(
        embedder=embedder,
        folder=whole,
        recipe=recipe,
        builder=_builder(folder, recipe, preset),
        fingerprint=f"{preset.name} {origin.fingerprint}",
        encoder_fingerprint=f"{preset.name} {origin.encoder_fingerprint}",
        decode=lambda ids: str(folder.tokenizer.decode(ids, skip_special_tokens=True)).strip(),
    )


def outline_foreign(path: Path, preset: Preset, *, base: Path | None = None) -> Outlined:
    """`load_foreign` without weights, an adapter counted as merged. Raises what it raises."""
    whole, _ = _whole_folder(path, preset, base)
    recipe = _recipe(preset, _cutter_of(whole, preset))
    builder = _builder(open_folder(whole), recipe, preset)
    reader = PresetReader(builder=builder, pixels=recipe.pixels, pooled=recipe.pooling.positions)
    return Outlined(embedder=outline_embedder(whole, recipe), recipe=recipe, reader=reader)


def _builder(folder: Folder, recipe: Recipe, preset: Preset) -> PresetBuilder:
    end = (special_id(folder.tokenizer, preset.end),) if preset.end else ()
    vocabulary, layout = folder.vocabulary(()), recipe.phase.layout
    return PresetBuilder(vocabulary=vocabulary, layout=layout, max_length=sys.maxsize, preset=preset, end=end)


def _whole_folder(path: Path, preset: Preset, base: Path | None) -> tuple[Path, bool]:
    """The folder of a whole model, the base of an adapter, and whether `path` is an adapter."""
    for own in (checkpoint.STATE, SETTINGS):
        if (path / own).is_file():
            raise CheckpointError(f"{path}: is of our own making ({own}) and brings its prompt; leave --preset out")
    is_adapter = (path / adapter_folder.CONFIG).is_file()
    if base is not None and not is_adapter:
        raise ConfigError(f"--base {base}: {path} is no adapter ({adapter_folder.CONFIG}), so it has no base; leave it out")
    return _base_of(path, base) if is_adapter else path, is_adapter


def _base_of(adapter: Path, given: Path | None) -> Path:
    """The folder of an adapter's base: the one given, or the one that it names, if that is here."""
    named = adapter_folder.base_of(adapter)
    places = [given] if given else [Path(named), adapter.parent / Path(named).name]
    found = next((place for place in places if named or given if (place / "config.json").is_file()), None)
    if found is None:
        raise CheckpointError(
            f"{adapter}: an adapter of {given or named or 'an unnamed model'}, which is not there; name its folder: --base"
        )
    return found


def _cutter_of(folder: Path, preset: Preset) -> Cutter:
    """How the folder's pictures are cut. Raises CheckpointError for a model of a family that the preset is not for."""
    family = read_config(folder).model_type
    if family not in preset.families:
        raise CheckpointError(
            f"{folder}: is a {family} model, and preset {preset.name} is for {' and '.join(preset.families)}; choose another"
        )
    return open_folder(folder).cutter


def _recipe(preset: Preset, cutter: Cutter) -> Recipe:
    """What an EmbeddingModel must know of a model that no recipe trained: layout, pooled token, limits of pictures."""
    order = (Role.SYSTEM, Role.CONTEXT) if preset.system else (Role.CONTEXT,)
    layout = Layout(order=order, template="chat" if preset.system else "plain")
    phase = Phase(name="published", steps=1, layout=layout, mixture=Mixture(outside=0, own_sides=()))
    return Recipe(
        name=f"preset_{preset.name}",
        summary=preset.source,
        backbone=PublishedBackbone(name=preset.name),
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),
        pixels=PixelLimits(min_tokens=preset.min_tokens, max_tokens=preset.max_tokens, patch=cutter.patch, merge=cutter.merge),
        phases=(phase,),
    )


def _preset_name(preset: Preset) -> str:
    """Names all that a preset says but the limits of pictures, which are the recipe's."""
    passed_over = ("source", "min_tokens", "max_tokens")
    return fingerprint([str(getattr(preset, each.name)) for each in fields(preset) if each.name not in passed_over])
