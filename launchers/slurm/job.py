"""One Slurm job of the chain, and its script: a file that a user can read, change and submit by hand."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from launchers.slurm.site import Site

TRAIN_SCRIPT = Path(__file__).parents[1] / "slurm_train.sh"


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """A stage as a job: `words` follow `crem`. `gpus` are those of a node; `tasks` are the slices of an array (0: no array).

    `is_training` jobs run one rank a GPU on `nodes` nodes, by launchers/slurm_train.sh, whose words follow `crem train`; they
    tell the ranks shortly before the time is up, and are put back into the queue.
    """

    name: str
    words: tuple[str, ...]
    nodes: int = 1
    gpus: int = 0
    tasks: int = 0
    is_training: bool = False

    def log(self, folder: Path, number: str = "%j") -> Path:
        """Where the job writes what it says; those of an array's tasks carry the number of their slice."""
        return folder / (f"{self.name}-%A_%a.log" if self.tasks and number == "%j" else f"{self.name}-{number}.log")

    def script(self, folder: Path, site: Site, *, cwd: Path, python: str, variables: Mapping[str, str]) -> str:
        """The text of the script; `folder` takes its log, the command runs in `cwd` with `variables` in its environment."""
        lines = ["#!/usr/bin/env bash", f"# {self.name}: made by crem run --on slurm; to submit it by hand: sbatch THIS_FILE"]
        lines += [f"#SBATCH {option}" for option in self._options(folder, site)]
        lines += ["set -euo pipefail", f"cd {shlex.quote(str(cwd))}", *site.setup]
        lines += [f"export {name}={shlex.quote(value)}" for name, value in variables.items()]
        return "\n".join([*lines, *self._command(site, python)]) + "\n"

    def _options(self, folder: Path, site: Site) -> list[str]:
        """What sbatch is told; a path with a space would end its option there, so it is quoted."""
        ranks = max(self.gpus, 1) if self.is_training else 1
        cores = site.cpus_per_gpu if self.is_training else site.cpus_per_gpu * self.gpus or site.cpus
        options = [f"--job-name=crem-{self.name}", f'--output="{self.log(folder)}"', "--open-mode=append", "--requeue"]
        options += [f"--nodes={self.nodes}", f"--ntasks-per-node={ranks}", f"--cpus-per-task={cores}"]
        options += [f"--gpus-per-node={self.gpus}"] if self.gpus else []
        options += [f"--array=0-{self.tasks - 1}"] if self.tasks else []
        options += ["--signal=B:USR1@120"] if self.is_training else []
        return [*options, *site.sbatch_options(has_gpus=self.gpus > 0)]

    def _command(self, site: Site, python: str) -> list[str]:
        """The last lines: the environment of ours, and the command in place of the shell, so that it gets Slurm's signals."""
        lines = [f"export CREM_PYTHON={shlex.quote(python)}"]
        if self.is_training:
            return [
                *lines,
                "export SLURM_SUBMIT_DIR=$PWD",
                f"exec bash {shlex.quote(str(TRAIN_SCRIPT))} {_continued(self.words)}",
            ]
        # One thread a process where several share the cores; a lone one with a GPU takes what it was given.
        threads = "$SLURM_CPUS_PER_TASK" if self.gpus else "1"
        slices = f' --shard-index "$SLURM_ARRAY_TASK_ID" --num-shards {self.tasks}' if self.tasks else ""
        command = f'exec "$CREM_PYTHON" -m launchers.cli {_continued(self.words)}{slices}'
        return [*lines, f"export OMP_NUM_THREADS={threads}", command]


def _continued(words: tuple[str, ...]) -> str:
    """Words of a shell, an option with its value on a line of its own."""
    breaks = " \\\n  "
    return "".join((breaks if word.startswith("--") else " ") + shlex.quote(word) for word in words).removeprefix(" ")
