"""Slurm's own commands: submit a script, ask what became of a job, cancel one."""

import shutil
import subprocess
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import PipelineError

WAITING = ("PENDING", "REQUEUED", "REQUEUE_HOLD", "SPECIAL_EXIT")
RUNNING = ("RUNNING", "CONFIGURING", "COMPLETING", "SUSPENDED", "STAGE_OUT", "SIGNALING", "RESIZING")
_SECONDS = 60.0


class SlurmError(PipelineError):
    """Slurm is not there, or refused."""


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuedJob:
    """What Slurm says of a job: its state, why it waits or how it failed, and how often it was put back."""

    state: str
    reason: str = ""
    restarts: int = 0

    @property
    def is_over(self) -> bool:
        """Whether it neither waits nor runs any more."""
        return self.state not in (*WAITING, *RUNNING)


GONE = QueuedJob(state="GONE", reason="Slurm does not know the job any more")


def submit(script: Path, *, after: str = "") -> str:
    """Submit a script, to begin when the job `after` has ended well. Returns the job's number."""
    dependent = [f"--dependency=afterok:{after}", "--kill-on-invalid-dep=yes"] if after else []
    return _call("sbatch", "--parsable", *dependent, str(script)).strip().partition(";")[0]


def look_up(number: str) -> QueuedJob:
    """What became of a job, of an array the state that matters most. `GONE` for one that Slurm has forgotten."""
    try:
        lines = _call("scontrol", "--oneliner", "show", "job", number).splitlines()
    except SlurmError as error:
        if "Invalid job id" not in str(error):
            raise
        return _from_accounting(number)
    tasks = [dict(word.split("=", 1) for word in line.split() if "=" in word) for line in lines]
    return _summary([_of_fields(task) for task in tasks])


def _of_fields(fields: dict[str, str]) -> QueuedJob:
    state, reason = fields.get("JobState", "GONE"), fields.get("Reason", "None")
    if state in ("FAILED", "NODE_FAIL") and fields.get("ExitCode", "0:0") != "0:0":
        code, _, number = fields["ExitCode"].partition(":")
        reason = f"exit code {code}" if number == "0" else f"signal {number}"
    return QueuedJob(state=state, reason="" if reason == "None" else reason, restarts=int(fields.get("Restarts", 0)))


def _summary(tasks: Sequence[QueuedJob]) -> QueuedJob:
    """Of a job its state; of an array a failed task's if there is one, else one that runs, else one that waits."""
    if len(tasks) == 1:
        return tasks[0]
    told = ", ".join(f"{count} {state.lower()}" for state, count in Counter(task.state for task in tasks).most_common())
    for chosen in (_has_failed, lambda task: task.state in RUNNING, lambda task: task.state in WAITING):
        for task in tasks:
            if chosen(task):
                return QueuedJob(state=task.state, reason=f"slices: {told}", restarts=sum(each.restarts for each in tasks))
    return tasks[0] if tasks else GONE


def _has_failed(task: QueuedJob) -> bool:
    return task.is_over and task.state != "COMPLETED"


def _from_accounting(number: str) -> QueuedJob:
    """The state that Slurm's accounting kept, where there is one."""
    try:
        lines = _call("sacct", "-X", "--noheader", "--parsable2", "--format=State", "-j", number).split("\n")
    except SlurmError:
        return GONE
    return _summary([QueuedJob(state=line.split()[0]) for line in lines if line.strip()] or [GONE])


def cancel(numbers: Sequence[str]) -> None:
    """Cancel jobs; those that are over are left as they are."""
    _call("scancel", *numbers)


def _call(*command: str) -> str:
    if shutil.which(command[0]) is None:
        raise SlurmError(f"{command[0]}: not on PATH; run this on a login node of a Slurm cluster, or use --on local")
    try:
        ended = subprocess.run(command, capture_output=True, text=True, check=False, timeout=_SECONDS)
    except subprocess.TimeoutExpired as error:
        raise SlurmError(f"{command[0]}: no answer from Slurm within {_SECONDS:.0f} s; try again") from error
    if ended.returncode:
        raise SlurmError(f"{command[0]}: {' '.join(ended.stderr.split()) or f'exit code {ended.returncode}'}")
    return ended.stdout
