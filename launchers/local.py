"""Training on this machine: in this process, or in several that torch's elastic launcher starts and watches."""

import os
import subprocess
import sys
import time
from collections.abc import Sequence

from jobs.runner import Outcome, write_recipe
from jobs.stage import Context, Stage
from pipeline.errors import PipelineError
from pipeline.manifest import Manifest


def elastic_command(arguments: Sequence[str], *, processes: int) -> list[str]:
    """The command line that starts `crem ARGUMENTS` in several processes; a failed one ends them all, none is restarted."""
    launcher = [
        sys.executable,
        "-m",
        "torch.distributed.run",
        "--standalone",
        f"--nproc-per-node={processes}",
        "--max-restarts=0",
    ]
    return [*launcher, "-m", "launchers.cli", *arguments]


def train_in_processes(stage: Stage, context: Context, *, processes: int, workers: int) -> Outcome:
    """Run the train stage in several processes and return its outcome. Raises PipelineError when they do not finish.

    The children find their settings on their command line, as a user's own `crem train` would.
    """
    arguments = ["train", "--recipe", str(write_recipe(context)), "--work", str(context.work), "--workers", str(workers)]
    if context.data != context.toy:
        arguments += ["--data", str(context.data)]
    if context.force:
        arguments.append("--force")
    before, begun = Manifest.read(stage.folder), time.monotonic()
    # As many threads in each process as leave every core one, or they would wait for each other.
    environment = {**os.environ, "OMP_NUM_THREADS": str(max(1, (os.cpu_count() or 1) // processes))}
    command = elastic_command(arguments, processes=processes)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, env=environment) as children:
        try:
            code = children.wait()
        except BaseException:
            children.terminate()
            children.wait()
            raise
    manifest = Manifest.read(stage.folder)
    if code or manifest is None:
        raise PipelineError(f"train: {processes} processes ended with exit code {code}; the first error above says why")
    seconds = time.monotonic() - begun
    return Outcome(stage=stage.name, folder=stage.folder, manifest=manifest, was_done=manifest == before, seconds=seconds)


def is_elastic_child() -> bool:
    """Whether torch's elastic launcher started this process; the command that called the launcher does the talking then."""
    return "TORCHELASTIC_RUN_ID" in os.environ
