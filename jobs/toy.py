"""Stage `toy`: the embedded toy world, in the layout of the public releases."""

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep.toy_world import write_toy_world
from jobs.stage import Context, Input, Result, Writing
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class ToyStage:
    """Draws the toy world; the recipe's `toy` gives its seed and sizes."""

    context: Context
    name: str = "toy"
    writing: Writing = Writing.ASIDE

    @property
    def folder(self) -> Path:
        """A data folder like a user's own."""
        return self.context.toy

    def inputs(self) -> Mapping[str, Input]:
        """None: everything is drawn."""
        return {}

    def settings(self) -> Mapping[str, object]:
        """Seed and sizes."""
        return dataclasses.asdict(self.context.recipe.toy)

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Draw pictures, pairs, conversations and questions."""

        def report(line: str) -> None:
            self.context.progress("toy", 0, None, line)

        return Result(counts=write_toy_world(out, **dataclasses.asdict(self.context.recipe.toy), progress=report))
