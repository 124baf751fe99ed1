"""Where a run comes from: code, person, machine, job and versions. Named facts alone: an environment holds secrets."""

import contextlib
import getpass
import os
import platform
import socket
import subprocess
from importlib import metadata
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGES = ("crem-pipeline", "torch", "transformers", "deepspeed", "mlflow")
JOB_VARIABLES = (
    "SLURM_JOB_ID",
    "SLURM_ARRAY_JOB_ID",
    "SLURM_ARRAY_TASK_ID",
    "SLURM_RESTART_COUNT",
    "SLURM_JOB_NODELIST",
    "PBS_JOBID",
    "LSB_JOBID",
)
"""What the schedulers call a job, and the nodes it has."""

_GIT_SECONDS = 5.0
_DIRTY = "-dirty"


def origin_tags(stage: str) -> dict[str, str]:
    """Tags of a run, under MLflow's own names where it has some. What cannot be found out is left out."""
    tags = {
        "mlflow.source.name": f"crem {stage}",
        "crem.host": socket.gethostname(),
        "crem.version.python": platform.python_version(),
        **_git_tags(ROOT),
        **{f"crem.job.{name.lower()}": os.environ[name] for name in JOB_VARIABLES if os.environ.get(name)},
    }
    with contextlib.suppress(KeyError, OSError):  # a container's user without a name
        tags["mlflow.user"] = getpass.getuser()
    for package in PACKAGES:
        with contextlib.suppress(metadata.PackageNotFoundError):
            tags[f"crem.version.{package}"] = metadata.version(package)
    return tags


def _git_tags(root: Path) -> dict[str, str]:
    """Commit of the checkout that the code runs from, and whether files that it keeps were changed since.

    Empty for code that was installed: a repository further up is another project's.
    """
    try:
        if Path(_git(root, "rev-parse", "--show-toplevel")) != root:
            return {}
        named = _git(root, "describe", "--always", "--abbrev=40", "--exclude=*", f"--dirty={_DIRTY}")
    except (OSError, subprocess.SubprocessError):
        return {}
    is_dirty = named.endswith(_DIRTY)
    return {"mlflow.source.git.commit": named.removesuffix(_DIRTY), "mlflow.source.git.dirty": str(is_dirty).lower()}


def _git(root: Path, *arguments: str) -> str:
    """What git says of a checkout, whatever the caller's variables name (a hook of another repository sets GIT_DIR)."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("GIT_")}
    done = subprocess.run(
        ["git", "-C", str(root), *arguments],
        env=environment,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        check=True,
        timeout=_GIT_SECONDS,
    )
    return done.stdout.strip()
