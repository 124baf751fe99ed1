"""The log of steps: one JSON line a step in a local file, and the same figures in the tracker."""

import json
import math
from collections.abc import Mapping
from pathlib import Path

from pipeline.tracking import Tracker


class MetricsLog:
    """Rank 0's log. The file is written at once, so it ends with the last step whatever ends the run."""

    def __init__(self, file: Path, tracker: Tracker) -> None:
        self.file, self.tracker = file, tracker

    def go_on_from(self, step: int) -> None:
        """Drop the lines after `step`: a resumed run writes them again."""
        drop_after(self.file, step)

    def write(self, step: int, figures: Mapping[str, float]) -> None:
        """The figures of step number `step`, from 1 on; JSON has no NaN, so what is not finite is left out.

        The tracker sends them in batches.
        """
        figures = {name: value for name, value in figures.items() if math.isfinite(value)}
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with self.file.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step, **figures}) + "\n")
        self.tracker.log_metrics({f"train/{name}": value for name, value in figures.items()}, step=step)


def drop_after(file: Path, step: int) -> None:
    """Drop the lines of later steps from a file of one JSON line a step or more."""
    if file.exists():
        file.write_text("".join(line + "\n" for line in lines_until(file, step)))


def lines_until(file: Path, step: int) -> list[str]:
    """The lines of a file that are of a step up to and with `step`; none where there is no file."""
    return [line for line in file.read_text().splitlines() if _step_of(line) <= step] if file.exists() else []


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # a line cut short by a kill
