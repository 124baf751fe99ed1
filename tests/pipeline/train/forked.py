"""Small trainings on several ranks that meet with accidents: `python -m tests.pipeline.train.forked`, one job a line on stdin.

The ranks are forked from this process, which has imported everything and computed nothing, so a start costs a second and not ten.
Each job is answered by one line: the ranks' exit codes. What they print is in `<log>-<rank>.txt`.
"""

import json
import logging
import os
import resource
import signal
import socket
import sys
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, NoReturn
from unittest import mock

import torch

from launchers.exit_codes import STOPPED
from pipeline.errors import PipelineError, StoppedError
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train import engine, loop, slowest_rank
from pipeline.train.build import build_embedder
from pipeline.train.dataloader.plan import PlannedSide
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.dataloader.unreadable import Unreadable, UnreadableError
from pipeline.train.engine import Engine
from pipeline.train.fault_tolerance import watchdog
from pipeline.train.run_options import RunOptions, TrainingPaths
from tests.pipeline.corpus import MemoryQa, corpus, small_recipe
from tests.pipeline.train import recorded
from tests.pipeline.train.ranks import PERSISTENT

PATIENCE_SECONDS = 300.0
ANSWER = "exit codes: "
"""What an answer begins with; libraries write to stdout too."""


def nan_loss(engine: Engine, work: StepWork) -> StepWork:
    return replace(work, language_weight=float("nan"))


def infinite_gradient(engine: Engine, work: StepWork) -> StepWork:
    """One entry of one gradient of this rank is infinite, for one backward pass."""
    parameter = next(iter(engine.named.values()))

    def spoil(gradient: torch.Tensor) -> torch.Tensor:
        handle.remove()
        spoiled = gradient.clone()
        spoiled.view(-1)[0] = float("inf")
        return spoiled

    handle = parameter.register_hook(spoil)
    return work


def sleep(engine: Engine, work: StepWork) -> StepWork:
    time.sleep(10_000)
    return work


def full_disk(engine: Engine, work: StepWork) -> StepWork:
    """From now on no file of this rank may grow past 20,000 bytes: lines are written, tensors are not."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, resource.RLIM_INFINITY))
    return work


def slow(engine: Engine, work: StepWork) -> StepWork:
    """From now on each forward pass of this rank takes 0.3 s more."""
    engine.module.register_forward_pre_hook(lambda *_: time.sleep(0.3))
    return work


FAULTS: dict[str, Callable[[Engine, StepWork], StepWork]] = {
    "nan loss": nan_loss, "infinite gradient": infinite_gradient, "sleep": sleep, "full disk": full_disk,
    "slow": slow,
}  # fmt: skip


def with_fault(fault: dict[str, Any]) -> Callable[..., Any]:
    """`train_step` that goes wrong on one rank at some steps (counted from 1), once the folder that it awaits is there."""
    whole, taken = loop.train_step, [fault.get("begin", 0)]

    def step(engine: Engine, work: StepWork, *rest: Any) -> Any:
        taken[0] += 1
        is_here = engine.rank == fault["rank"] and taken[0] in fault["steps"]
        while is_here and not Path(fault.get("awaits", "/")).exists():
            time.sleep(0.01)
        return whole(engine, FAULTS[fault["kind"]](engine, work) if is_here else work, *rest)

    return step


def read_or_hang(stuck: dict[str, Any]) -> Callable[..., Any]:
    """`StepDataset.__getitem__` that never returns on one rank at a step; a file then names the process that hangs."""
    whole = StepDataset.__getitem__

    def read(dataset: StepDataset, step: int) -> Any:
        if dataset.rank == stuck["rank"] and step == stuck["step"]:
            Path(stuck["file"]).write_text(str(os.getpid()))
            time.sleep(10_000)
        return whole(dataset, step)

    return read


def lose_rows(lost: dict[str, int]) -> Callable[..., Any]:
    """`StepDataset.row` that can read nothing on one rank at a step."""
    whole = StepDataset.row

    def row(dataset: StepDataset, planned: PlannedSide, step: int) -> Any:
        if dataset.rank == lost["rank"] and step == lost["step"]:
            raise UnreadableError(Unreadable(key="k", side=planned.name, shard="set/00007.tar", reason="the disk is away"))
        return whole(dataset, planned, step)

    return row


def build_or_hang(rank: int, out: Path) -> Callable[..., Any]:
    """`build_embedder` that never returns on one rank; the file `hangs` beside `out` then tells that it does."""

    def build(*given: Any, **named: Any) -> Any:
        if os.environ["RANK"] == str(rank):
            (out.parent / "hangs").touch()
            time.sleep(10_000)
        return build_embedder(*given, **named)

    return build


def train(job: dict[str, Any], recipe: Recipe) -> None:
    out = Path(job["out"])
    paths = TrainingPaths(shards=out, qa=None, model=Path(job["folder"]), out=out)
    options = RunOptions(num_workers=job.get("workers", 0), step_timeout=job.get("step_timeout", 600.0))
    with (
        mock.patch.object(watchdog, "START_PATIENCE", job.get("start_patience", watchdog.START_PATIENCE)),
        mock.patch.object(slowest_rank, "FIRST_STEPS", 5),
        mock.patch.object(watchdog, "STOP_GRACE", job.get("stop_grace", watchdog.STOP_GRACE)),
        mock.patch.object(StepDataset, "__getitem__", read_or_hang(job["stuck"]) if "stuck" in job else StepDataset.__getitem__),
        mock.patch.object(StepDataset, "row", lose_rows(job["lost"]) if "lost" in job else StepDataset.row),
        mock.patch.object(loop.ShardIndex, "open", return_value=corpus().broken(*job.get("broken", ()))),
        mock.patch.object(loop.QaTable, "open", return_value=MemoryQa()),
        mock.patch.object(loop, "train_step", with_fault(job["fault"]) if "fault" in job else loop.train_step),
        mock.patch.object(loop, "build_embedder", build_or_hang(job["hangs"], out) if "hangs" in job else loop.build_embedder),
    ):
        loop.train(paths, recipe, NullTracker(), progress=lambda *_: None, options=options, stop_after=job.get("stop_after"))


def record(job: dict[str, Any]) -> None:
    """Runs one after another with all their collectives; a part "stopped" ends by a signal, the next one takes it up again.

    Of the first step rank 0 has all pictures.
    """
    recorder = recorded.Recorder()
    for name, tower, phase in job["recorded"]:
        out = Path(job["out"]) / name
        for part in job["parts"]:
            step = recorded.stopping(loop.train_step) if part == "stopped" else loop.train_step
            with (
                recorder.writing(out.with_name(f"{name}-{part}-{os.environ['RANK']}.json")),
                mock.patch.object(StepDataset, "__getitem__", recorded.pictures_apart),
                mock.patch.object(loop, "train_step", step),
                suppress(StoppedError),
            ):
                train({**job, "out": str(out)}, recorded.recipe_of(tower, **phase))


def be_rank(job: dict[str, Any], rank: int, port: int) -> NoReturn:
    logging.getLogger("pipeline.train.slowest_rank").setLevel(logging.INFO)
    log = os.open(f"{job['log']}-{rank}.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    os.dup2(log, 1)
    os.dup2(log, 2)
    logging.basicConfig(format="%(message)s")
    names = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": job["ranks"], "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    os.environ.update({name: str(value) for name, value in names.items()})
    code = 0
    try:
        record(job) if "recorded" in job else train(job, small_recipe(**job["phase"]))
    except PipelineError as error:
        sys.stderr.write(f"error: {error}\n")
        code = STOPPED if isinstance(error, StoppedError) else 1
    except BaseException:  # noqa: BLE001 (a forked rank must not go on as its parent)
        traceback.print_exc()
        code = 3
    sys.stderr.flush()
    os._exit(code)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


class Ranks:
    """Forked ranks of one job, and their exit codes as far as they have ended."""

    def __init__(self, job: dict[str, Any]) -> None:
        port = free_port()
        self.pids, self.codes = [], [None] * job["ranks"]
        for rank in range(job["ranks"]):
            pid = os.fork()
            if not pid:
                be_rank(job, rank, port)
            self.pids.append(pid)

    def look(self) -> None:
        for rank, pid in enumerate(self.pids):
            if self.codes[rank] is None:
                ended, status = os.waitpid(pid, os.WNOHANG)
                self.codes[rank] = os.waitstatus_to_exitcode(status) if ended else None

    def send(self, number: int, *ranks: int) -> None:
        for rank in ranks:
            if self.codes[rank] is None:
                os.kill(self.pids[rank], number)

    def wait_until(self, is_so: Callable[[], bool], seconds: float = PATIENCE_SECONDS) -> None:
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            self.look()
            if is_so() or None not in self.codes:
                return
            time.sleep(0.005)


def lines(file: Path) -> int:
    return file.read_bytes().count(b"\n") if file.exists() else 0


def run(job: dict[str, Any]) -> list[int | None]:
    """Start the ranks, strike some of them at the given number of log lines, and see how all end. Survivors are killed."""
    ranks, metrics, everyone = Ranks(job), Path(job["out"]) / "metrics.jsonl", range(job["ranks"])
    strike = job.get("strike")
    if strike:
        ranks.wait_until(lambda: lines(metrics) >= strike["lines"] and Path(strike.get("awaits", "/")).exists())
        time.sleep(strike["delay"])
        ranks.send(strike["signal"], *strike["ranks"])
    ranks.wait_until(lambda: job.get("one_is_enough", False) and any(ranks.codes), job.get("seconds", PATIENCE_SECONDS))
    left = list(ranks.codes)
    ranks.send(signal.SIGKILL, *everyone)
    ranks.wait_until(lambda: False)
    return left


def main() -> None:
    torch.set_num_threads(1)
    engine.PERSISTENT = PERSISTENT
    for line in sys.stdin:
        sys.stdout.write(ANSWER + json.dumps(run(json.loads(line))) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
