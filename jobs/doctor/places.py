"""Folders, their locks and free disk, and the shards in them."""

import fcntl
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from data_prep.verify import verify_shards
from jobs.doctor.finding import Finding, good, stops, unknown, warning
from jobs.stage import Context
from pipeline.errors import DataError
from pipeline.manifest import Manifest

GB = 1e9
WALK_SECONDS = 20.0
"""How long the files of a corpus are counted: on a network file system millions take minutes."""

SHARE_FREE = 0.05
"""Share of a disk that should be left when all is written."""


def folders(context: Context, model_folder: Path | None) -> Iterator[Finding]:
    """Whether the work folder can be written, and data and model folder are there."""
    yield _writable(context.work)
    if context.data == context.toy:
        yield good("data folder", "the toy world, which crem run draws")
    elif context.data.is_dir() and os.access(context.data, os.R_OK | os.X_OK):
        yield good("data folder", str(context.data.resolve()))
    else:
        yield stops("data folder", f"{context.data}: not there, or not to be read", "check --data, and that this node mounts it")
    if model_folder is not None:
        yield _model(model_folder)


def _writable(work: Path) -> Finding:
    """A file made, written and synced in the work folder, or in the nearest one above it that is there."""
    place = _nearest(work)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".crem-doctor-") as file:
            file.write(b"x" * 4096)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        return stops("work folder", f"{place}: {error.strerror}", "choose a --work that you may write and that has room")
    return good("work folder", f"{work.absolute()} can be written")


def _nearest(folder: Path) -> Path:
    """The folder, or the nearest one above it that is there."""
    return next(each for each in (folder.absolute(), *folder.absolute().parents) if each.exists())


def _model(folder: Path) -> Finding:
    weights = [*folder.glob("*.safetensors")] if folder.is_dir() else []
    if not (folder / "config.json").is_file() or not weights:
        lacking = "config.json" if not (folder / "config.json").is_file() else "*.safetensors"
        return stops("model folder", f"{folder}: no {lacking} in it", "download the model again, or check --model-folder")
    empty = [path.name for path in weights if path.stat().st_size < 1024]
    if empty:
        return stops(
            "model folder", f"{folder}: {', '.join(empty)} is a stub, not weights", "fetch the large files (git lfs pull)"
        )
    return good("model folder", f"{len(weights)} files of weights, {sum(path.stat().st_size for path in weights) / GB:.1f} GB")


def locks(work: Path) -> Finding:
    """Whether a lock that one opening holds is refused to another: what keeps two commands out of one folder."""
    place = _nearest(work)
    try:
        with tempfile.NamedTemporaryFile(dir=place, prefix=".crem-doctor-") as file, open(file.name, "rb") as other:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            try:
                fcntl.flock(other, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return good("file locks", f"{place}: hold")
    except OSError as error:
        return warning("file locks", f"{place}: none here ({error.strerror})", _ONE_COMMAND)
    return warning("file locks", f"{place}: a second lock is given while the first is held", _ONE_COMMAND)


_ONE_COMMAND = "run one command at a time on a work folder, keep MLflow's store elsewhere (docs/tracking.md); on Lustre: -o flock"


def disk(context: Context, checkpoints: int | None) -> Finding:
    """Free bytes against what is still to be written: shards as large as the corpus, and `checkpoints` bytes of training."""
    place = _nearest(context.work)
    usage = shutil.disk_usage(place)
    corpus, is_whole = (0, True) if _is_done(context.shards) else _bytes_below(context.data)
    needed = corpus + (checkpoints or 0)
    parts = [f"shards {'' if is_whole else 'over '}{corpus / GB:.1f}"]
    parts.append("checkpoints unknown" if checkpoints is None else f"checkpoints {checkpoints / GB:.1f}")
    seen = f"{usage.free / GB:.1f} GB free at {place}; still to be written by estimate, GB: {', '.join(parts)}"
    if needed > usage.free:
        return stops("free disk", seen, "make room, choose another --work, or keep fewer checkpoints (phases.0.keep_checkpoints)")
    if needed > usage.free - SHARE_FREE * usage.total:
        return warning("free disk", seen, "the disk will be nearly full; others that write there may stop the run")
    return good("free disk", seen)


def _is_done(folder: Path) -> bool:
    try:
        return Manifest.read(folder) is not None
    except (DataError, OSError):
        return False


def _bytes_below(folder: Path) -> tuple[int, bool]:
    """Bytes of all files below a folder, and whether all were counted in time."""
    total, end = 0, time.monotonic() + WALK_SECONDS
    for root, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.stat(os.path.join(root, name)).st_size
            except OSError:
                continue
        if time.monotonic() > end:
            return total, False
    return total, True


def shards(context: Context, *, deep: bool) -> Finding:
    """Whether the shards are those that were written: by names and sizes, or with `deep` by every byte."""
    if not context.shards.is_dir():
        return unknown("shards", f"{context.shards}: not converted yet")
    try:
        manifest = Manifest.read(context.shards)
    except DataError as error:
        return stops("shards", str(error), "run crem convert again")
    if manifest is None:
        return unknown("shards", f"{context.shards}: not finished", "run crem convert; it goes on with what is missing")
    if not deep:
        return _by_size(context.shards, manifest)
    problems = [finding for report in verify_shards(context.shards, lambda *_: None) for finding in report.findings]
    if problems:
        return stops(
            "shards", f"{len(problems)} findings, the first: {problems[0]}", "remove what is named, run crem convert again"
        )
    return good("shards", f"{context.shards}: every byte is as it was written")


def _by_size(folder: Path, manifest: Manifest) -> Finding:
    from jobs.runner import inventory

    if inventory(folder) != manifest.outputs["files"]:
        return stops(
            "shards", f"{folder}: files were changed or removed", "crem data verify says which; then run crem convert again"
        )
    return good("shards", f"{folder}: names and sizes are as they were written; --deep reads every byte")
