"""Stage `train`: the recipe's objective under DeepSpeed, from the newest checkpoint to the last step."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from jobs.defaults import LOADER_WORKERS, STEP_TIMEOUT
from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.manifest import fingerprint
from pipeline.recipe_json import course_values
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStage:
    """Trains; stopped at any moment, the same command goes on from the newest whole checkpoint.

    `workers` prepare batches ahead; they never change what is read. A step may take `step_timeout` seconds.
    """

    context: Context
    workers: int = LOADER_WORKERS
    step_timeout: float = STEP_TIMEOUT
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
        """The recipe as far as it decides what is trained: with another ZeRO stage a run goes on where it stands."""
        return {"recipe": course_values(self.context.recipe)}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Train from where the folder stands."""
        from pipeline.train.checkpoint import read_state
        from pipeline.train.loop import train
        from pipeline.train.run_options import RunOptions, TrainingPaths

        def report(done: int, total: int, note: str) -> None:
            self.context.progress("train", done, total, note)

        paths = TrainingPaths(shards=self.context.shards, qa=self.context.qa, model=backbone_folder(self.context), out=out)
        options = RunOptions(num_workers=self.workers, step_timeout=self.step_timeout)
        state = read_state(train(paths, self.context.recipe, tracker, progress=report, options=options))
        return Result(counts={"steps": state.step}, content=fingerprint(dict(state.digests)))
