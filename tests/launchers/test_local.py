"""Several processes as one training."""

from dataclasses import replace
from pathlib import Path

import pytest

from jobs.stage import PARENT_VARIABLE, Context, parent_in_environment
from jobs.train import TrainStage
from launchers import local
from launchers.exit_codes import STOPPED
from launchers.stages import runner
from pipeline.errors import PipelineError, StoppedError
from pipeline.recipes import load
from tests.pipeline.train.test_local_ranks import ranks


def test_the_processes_of_a_training_know_the_run_of_the_chain(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known: list[object] = []

    def run(command: object, *, processes: int, variables: object) -> list[int]:
        known.append(variables)
        return [1]

    monkeypatch.setattr(local, "run_ranks", run)
    context = Context(
        work=tmp_path, data=tmp_path / "toy", recipe=load("tiny"), tracking="nowhere://", parent_run=lambda: "chain-1"
    )
    with pytest.raises(PipelineError):
        local.run_in_processes(TrainStage(context=context), context, processes=2)
    assert known == [{PARENT_VARIABLE: "chain-1"}]
    monkeypatch.setenv(PARENT_VARIABLE, "chain-2")
    assert replace(context, parent_run=parent_in_environment).parent_run() == "chain-2"


@pytest.mark.parametrize(
    ("codes", "kind", "words"),
    [
        ([STOPPED, STOPPED], StoppedError, "the same command goes on"),
        ([-9, STOPPED], StoppedError, "goes on from its newest checkpoint"),  # one waited for its loader, the other for it
        ([-9, 3], PipelineError, "rank 0 was killed by SIGKILL, rank 1 ended with exit code 3"),
        ([0, 0], PipelineError, "no process finished it"),
    ],
)
def test_how_processes_end_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, codes: list[int], kind: type[PipelineError], words: str
) -> None:
    context = Context(work=tmp_path, data=tmp_path / "toy", recipe=load("tiny"), tracking="nowhere://")
    monkeypatch.setattr(local, "run_ranks", lambda *_, **__: codes)
    with pytest.raises(kind, match=words):
        local.run_in_processes(TrainStage(context=context), context, processes=2)


@pytest.mark.parametrize("end", ["None", "StoppedError('after a checkpoint')"])
def test_ranks_leave_their_group_when_they_finish_and_when_they_are_stopped(tmp_path: Path, end: str) -> None:
    """A stage that meets the others and then ends, in the place of training."""
    program = f"""
from pathlib import Path
import click
import torch.distributed as dist
from jobs import ranks
from launchers import stages
from pipeline.errors import StoppedError
def run(stage, context):
    assert ranks.agree(7 + rank) == 7 and dist.is_initialized()
    end = {end}
    if end:
        raise end
stages.runner, stages.tell = lambda processes: run, print
try:
    shared = {{"recipe": "tiny", "settings": (), "work": Path({str(tmp_path)!r}), "data": None, "force": False}}
    with click.Context(click.Command("train")):
        stages.one_stage("train", shared)
except StoppedError:
    sys.exit(75 if not dist.is_initialized() else 1)
sys.exit(dist.is_initialized())
"""
    assert ranks(program) == ([0, 0] if end == "None" else [75, 75])


@pytest.mark.parametrize(("is_done", "is_forced", "starts"), [(True, False, False), (True, True, True), (False, False, True)])
def test_a_finished_training_starts_no_process(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, is_done: bool, is_forced: bool, starts: bool
) -> None:
    called: list[str] = []
    monkeypatch.setattr("jobs.runner.is_done", lambda stage: is_done)
    monkeypatch.setattr("jobs.runner.run_stage", lambda stage, context: called.append("here"))
    monkeypatch.setattr("launchers.local.run_in_processes", lambda stage, context, processes: called.append("there"))
    context = Context(work=tmp_path, data=tmp_path / "toy", recipe=load("tiny"), tracking="nowhere://", force=is_forced)
    runner(2)(TrainStage(context=context), context)
    assert called == ["there" if starts else "here"]
