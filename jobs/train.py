"""Stage `train`: one phase of the recipe under DeepSpeed, from the newest checkpoint to the last step."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from jobs.defaults import STEP_TIMEOUT
from jobs.model import backbone_folder
from jobs.stage import Context, Input, Result, Writing
from pipeline.errors import StoppedError
from pipeline.manifest import Manifest, fingerprint
from pipeline.negatives import Judged
from pipeline.recipe import Recipe
from pipeline.recipe_json import stage_values
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainStage:
    """Trains a phase; stopped at any moment, the same command goes on from the newest whole checkpoint.

    The last phase (of most recipes the only one) has the folder `train`, those before it `train-<name>`. A phase begins where the
    one before it, or the one that it names, ended, the first at the backbone or at the checkpoint `start`. `workers` prepare
    batches ahead (None: as many as the cores allow); they never change what is read. A step may take `step_timeout` seconds.
    `stop_after` ends the run with a checkpoint behind that step, as a signal would.
    """

    context: Context
    phase: str = ""
    start: Path | None = None
    workers: int | None = None
    step_timeout: float = STEP_TIMEOUT
    stop_after: int | None = None
    writing: Writing = field(default=Writing.RESUME)

    @property
    def recipe(self) -> Recipe:
        """The context's recipe as far as this phase, which is its last."""
        recipe = self.context.recipe
        return recipe.until(self.phase) if self.phase else recipe

    @property
    def name(self) -> str:
        """`train`, or `train-<name>` of a phase that others follow."""
        return stage_name(self.context.recipe, self.recipe)

    @property
    def folder(self) -> Path:
        """Checkpoints and the log of steps."""
        return self.context.work / self.name

    def inputs(self) -> Mapping[str, Input]:
        """All that is given, and the hard negatives that a stage in front of this one found."""
        given = dict(self.given())
        folder = self._negatives
        if folder is not None:
            given["negatives"] = Input(path=folder, made_by=f"{folder.name.partition('-')[0]} --phase {self.recipe.phase.name}")
        return given

    def given(self) -> Mapping[str, Input]:
        """Shards, QA, the untrained model, and what the weights begin from where that is not the untrained model."""
        given = {
            "shards": Input(path=self.context.shards, made_by="convert"),
            "qa": Input(path=self.context.qa, made_by="synthesize"),
            "model": Input(path=self.context.model, made_by="model"),
        }
        before = self._before
        if before is not None:
            given["before"] = Input(
                path=before.folder, made_by=f"train --phase {before.recipe.phase.name}", apart=("before", "negatives")
            )
        elif self.start is not None:
            given["start"] = Input(path=self.start)
        return given

    def settings(self) -> Mapping[str, object]:
        """The recipe as far as it decides what is trained: with another ZeRO stage a run goes on where it stands."""
        return {"recipe": stage_values(self.recipe)}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Train from where the folder stands."""
        from pipeline.train.checkpoint import read_state
        from pipeline.train.loop import train
        from pipeline.train.run_options import RunOptions, TrainingPaths

        def report(done: int, total: int, note: str) -> None:
            self.context.progress(self.name, done, total, note)

        context = self.context
        paths = TrainingPaths(
            shards=context.shards,
            qa=context.qa,
            model=backbone_folder(context),
            out=out,
            start=self.start_folder(),
            negatives=self._negatives,
        )
        options = RunOptions(num_workers=self.workers, step_timeout=self.step_timeout)
        state = read_state(train(paths, self.recipe, tracker, progress=report, options=options, stop_after=self.stop_after))
        if state.step < self.recipe.phase.steps:
            raise StoppedError(f"{self.name}: stopped after step {state.step}, as asked; the same command goes on from it")
        return Result(counts={"steps": state.step}, content=fingerprint(dict(state.digests)))

    @property
    def _before(self) -> "TrainStage | None":
        """The stage of the phase whose end this one begins at."""
        name = self.recipe.begins_at
        return replace(self, phase=name) if name else None

    @property
    def after_the_last(self) -> "TrainStage":
        """The same training as if it began with the phase just before it, whose model searches for its negatives."""
        return replace(self, context=replace(self.context, recipe=self.recipe.with_phase(start="merged")))

    @property
    def begins_trained(self) -> bool:
        """Whether the weights begin from those of another training."""
        return self._before is not None or self.start is not None

    @property
    def _negatives(self) -> Path | None:
        """References to hard negatives; None for those of the corpus itself."""
        return references_folder(self.context.work, self.recipe)

    def start_folder(self) -> Path | None:
        """The checkpoint that the weights begin from; None for the untrained model."""
        from pipeline.train.checkpoint import folder_of

        if self._before is None:
            return self.start
        manifest = Manifest.read(self._before.folder)
        assert manifest is not None, "the runner has refused a phase whose start is not finished"
        return folder_of(self._before.folder / "checkpoints", manifest.counts["steps"])


def mined_folder(work: Path, recipe: Recipe) -> Path:
    """Where the references to the mined negatives of a recipe's last phase are."""
    return work / f"mine-{recipe.phase.name}"


def judged_folder(work: Path, recipe: Recipe) -> Path:
    """Where what a judge left of them is."""
    return work / f"judge-{recipe.phase.name}"


def references_folder(work: Path, recipe: Recipe) -> Path | None:
    """Where the references that a recipe's last phase is trained with are; None where its negatives are the corpus's own."""
    negatives = recipe.phase.negatives
    if negatives.mined is None:
        return None
    return judged_folder(work, recipe) if isinstance(negatives, Judged) else mined_folder(work, recipe)


def stage_name(recipe: Recipe, part: Recipe) -> str:
    """The name of the stage that trains the last phase of `part`, which is `recipe` or the beginning of it."""
    return "train" if len(part.phases) == len(recipe.phases) else f"train-{part.phase.name}"
