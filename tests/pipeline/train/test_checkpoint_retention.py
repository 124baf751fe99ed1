"""Which checkpoints stay, by hand-worked examples; and a disk that is full."""

import json
import os
import resource
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import atomic_folder
from pipeline.phase import Mixture, Phase
from pipeline.recipes.crem import LAYOUT
from pipeline.train import checkpoint, checkpoint_retention

FIGURES = {1: 0.5, 2: 0.2, 3: 0.9, 4: 0.2, 5: 0.7, 6: 0.4}


def state(step: int, held_out: Mapping[str, float]) -> checkpoint.State:
    return checkpoint.State(
        step=step, recipe="r", recipe_fingerprint="r", data_fingerprint="d", model_folder="m", digests={}, held_out=held_out
    )


def save(root: Path, step: int, **held_out: float) -> Path:
    folder = checkpoint.folder_of(root, step)
    tensors = {"w": torch.full((1000,), float(step))}
    checkpoint.save(folder, tensors, tensors, state(step, held_out), "{}")
    return folder


def left(root: Path) -> set[int]:
    return {checkpoint.step_of(folder) for folder in checkpoint.steps(root)}


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"keep_checkpoints": 2}, {5, 6}),
        ({"keep_checkpoints": 1, "keep_every": 2}, {2, 4, 6}),
        ({"keep_checkpoints": 1, "keep_every": 4}, {4, 6}),
        ({"keep_checkpoints": 1, "keep_best": "contrastive"}, {2, 6}),
        ({"keep_checkpoints": 1, "keep_best": "precision_at_1"}, {3, 6}),
        ({"keep_checkpoints": 1, "keep_best": "outside_language_full"}, {6}),
        ({"keep_checkpoints": 2, "keep_every": 3, "keep_best": "contrastive"}, {2, 3, 5, 6}),
    ],
)
def test_last_marked_and_best_checkpoints_stay(tmp_path: Path, fields: dict[str, object], expected: set[int]) -> None:
    phase = Phase(layout=LAYOUT, name="joint", steps=6, **fields)  # type: ignore[arg-type]
    for step, figure in FIGURES.items():
        save(tmp_path, step, contrastive=figure, precision_at_1=figure)
        checkpoint_retention.prune(tmp_path, phase, step)
    assert left(tmp_path) == expected


def test_folders_that_were_refused_take_no_place(tmp_path: Path) -> None:
    """A run resumed at 2, since 5 is broken, must not lose what it writes to the broken one."""
    phase = Phase(layout=LAYOUT, name="joint", steps=9, keep_checkpoints=1)
    (save(tmp_path, 5) / checkpoint.WEIGHTS).unlink()
    for step in (2, 3):
        save(tmp_path, step)
        checkpoint_retention.prune(tmp_path, phase, step)
    assert left(tmp_path) == {3, 5} and checkpoint.read_state(checkpoint.folder_of(tmp_path, 3)).step == 3


def test_steps_are_ordered_by_number_and_strangers_are_passed_over(tmp_path: Path) -> None:
    for name in ("step-99999999", "step-100000000", "step-00000007", "step-7b", "other"):
        (tmp_path / name).mkdir()
    assert [checkpoint.step_of(folder) for folder in checkpoint.steps(tmp_path)] == [100_000_000, 99_999_999, 7]


@pytest.mark.parametrize("name", [checkpoint.RECIPE, checkpoint.STATE])
def test_a_full_disk_is_one_line_and_the_last_checkpoint_is_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Writing to /dev/full fails as a full disk does."""

    @contextmanager
    def full(target: Path) -> Iterator[Path]:
        with atomic_folder(target) as aside:
            (aside / name).symlink_to("/dev/full")
            yield aside

    good = save(tmp_path, 1)
    monkeypatch.setattr(checkpoint, "atomic_folder", full)
    assert "No space left" in refusal(tmp_path, good)


def test_tensors_that_do_not_fit_are_one_line_too(tmp_path: Path) -> None:
    """The tensors' library replaces the file, so /dev/full does not catch it: a limit on the size of files does."""
    good, limits = save(tmp_path, 1), resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limits[1]))
    try:
        said = refusal(tmp_path, good)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert "too large" in said


def refusal(root: Path, good: Path) -> str:
    """What saving step 2 says; nothing half-written stays, and the checkpoint before is whole."""
    with pytest.raises(CheckpointError, match="step-00000002: checkpoint could not be written") as caught:
        save(root, 2)
    assert "\n" not in str(caught.value) and "make room" in str(caught.value)
    assert checkpoint.read_state(good).step == 1 and os.listdir(root) == [good.name]
    return str(caught.value)


@pytest.mark.parametrize(
    ("fields", "figure"),
    [
        ({"held_out": 0}, "contrastive"),
        ({"mixture": Mixture(pairs=0)}, "precision_at_1"),
        ({"mixture": Mixture(outside=0)}, "outside_language_full"),
        ({"mixture": Mixture(own_sides=())}, "own_language_compressed"),
    ],
)
def test_a_best_that_nothing_measures_is_refused(fields: dict[str, object], figure: str) -> None:
    with pytest.raises(ConfigError, match=f"phase.keep_best: the held-out slice has no {figure}"):
        Phase(layout=LAYOUT, name="joint", steps=1, keep_best=figure, **fields)  # type: ignore[arg-type]


def test_a_link_to_a_checkpoint_elsewhere_stays_and_is_named(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    root, moved = tmp_path / "checkpoints", tmp_path / "large disk"
    save(root, 1).rename(moved)
    checkpoint.folder_of(root, 1).symlink_to(moved)
    save(root, 2)
    save(root, 3)
    checkpoint_retention.prune(root, Phase(layout=LAYOUT, name="joint", steps=4, keep_checkpoints=1), 3)
    assert left(root) == {1, 3} and (moved / checkpoint.STATE).is_file()
    assert "step-00000001: no longer needed" in caplog.text


def test_a_state_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    folder = save(tmp_path, 1)
    fields = json.loads((folder / checkpoint.STATE).read_text())
    del fields["skipped"], fields["held_out"]
    (folder / checkpoint.STATE).write_text(json.dumps(fields))
    assert checkpoint.read_state(folder).skipped == 0
