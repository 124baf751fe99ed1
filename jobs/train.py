"""Stage `train`: the recipe's objective under DeepSpeed, from the newest checkpoint to the last step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.defaults import LOADER_WORKERS
from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.manifest import fingerprint
from pipeline.recipe_json import decisive_values
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStage:
    """Trains; stopped at any moment, the same command goes on from the newest whole checkpoint.

    `workers` prepare batches ahead; they never change what is read.
    """

    context: Context
    workers: int = LOADER_WORKERS
    name: str = "train"
    writing: Writing = Writing.RESUME

    @property
    def folder(self) -> Path:
        """Checkpoints and the log of steps."""
        return self.context.train

    def inputs(self) -> Mapping[str, Input]:
        """Shards, QA and the untrained model."""
        return {
            "shards": Input(path=self.context.shards, made_by="convert"),
            "qa": Input(path=self.context.qa, made_by="synthesize"),
            "model": Input(path=self.context.model, made_by="model"),
        }

    def settings(self) -> Mapping[str, object]:
        """The whole recipe, but for what it is called."""
        return {"recipe": decisive_values(self.context.recipe)}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Train from where the folder stands."""
        from pipeline.train.checkpoint import read_state
        from pipeline.train.loop import Places, train

        def report(done: int, total: int, note: str) -> None:
            self.context.progress("train", done, total, note)

        places = Places(shards=self.context.shards, qa=self.context.qa, model=backbone_folder(self.context), out=out)
        state = read_state(train(places, self.context.recipe, tracker, progress=report, num_workers=self.workers))
        return Result(counts={"steps": state.step}, content=fingerprint(dict(state.digests)))
