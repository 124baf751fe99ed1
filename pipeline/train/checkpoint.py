"""Checkpoints in a form of our own: whole tensors by name in safetensors, whatever the ZeRO stage and the number of ranks.

A folder is written aside and renamed; its state.json, which lists the other files with their digests, is written last. A
truncated or foreign folder is refused by name and the one before is taken.
"""

import json
import logging
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import atomic_folder, file_digest
from pipeline.recipe import Recipe
from pipeline.recipe_json import course_fingerprint, recipe_from_json

logger = logging.getLogger(__name__)

WEIGHTS, OPTIMIZER, RECIPE, STATE = "weights.safetensors", "optimizer.safetensors", "recipe.json", "state.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class State:
    """What a checkpoint says of itself: its step, and what it belongs to. `model_folder` is relative to the checkpoint's own.

    `model_digest` is a fingerprint of that folder's files, empty where none was noted.
    `skipped` steps up to it moved nothing, so the optimizer took that many fewer; the last `skipped_in_a_row` of all steps are
    among them. `held_out` are the figures of the held-out
    slice at this very step, where it was looked at.
    """

    step: int
    recipe: str
    recipe_fingerprint: str
    data_fingerprint: str
    model_folder: str
    digests: dict[str, str]
    model_digest: str = ""
    skipped: int = 0
    skipped_in_a_row: int = 0
    held_out: Mapping[str, float] = field(default_factory=dict)


def save(
    folder: Path, weights: dict[str, torch.Tensor], optimizer: dict[str, torch.Tensor], state: State, recipe_json: str
) -> None:
    """Write a checkpoint folder; an existing one of the same name is replaced as a whole.

    Raises CheckpointError when the disk is full or refuses; what was there before is untouched then.
    """
    try:
        with atomic_folder(folder) as aside:
            save_file({name: tensor.contiguous() for name, tensor in weights.items()}, aside / WEIGHTS)
            save_file({name: tensor.contiguous() for name, tensor in optimizer.items()}, aside / OPTIMIZER)
            (aside / RECIPE).write_text(recipe_json)
            digests = {name: file_digest(aside / name) for name in (WEIGHTS, OPTIMIZER, RECIPE)}
            fields = {**{name: getattr(state, name) for name in state.__slots__}, "digests": digests}
            (aside / STATE).write_text(json.dumps(fields, indent=1, sort_keys=True))
    except (OSError, SafetensorError) as error:
        raise CheckpointError(
            f"{folder}: checkpoint could not be written ({error}); the checkpoints before it are intact: "
            "make room and run the same command again"
        ) from error


def peek(folder: Path) -> State:
    """What a checkpoint says of itself, its files unread. Raises CheckpointError, naming the folder, where it says nothing."""
    try:
        return State(**json.loads((folder / STATE).read_text()))
    except (OSError, ValueError, TypeError) as error:
        raise CheckpointError(
            f"{folder}: not a checkpoint ({type(error).__name__} in {STATE}); take another step or retrain"
        ) from error


def read_state(folder: Path) -> State:
    """The state of a whole checkpoint. Raises CheckpointError, naming the folder, for a missing file or one unlike its digest."""
    state = peek(folder)
    for name in (WEIGHTS, OPTIMIZER, RECIPE):
        if not (folder / name).is_file() or file_digest(folder / name) != state.digests.get(name):
            raise CheckpointError(f"{folder}: {name} is missing or truncated; delete this folder to fall back to the one before")
    return state


def recipe(folder: Path) -> Recipe:
    """The recipe that a checkpoint was trained with, as it stands in the folder: neither its name nor its file is looked up."""
    try:
        return recipe_from_json((folder / RECIPE).read_text(encoding="utf-8"))
    except ConfigError as error:
        raise CheckpointError(
            f"{folder / RECIPE}: {error}; if another version of this program wrote it, load it with that one"
        ) from error


class StoredTensors(Mapping[str, torch.Tensor]):
    """The tensors of a file by name, each read when it is asked for, so that no more than one need be in memory."""

    def __init__(self, file: Path) -> None:
        self._file: Any = safe_open(file, framework="pt")
        self._names = frozenset(self._file.keys())  # type: ignore[no-untyped-call]

    def __getitem__(self, name: str) -> torch.Tensor:
        if name not in self._names:
            raise KeyError(name)
        tensor: torch.Tensor = self._file.get_tensor(name)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


def weights(folder: Path) -> StoredTensors:
    """Trained tensors by name."""
    return StoredTensors(folder / WEIGHTS)


def optimizer_state(folder: Path) -> StoredTensors:
    """Optimizer tensors: `<name>.exp_avg` and `<name>.exp_avg_sq`."""
    return StoredTensors(folder / OPTIMIZER)


def steps(root: Path) -> list[Path]:
    """Checkpoint folders, newest first."""
    folders = [path for path in root.glob("step-*") if path.name.removeprefix("step-").isdecimal()]
    return sorted(folders, key=step_of, reverse=True)


def folder_of(root: Path, step: int) -> Path:
    """The folder of the checkpoint after `step` steps."""
    return root / f"step-{step:08d}"


def step_of(folder: Path) -> int:
    """The step that a folder's name says."""
    return int(folder.name.partition("-")[2])


def newest(root: Path, *, course: str, data_fingerprint: str) -> tuple[Path, State] | None:
    """The newest whole checkpoint of this course (see `course_fingerprint`) and data; refused ones are named in the log."""
    for folder in steps(root):
        try:
            state = read_state(folder)
            if (course_fingerprint(recipe(folder)), state.data_fingerprint) == (course, data_fingerprint):
                return folder, state
            logger.warning("%s: made by another recipe or other data; not resumed", folder)
        except CheckpointError as error:
            logger.warning("%s", error)
    return None
