"""The main job: all stages in order, each run only where something has changed."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from data_prep.qa_teacher import LocalTeacher
from jobs.chain_run import chain_run
from jobs.convert import ConvertStage
from jobs.defaults import JUDGE, MAX_UNANSWERED, MAX_UNJUDGED, ORDER, STEP_TIMEOUT, TEACHER
from jobs.evaluate import Choice, EvaluateStage
from jobs.judge import JudgeStage
from jobs.measure import MeasureStage
from jobs.mine import MineStage
from jobs.model import ModelStage
from jobs.report import ReportStage
from jobs.runner import Outcome, run_stage
from jobs.stage import Context, Stage
from jobs.synthesize import SynthesizeStage
from jobs.toy import ToyStage
from jobs.train import TrainStage
from pipeline.data.shard_plan import MAX_PIXELS
from pipeline.errors import ConfigError
from pipeline.negatives import Judged

Runner = Callable[[Stage, Context], Outcome]


@dataclass(frozen=True, slots=True, kw_only=True)
class Machine:
    """What changes with the machine or the user, and never with the method."""

    url: tuple[str, ...] = ()
    teacher: str = TEACHER
    teacher_folder: Path | None = None
    teacher_workers: int | None = None
    answer_tokens: int | None = None
    prompts: Path | None = None
    most_pictures: int | None = None
    max_unanswered: float = MAX_UNANSWERED
    negatives_judge_urls: tuple[str, ...] = ()
    negatives_judge: str = JUDGE
    judge_workers: int | None = None
    max_unjudged: float = MAX_UNJUDGED
    model_folder: Path | None = None
    phase: str = ""
    start: Path | None = None
    workers: int | None = None
    step_timeout: float = STEP_TIMEOUT
    stop_after: int | None = None
    max_pixels: int = MAX_PIXELS
    verify: bool = True
    convert_workers: int = 1
    split: str = "original"
    corpora: tuple[str, ...] = ()
    choice: Choice = field(default_factory=Choice)


def stages(context: Context, machine: Machine) -> list[Stage]:
    """The chain for a context. All settings are checked before anything runs; a user's data replaces the toy world."""
    names = ORDER if context.data == context.toy else ORDER[1:]
    return [made for name in names for made in _made(name, context, machine)]


def _made(name: str, context: Context, machine: Machine) -> Iterator[Stage]:
    """A stage by its name; of `train` one for each phase, and in front of it what finds and judges its hard negatives."""
    if name != "train":
        yield stage(name, context, machine)
        return
    for phase in context.recipe.phases:
        of_phase = replace(machine, phase=phase.name)
        if phase.negatives.mined is not None:
            yield stage("mine", context, of_phase)
        if isinstance(phase.negatives, Judged):
            yield stage("judge", context, of_phase)
        yield stage(name, context, of_phase)


def stage(name: str, context: Context, machine: Machine) -> Stage:
    """One stage by its name. Raises PipelineError for settings that cannot work."""
    return _MAKE[name](context, machine)


def run_chain(chain: Sequence[Stage], context: Context, *, until: str = ORDER[-1], run: Runner = run_stage) -> Iterator[Outcome]:
    """Run the stages up to and with `until`, yielding each outcome. Raises PipelineError where a stage cannot go on."""
    with chain_run(context) as parent_run:
        within_run = replace(context, parent_run=parent_run)
        for step in stages_until(chain, until):
            yield run(step, within_run)


def stages_until(chain: Sequence[Stage], until: str) -> list[Stage]:
    """The stages up to and with `until`; what stands in front of a training belongs to it."""
    return [step for step in chain if _place(step) <= ORDER.index(until)]


def _place(step: Stage) -> int:
    """The place of a stage in the order; mining and judging belong to the training that they stand in front of."""
    name = step.name.partition("-")[0]
    return ORDER.index("train" if name in ("mine", "judge") else name)


def convert_stage(context: Context, machine: Machine) -> ConvertStage:
    """Stage `convert`, which can also be run in slices."""
    return ConvertStage(
        context=context,
        max_pixels=machine.max_pixels,
        verify=machine.verify,
        workers=machine.convert_workers,
        split=machine.split,
        corpora=machine.corpora,
    )


def synthesize_stage(context: Context, machine: Machine) -> SynthesizeStage:
    """Stage `synthesize`, which can also be run in slices."""
    folder = machine.teacher_folder
    return SynthesizeStage(
        context=context,
        url=machine.url,
        local=LocalTeacher(folder=folder, answer_tokens=machine.answer_tokens) if folder else None,
        model=machine.teacher,
        workers=machine.teacher_workers,
        answer_tokens=machine.answer_tokens,
        prompts=machine.prompts,
        most_pictures=machine.most_pictures,
        max_unanswered=machine.max_unanswered,
    )


def _mine(context: Context, machine: Machine) -> Stage:
    return MineStage(train=_train(context, machine))


def _judge(context: Context, machine: Machine) -> Stage:
    return JudgeStage(
        train=_train(context, machine),
        url=machine.negatives_judge_urls,
        model=machine.negatives_judge,
        workers=machine.judge_workers,
        max_unjudged=machine.max_unjudged,
    )


def _train(context: Context, machine: Machine) -> TrainStage:
    names = [phase.name for phase in context.recipe.phases]
    if not machine.phase and len(names) > 1:
        raise ConfigError(f"recipe {context.recipe.name} has the phases {', '.join(names)}; name one: --phase {names[0]}")
    phase = context.recipe.until(machine.phase).phase.name if machine.phase else names[0]
    return TrainStage(
        context=context,
        phase=phase,
        start=machine.start,
        workers=machine.workers,
        step_timeout=machine.step_timeout,
        stop_after=machine.stop_after,
    )


_MAKE: Mapping[str, Callable[[Context, Machine], Stage]] = {
    "toy": lambda context, machine: ToyStage(context=context),
    "convert": lambda context, machine: convert_stage(context, machine),
    "synthesize": synthesize_stage,
    "model": lambda context, machine: ModelStage(context=context, model_folder=machine.model_folder),
    "measure": lambda context, machine: MeasureStage(context=context),
    "mine": _mine,
    "judge": _judge,
    "train": _train,
    "evaluate": lambda context, machine: EvaluateStage(context=context, choice=machine.choice),
    "report": lambda context, machine: ReportStage(context=context),
}
