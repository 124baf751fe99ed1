"""`crem status`, `crem logs` and `crem cancel`: how far the stages of a work folder are, here or on a Slurm cluster."""

import itertools
import os
import shutil
from collections import deque
from pathlib import Path

import click

from jobs.status import StageStatus, stage_states
from launchers import options
from launchers.slurm import queue
from launchers.slurm.submitted import Submitted, log_files, noted
from pipeline.errors import ConfigError

WORK = click.option(
    "--work", type=click.Path(path_type=Path, file_okay=False), default=options.DEFAULT_WORK, help="Its work folder."
)
LAST_LINES = 5


@click.command()
@WORK
def status(work: Path) -> None:
    """Say of each stage whether it is done, runs, waits or failed, and why; of a training its step, rate, time left and losses.

    It reads the work folder and, where the chain was submitted, asks Slurm. Of a job that failed it prints the last lines.

    \b
    Examples:
      crem status --work runs/crem_2b
    """
    jobs = {job.name: job for job in noted(work)}
    states = {state.name: state for state in stage_states(work)}
    for name in _in_order(list(states), list(jobs)):
        _tell(work, states.get(name, StageStatus(name=name)), jobs.get(name))


def _in_order(stages: list[str], jobs: list[str]) -> list[str]:
    """Names of stages, and of jobs that are none (slices of a conversion) in front of the job that follows them."""
    names = list(stages)
    for job, following in reversed(list(itertools.zip_longest(jobs, jobs[1:]))):
        if job not in names:
            names.insert(names.index(following) if following in names else len(names), job)
    return names


def _tell(work: Path, stage: StageStatus, job: Submitted | None) -> None:
    """A stage's line, and the end of its log where its job failed."""
    found = queue.look_up(job.number) if job else None
    notes = [stage.note] if stage.note else []
    state = stage.state
    if job and found:
        state = _combined(stage.state, found)
        reason = f" ({found.reason})" if found.reason else ""
        notes.insert(0, f"job {job.number} {found.state.lower()}{reason}")
        notes += [f"put back {found.restarts} times"] if found.restarts else []
    click.echo(f"{stage.name:<14} {state or '-':<11} {'; '.join(notes)}".rstrip())
    for log in log_files(work, job) if job and state == "failed" else []:
        click.echo(f"  {log}")
        for line in _tail(log, LAST_LINES):
            click.echo(f"    {line}")


def _combined(state: str, job: queue.QueuedJob) -> str:
    """What the folder says and what Slurm says, in one word: a job that lives or failed knows better."""
    if job.state in queue.RUNNING:
        return "running"
    if job.state in queue.WAITING:
        return "pending"
    if job.state == "COMPLETED":
        return "done"
    if job == queue.GONE:
        return state or "unknown"
    return "failed"


def _tail(file: Path, lines: int) -> list[str]:
    with file.open(encoding="utf-8", errors="replace") as opened:
        return [line.rstrip() for line in deque(opened, maxlen=lines)]


@click.command()
@WORK
@click.argument("stage")
@click.option("--follow", "-f", is_flag=True, help="Go on with what is written from now on, until Ctrl-C.")
@click.option("--lines", "-n", type=click.IntRange(1), default=50, help="Lines from the end.")
def logs(work: Path, stage: str, follow: bool, lines: int) -> None:
    """Print the end of what the Slurm job of a stage wrote.

    \b
    Examples:
      crem logs train --work runs/crem_2b -f
      crem logs convert --work runs/crem_2b --lines 10
    """
    jobs = {job.name: job for job in noted(work)}
    if stage not in jobs:
        raise ConfigError(f"{stage}: no job of that name was submitted from {work}; there are: {', '.join(jobs) or 'none'}")
    files = [str(path) for path in log_files(work, jobs[stage])]
    if not files:
        found = queue.look_up(jobs[stage].number)
        raise ConfigError(f"{stage}: job {jobs[stage].number} has written nothing yet ({found.state.lower()} {found.reason})")
    if follow:
        tail = shutil.which("tail") or "tail"
        os.execv(tail, ["tail", f"--lines={lines}", "--follow=name", "--retry", *files])
    for file in files:
        if len(files) > 1:
            click.echo(f"== {file}")
        for line in _tail(Path(file), lines):
            click.echo(line)


@click.command()
@WORK
def cancel(work: Path) -> None:
    """Cancel the Slurm jobs of a work folder that wait or run. What they finished stays, and a training's checkpoints too.

    \b
    Examples:
      crem cancel --work runs/crem_2b
    """
    live = [job for job in noted(work) if not queue.look_up(job.number).is_over]
    if live:
        queue.cancel([job.number for job in live])
    click.echo(f"cancelled: {', '.join(f'{job.name} {job.number}' for job in live) or 'nothing was queued or running'}")
