"""Where a phase's weights begin: in a model folder, or where another training ended, its adapters merged into the weights."""

import json
import logging
import shutil
from collections.abc import Iterator
from pathlib import Path

import torch
from safetensors.torch import save_file

from pipeline.embedding_json import SETTINGS
from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import EmbeddingModel, load_model
from pipeline.manifest import atomic_folder, file_digest, fingerprint
from pipeline.model.adapters import merge
from pipeline.model.backbone import PICTURE_SETTINGS, TOKENIZER_FILES
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, OWN_WEIGHTS, load_trained
from pipeline.train.run_options import TrainingPaths

logger = logging.getLogger(__name__)

NOTE = "start.json"
"""Says of which checkpoint a folder was made; written last."""

_COPIED = (*TOKENIZER_FILES, PICTURE_SETTINGS, "chat_template*", "video_preprocessor_config.json")
_SHARED_VALUES = ("tokens.count", "tokens.place", "pixels.patch", "pixels.merge", "pixels.side")
"""What two trainings must have in common for one to go on from the other's weights."""


def start_of(paths: TrainingPaths, recipe: Recipe) -> tuple[Path, Path | None]:
    """The model folder that a training begins from, and the checkpoint whose trained weights replace the folder's, if any."""
    if paths.start is None:
        return paths.model, None
    if recipe.phase.start == "continued" and len(recipe.phases) > 1:
        return (paths.start / checkpoint.peek(paths.start).model_folder).resolve(), paths.start
    return merged_start(paths.start, paths.started, recipe), None


def load_continued(embedder: Embedder, start: Path, recipe: Recipe) -> None:
    """Put the trained weights of the phase before into a new model. Raises ConfigError where the phases train others."""
    try:
        load_trained(embedder, checkpoint.weights(start), start)
    except CheckpointError as error:
        raise ConfigError(
            f"{recipe.phase_path}.start: continued, but the phase before trains other weights ({error}); train the same, or "
            f"--set {recipe.phase_path}.start=merged"
        ) from error


def merged_start(source: Path, out: Path, recipe: Recipe) -> Path:
    """The model folder `out` with the weights of `source`, a checkpoint or an exported folder, for `recipe` to begin from.

    Adapters are merged into the weights, which are written in the number type of the recipe's phase; compression rows and the
    pooling's weights lie beside them in float32. Made once: a folder that was made of this very model for this type stays as it
    is. Raises ConfigError where the two recipes' tokens or pictures differ.
    """
    note = {"of": _identity(source), "dtype": recipe.phase.dtype}
    if _read_note(out) == note:
        return out
    model = load_model(source)
    _refuse_misfit(source, model.recipe, recipe)
    logger.info("%s: written from the weights of %s", out, source)
    with atomic_folder(out) as aside:
        _write(model, aside, DTYPES[recipe.phase.dtype])
        (aside / NOTE).write_text(json.dumps(note) + "\n", encoding="utf-8")
    return out


def _refuse_misfit(source: Path, given: Recipe, wanted: Recipe) -> None:
    """Raise ConfigError, naming field and values, where a training of `wanted` cannot begin from the weights of `given`."""
    for difference in differences(given, wanted):
        if difference.path in _SHARED_VALUES:
            raise ConfigError(
                f"{source}: trained with {difference.path} = {difference.old}, and the recipe has {difference.new}; a training "
                "goes on with the tokens and the picture rule of its start: set the same, or start from another"
            )


def _identity(source: Path) -> str:
    """Names the weights of a checkpoint or an exported folder by the digests that it holds of its files."""
    if (source / checkpoint.STATE).is_file():
        state = checkpoint.peek(source)
        return fingerprint([state.digests, state.model_digest])
    if (source / SETTINGS).is_file():
        return file_digest(source / SETTINGS)
    raise CheckpointError(
        f"{source}: neither a checkpoint nor an exported folder; name a folder such as train/checkpoints/step-..."
    )


def _write(model: EmbeddingModel, folder: Path, dtype: torch.dtype) -> None:
    merge(model.embedder.backbone.text)
    for file in _beside(model.folder):
        shutil.copyfile(file, folder / file.name)
    own = {name: value.float().contiguous() for name, value in model.embedder.state_dict().items() if _is_own(name)}
    if own:
        save_file(own, folder / OWN_WEIGHTS)
    model.embedder.backbone.model.to(dtype).save_pretrained(folder)


def _beside(folder: Path) -> Iterator[Path]:
    for pattern in _COPIED:
        yield from folder.glob(pattern)


def _is_own(name: str) -> bool:
    return name.startswith(("bank.", "pooling."))


def _read_note(folder: Path) -> object:
    try:
        return json.loads((folder / NOTE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
