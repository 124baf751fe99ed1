"""With which inputs and settings a stage's folder was begun, and where the folder waits while others are tried in its place.

A folder that is written in place holds `started.json`. Before it is begun with other settings, what it holds moves aside as
`<name>.<first characters of its fingerprint>`, and comes back when those settings are asked for again: nothing is deleted.
"""

import json
import logging
import os
import shutil
from pathlib import Path
from typing import Any

from pipeline.errors import DataError
from pipeline.manifest import Manifest, canonical_json, write_atomic

logger = logging.getLogger(__name__)

STARTED_NAME = "started.json"
_SUFFIX_CHARACTERS = 12


def mark_begun(folder: Path, fingerprint: str, run: str = "") -> None:
    """Note in the folder, which is made where it is missing, with what it is begun, and the tracker's run that works on it."""
    runs = runs_of(folder) if begun_with(folder) == fingerprint else []
    runs = list(dict.fromkeys([*runs, run] if run else runs))
    write_atomic(folder / STARTED_NAME, canonical_json({"fingerprint": fingerprint, "runs": runs}))


def unfinished_run(folder: Path, fingerprint: str) -> str:
    """The last of the tracker's runs that worked on this and did not finish it; empty where there is none."""
    runs = runs_of(folder)
    return runs[-1] if runs and begun_with(folder) == fingerprint and _manifest(folder) is None else ""


def begun_with(folder: Path) -> str:
    """The fingerprint that the folder was begun, or made, with; empty where nothing tells."""
    manifest = _manifest(folder)
    return str(_started(folder).get("fingerprint", manifest.fingerprint if manifest else ""))


def runs_of(folder: Path) -> list[str]:
    """The tracker's runs that worked on what the folder holds, in order."""
    manifest = _manifest(folder)
    made = [manifest.run_id] if manifest and manifest.run_id else []
    return list(dict.fromkeys([*_started(folder).get("runs", []), *made]))


def find_begun(folder: Path, fingerprint: str) -> Path | None:
    """Where the work with this fingerprint lies: in the folder, aside, or nowhere."""
    return next((place for place in (folder, _aside(folder, fingerprint)) if begun_with(place) == fingerprint), None)


def find_made_by(folder: Path, run: str) -> Path | None:
    """Where the work of a run of the tracker lies: in the folder, aside, in `<name>.old`, or nowhere any more."""
    return next((place for place in (folder, *sorted(folder.parent.glob(f"{folder.name}.*"))) if run in runs_of(place)), None)


def _started(folder: Path) -> dict[str, Any]:
    try:
        return dict(json.loads((folder / STARTED_NAME).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _manifest(folder: Path) -> Manifest | None:
    try:
        return Manifest.read(folder)
    except DataError:
        return None


def give_place(folder: Path, fingerprint: str) -> None:
    """Move aside what was begun with anything else, and bring back what was begun with this fingerprint.

    A kill in between leaves both folders aside or in place, and the next call goes on from there.
    """
    held = begun_with(folder)
    if held == fingerprint:
        return
    if is_mere_beginning(folder):
        shutil.rmtree(folder)
    elif folder.is_dir() and any(folder.iterdir()):
        _move(folder, _aside(folder, held) if held else _old(folder))
    if find_begun(folder, fingerprint):
        if folder.is_dir():
            folder.rmdir()
        _move(_aside(folder, fingerprint), folder)


def retire(folder: Path) -> None:
    """Move a folder that is to be made again with the same settings to `<name>.old`, in place of the one retired before."""
    if folder.is_dir() and any(folder.iterdir()):
        _move(folder, _old(folder))


def is_mere_beginning(folder: Path) -> bool:
    """Whether the folder holds the note of its beginning and nothing else."""
    return folder.is_dir() and [path.name for path in folder.iterdir()] == [STARTED_NAME]


def _aside(folder: Path, fingerprint: str) -> Path:
    return folder.with_name(f"{folder.name}.{fingerprint[:_SUFFIX_CHARACTERS]}")


def _old(folder: Path) -> Path:
    return folder.with_name(f"{folder.name}.old")


def _move(folder: Path, place: Path) -> None:
    shutil.rmtree(place, ignore_errors=True)
    os.replace(folder, place)
    logger.info("what was in %s is now in %s", folder, place)
