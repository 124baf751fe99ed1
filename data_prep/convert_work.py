"""The work of a conversion: shards made one after another in this process, or dealt out to several."""

import multiprocessing
import os
import signal
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import islice
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any

from data_prep.sources import Source
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.row_ranges import RowRanges
from pipeline.data.shard_plan import ShardPlan
from pipeline.data.shard_writer import Item, write_shard
from pipeline.errors import DataError, PipelineError

PROGRESS_ROWS = 100

Progress = Callable[[str, int, int], None]
"""Called with a dataset, its rows done, and its rows in all."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Shards of a dataset that are to be made."""

    source: Source
    plan: ShardPlan
    shards: tuple[int, ...] = ()

    @property
    def rows(self) -> int:
        """Source rows of the shards."""
        return sum(len(self.plan.rows_of(number)) for number in self.shards)


def run_jobs(jobs: Sequence[Job], out: Path, *, workers: int, progress: Progress) -> None:
    """Make the shards of all jobs, in as many processes. Raises the first error that one meets; the others stop then."""
    done = {job.plan.dataset: job.plan.rows - job.rows for job in jobs}
    totals = {job.plan.dataset: job.plan.rows for job in jobs}

    def report(dataset: str, rows: int) -> None:
        done[dataset] += rows
        progress(dataset, done[dataset], totals[dataset])

    shares = [share for share in _dealt(jobs, workers) if share]
    if len(shares) > 1:
        _in_processes(shares, out, report)
        return
    for share in shares:
        make(share, out, report)


def make(jobs: Sequence[Job], out: Path, report: Callable[[str, int], None]) -> None:
    """Make shards in this process. `report` is called with a dataset and the rows that have come since the last call."""
    for job in jobs:
        counts = Counter[str]()
        assert job.plan.max_pixels is not None
        prepare = PicturePreparer(max_pixels=job.plan.max_pixels, verify=job.plan.verify, counts=counts)
        spans = [job.plan.rows_of(number) for number in job.shards]
        items = job.source.read(prepare, counts, RowRanges.of(spans))
        for number, span in zip(job.shards, spans, strict=True):
            counts.clear()
            rows = _watched(islice(items, len(span)), job.plan.dataset, report)
            write_shard(rows, out, job.plan, number, counts)
            report(job.plan.dataset, len(span) % PROGRESS_ROWS)


def _watched(items: Iterator[Item], dataset: str, report: Callable[[str, int], None]) -> Iterator[Item]:
    for number, item in enumerate(items, start=1):
        if number % PROGRESS_ROWS == 0:
            report(dataset, PROGRESS_ROWS)
        yield item


def _dealt(jobs: Sequence[Job], workers: int) -> list[list[Job]]:
    """The shards in turn to each worker, so that all have of every dataset and read its files from front to back."""
    deck = [(place, number) for place, job in enumerate(jobs) for number in job.shards]
    shares = []
    for worker in range(workers):
        mine = deck[worker::workers]
        taken = [replace(job, shards=tuple(number for at, number in mine if at == place)) for place, job in enumerate(jobs)]
        shares.append([job for job in taken if job.shards])
    return shares


def _in_processes(shares: Sequence[Sequence[Job]], out: Path, report: Callable[[str, int], None]) -> None:
    with _started(shares, out) as running:
        while running:
            for connection in wait(list(running)):
                assert isinstance(connection, Connection)
                message = _received(connection)
                if isinstance(message, tuple):
                    report(*message)
                elif isinstance(message, str):
                    raise DataError(message)
                else:
                    _check_end(running.pop(connection))


@contextmanager
def _started(shares: Sequence[Sequence[Job]], out: Path) -> Iterator[dict[Connection, BaseProcess]]:
    """A process for each share, by the connection that it reports to; those that still run at the end are stopped."""
    fork = multiprocessing.get_context("fork")
    processes: list[BaseProcess] = []
    running: dict[Connection, BaseProcess] = {}
    try:
        for share in shares:
            ours, theirs = fork.Pipe(duplex=False)
            process: BaseProcess = fork.Process(target=_work, args=(share, out, theirs), daemon=True)
            process.start()
            theirs.close()
            processes.append(process)
            running[ours] = process
        yield running
    finally:
        for process in processes:
            process.terminate()
            process.join()


def _work(share: Sequence[Job], out: Path, connection: Connection) -> None:
    """What a worker does: an error that the user can mend goes to the parent as its message."""
    parent = os.getppid()
    # Ctrl-C reaches the whole group; the parent stops its workers itself.
    signal.signal(signal.SIGINT, signal.SIG_IGN)

    def report(dataset: str, rows: int) -> None:
        if os.getppid() != parent:
            raise SystemExit("the conversion was killed")
        connection.send((dataset, rows))

    try:
        make(share, out, report)
    except PipelineError as error:
        connection.send(str(error))
    except OSError as error:
        connection.send(f"{error.filename or 'the file system'}: {error.strerror or error}")


def _received(connection: Connection) -> Any:
    """The next message of a worker, None where it has ended."""
    try:
        return connection.recv()
    except EOFError:
        return None


def _check_end(process: BaseProcess) -> None:
    process.join()
    if process.exitcode:
        raise PipelineError(
            f"a worker process of the conversion ended with code {process.exitcode} (-9: killed, often for want of memory); "
            "run the same command again, it goes on"
        )
