"""The jobs of a work folder: their scripts are written and submitted, each behind the one before it, and noted as they go."""

import json
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from launchers.slurm import queue
from launchers.slurm.job import Job
from launchers.slurm.site import Site
from pipeline.errors import PipelineError
from pipeline.manifest import write_atomic

NOTE_NAME = "jobs.json"


@dataclass(frozen=True, slots=True, kw_only=True)
class Submitted:
    """A job that was submitted: the stage's name, Slurm's number, and where it writes what it says."""

    name: str
    number: str
    logs: str
    """A glob below the folder of scripts: a log, or one for each slice."""


def folder_of(work: Path) -> Path:
    """Where scripts, logs and the note of the jobs of a work folder stand."""
    return work.absolute() / "slurm"


def scripts(jobs: Sequence[Job], work: Path, site: Site, variables: Mapping[str, str]) -> dict[Path, str]:
    """The texts of the jobs' scripts by their paths, in order, and `variables` of the environment in each."""
    folder, python = folder_of(work), _stand_in(work) if site.container else _python(site)
    paths = [folder / f"{place:02d}-{job.name}.sh" for place, job in enumerate(jobs, 1)]
    made = [job.script(folder, site, cwd=Path.cwd(), python=str(python), variables=variables) for job in jobs]
    return dict(zip(paths, made, strict=True))


def stand_ins(work: Path, site: Site) -> dict[Path, str]:
    """With a container a script that stands for its Python, since ranks are started as one program; nothing without."""
    if not site.container:
        return {}
    return {_stand_in(work): f'#!/usr/bin/env bash\nexec {site.container} {shlex.quote(_python(site))} "$@"\n'}


def _stand_in(work: Path) -> Path:
    return folder_of(work) / "python.sh"


def _python(site: Site) -> str:
    return site.python or sys.executable


def write_scripts(files: Mapping[Path, str], work: Path) -> None:
    """Write scripts into the folder, in place of those of the submission before."""
    folder_of(work).mkdir(parents=True, exist_ok=True)
    for old in folder_of(work).glob("[0-9][0-9]-*.sh"):
        old.unlink()
    for path, text in files.items():
        write_atomic(path, text)
        path.chmod(0o755)


def submit_all(jobs: Sequence[Job], scripts: Sequence[Path], work: Path) -> list[Submitted]:
    """Submit the scripts, each to begin when the one before has ended well.

    Raises PipelineError where Slurm refuses one; those before it are cancelled.
    """
    done: list[Submitted] = []
    try:
        for job, script in zip(jobs, scripts, strict=True):
            number = queue.submit(script, after=done[-1].number if done else "")
            logs = f"{job.name}-{number}_*.log" if job.tasks else f"{job.name}-{number}.log"
            done.append(Submitted(name=job.name, number=number, logs=logs))
            _note(work, done)
    except PipelineError:
        if done:
            queue.cancel([job.number for job in done])
        raise
    return done


def refuse_queued(work: Path) -> None:
    """Raise PipelineError where jobs of this work folder still wait or run."""
    queued = [job for job in noted(work) if not queue.look_up(job.number).is_over]
    if queued:
        told = ", ".join(f"{job.name} {job.number}" for job in queued)
        raise PipelineError(f"{work}: its jobs are still queued or running ({told}); wait for them, or crem cancel --work {work}")


def _note(work: Path, jobs: Sequence[Submitted]) -> None:
    write_atomic(folder_of(work) / NOTE_NAME, json.dumps([asdict(job) for job in jobs], indent=1) + "\n")


def noted(work: Path) -> list[Submitted]:
    """The jobs of the last submission, in order; none where nothing was submitted."""
    path = folder_of(work) / NOTE_NAME
    try:
        return [Submitted(**job) for job in json.loads(path.read_text(encoding="utf-8"))]
    except FileNotFoundError:
        return []
    except (ValueError, TypeError) as error:
        raise PipelineError(f"{path}: not a note of jobs ({error}); remove it, and see squeue for what runs") from error


def log_files(work: Path, job: Submitted) -> list[Path]:
    """The files that a job has written so far."""
    return sorted(folder_of(work).glob(job.logs))
