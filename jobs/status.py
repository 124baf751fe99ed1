"""How far the stages of a work folder are, told from their folders alone: nothing is loaded, and no lock is touched."""

import json
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from jobs.defaults import FOLDERS
from pipeline.errors import DataError
from pipeline.manifest import Manifest
from pipeline.stage_folder import STARTED_NAME

_RATE_LINES = 50
_TAIL_BYTES = 65536


@dataclass(frozen=True, slots=True, kw_only=True)
class StageStatus:
    """A stage: `state` is done, unfinished (it runs, or was stopped) or empty; `note` says what it made or how far it is."""

    name: str
    state: str = ""
    note: str = ""


def stage_states(work: Path) -> list[StageStatus]:
    """The stages of a work folder in their order, those of training, mining and judging as its recipe names them."""
    return [_state(work, name) for name in _names(work)]


def _names(work: Path) -> Iterator[str]:
    """Names of stages: a recipe of several phases trains each in a stage of its own."""
    phases = [str(phase.get("name", "")) for phase in _recipe(work).get("phases", [])]
    yield from (name for name in ("toy", "convert", "synthesize", "model", "measure") if name != "toy" or (work / "toy").is_dir())
    for place, phase in enumerate(phases or [""], 1):
        yield from (name for name in (f"mine-{phase}", f"judge-{phase}") if (work / name).is_dir())
        yield "train" if place == max(len(phases), 1) else f"train-{phase}"
    yield from ("evaluate", "report")


def _state(work: Path, name: str) -> StageStatus:
    folder = work / FOLDERS.get(name, name)
    try:
        manifest = Manifest.read(folder) if folder.is_dir() else None
    except DataError as error:
        return StageStatus(name=name, state="damaged", note=str(error))
    if manifest is not None:
        return StageStatus(name=name, state="done", note=", ".join(f"{what} {count}" for what, count in manifest.counts.items()))
    if not (folder / STARTED_NAME).is_file():
        return StageStatus(name=name)
    return StageStatus(name=name, state="unfinished", note=_progress(folder, _steps(work, name)))


def _progress(folder: Path, steps: int) -> str:
    """How far a training is; of any other stage when it last wrote something."""
    lines = _last_lines(folder / "metrics.jsonl")
    if not lines:
        newest = max((path.stat().st_mtime for path in folder.rglob("*") if path.is_file()), default=0.0)
        return f"wrote last {_age(newest)} ago"
    last = lines[-1]
    step, rate = int(last["step"]), _rate(lines)
    loss = ", ".join(f"{name} {last[name]:.3f}" for name in ("contrastive", "own_language", "outside_language") if name in last)
    left = f", {(steps - step) / rate / 3600:.1f} hours left at {rate:.2f} steps/s" if rate and steps > step else ""
    written = _age((folder / "metrics.jsonl").stat().st_mtime)
    return f"step {step} of {steps or '?'}, wrote last {written} ago{left}; {loss}{_slowest(lines)}"


def _rate(lines: list[dict[str, Any]]) -> float:
    """Steps a second over the last lines; 0 where they do not tell."""
    seconds = [float(line["seconds"]) for line in lines if line.get("seconds", 0) > 0]
    return len(seconds) / sum(seconds) if seconds else 0.0


def _slowest(lines: list[dict[str, Any]]) -> str:
    """Which rank was the slowest most often; nothing of a lone rank."""
    named = [line for line in lines if "slowest_rank" in line]
    if not named:
        return ""
    (rank, steps), *_ = Counter(int(line["slowest_rank"]) for line in named).most_common(1)
    slowest, middle = (sum(float(line[f"{which}_rank_seconds"]) for line in named) for which in ("slowest", "median"))
    times = f", {slowest / middle:.2f} times the median" if middle else ""
    return f"; slowest rank {rank} in {steps} of the last {len(named)} steps{times}"


def _last_lines(file: Path) -> list[dict[str, Any]]:
    """The last steps of a log, whole lines only; nothing where there is no log. It reads the end of the file alone."""
    if not file.is_file():
        return []
    with file.open("rb") as opened:
        opened.seek(max(0, file.stat().st_size - _TAIL_BYTES))
        lines = opened.read().decode(errors="replace").split("\n")[-_RATE_LINES - 1 :]
    found = []
    for line in lines:
        try:
            found.append(dict(json.loads(line)))
        except (ValueError, TypeError):
            continue  # the first may be cut by the seek, the last is being written
    return found


def _age(moment: float) -> str:
    seconds = max(0.0, time.time() - moment)
    return f"{seconds:.0f} s" if seconds < 120 else f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


def _recipe(work: Path) -> dict[str, Any]:
    """The recipe as plain values, whatever classes it names; empty where none was written yet."""
    try:
        return dict(json.loads((work / "recipe.json").read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return {}


def _steps(work: Path, name: str) -> int:
    phases = _recipe(work).get("phases", [])
    named = [phase for phase in phases if name == f"train-{phase.get('name')}"] or phases[-1:]
    return int(named[0].get("steps") or 0) if named else 0
