"""Finds a hung rank: every rank gives signs of life, and one whose start or step takes too long prints its stacks and ends.

A thread in each rank writes a small file now and then: what the rank does, since when, and where its main thread stands. When
that has taken longer than the patience allows, the rank prints all its stacks, says what the other ranks' files tell, and leaves
with exit code `HUNG`, which makes the launcher end the others. A rank that waits in a collective gives the one it waits for the
first word, and waits on while that one gets on. Should even the thread be stuck, faulthandler ends the rank without it.

A rank that is asked to stop does so at the end of a step. One that does not get there, because it waits for its data or is still
at its start, leaves after `STOP_GRACE` with exit code `STOPPED`: its scheduler would kill it soon, and it has nothing to save.
"""

import contextlib
import faulthandler
import json
import multiprocessing
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import FrameType, TracebackType
from typing import NoReturn

import torch
import torch.distributed as dist

from pipeline.train.fault_tolerance.signals import STOPPED, StopNote

HUNG = 70
"""Exit code of a rank that its own watch ended."""

HUNG_NOTE = "CREM_HUNG_NOTE"
"""Names the file by which a hung rank tells the batch script, which sees the exit code of the ranks that are then killed."""

START_PATIENCE = 1800.0
"""Seconds that each part of the start may take, or the patience where that is more: a large model loads longer than a step."""

WAITING_FACTOR = 1.25
"""How much longer a rank is given that waits for others."""

STOP_GRACE = 60.0
"""Seconds that a rank which is asked to stop may go on waiting for data, or starting: half of what Slurm's script has."""

COMPUTES = ("training", "evaluating")
"""What a rank does when it computes with the others."""

READS = "reading"
"""What a rank does that waits for its loader processes."""

_STDERR = 2
_COLLECTIVES = ("torch/distributed/", "deepspeed/comm/", "pipeline/train/collectives.py")


@dataclass(frozen=True, slots=True, kw_only=True)
class Beat:
    """A sign of life: `doing` since `idle` seconds at `step` (1-based; 0: the start); `time` is the clock's, `at` our code's."""

    rank: int
    step: int
    doing: str
    idle: float
    time: float
    at: str
    waits: bool

    def __str__(self) -> str:
        of = f" of step {self.step}" if self.step else ""
        waiting = ", waiting for other ranks or its device" if self.waits else ""
        return f"rank {self.rank}: {self.doing}{of} for {self.idle:.0f} s at {self.at}{waiting}"


class Watchdog:
    """Watches the thread that enters it. `patience` with a step is in seconds; `folder` is shared by all ranks; `note` says
    whether the run is asked to stop.

    `is_queued` says that collectives are queued on a device and return at once: where such a rank comes to a stop tells nothing,
    so it counts as waiting for as long as it computes.
    """

    def __init__(self, folder: Path, rank: int, patience: float, note: StopNote) -> None:
        self.file, self.rank, self.patience, self._note = folder / f"rank-{rank:05d}.json", rank, patience, note
        self._tick = min(10.0, patience / 8)
        self._main = threading.get_ident()
        self._now = (time.monotonic(), 0, "starting")
        self.is_queued = False
        self._next_look = 0.0
        self._is_over = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watch", daemon=True)

    def __enter__(self) -> "Watchdog":
        self.file.parent.mkdir(parents=True, exist_ok=True)
        self._now = (time.monotonic(), *self._now[1:])
        # A rank that stops before its first tick must have a file, or the others could not name it.
        self._write(self.look())
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._is_over.set()
        self._thread.join()
        faulthandler.cancel_dump_traceback_later()
        self.file.unlink(missing_ok=True)

    def beat(self, step: int, doing: str) -> None:
        """Something begins: the patience counts anew."""
        self._now = (time.monotonic(), step, doing)

    def look(self) -> Beat:
        """How this rank stands."""
        since, step, doing = self._now
        at, waits = place_of(sys._current_frames().get(self._main))
        waits = waits or (self.is_queued and doing in COMPUTES)
        idle = time.monotonic() - since
        return Beat(rank=self.rank, step=step, doing=doing, idle=idle, time=time.time(), at=at, waits=waits)

    def _watch(self) -> None:
        while not self._is_over.wait(self._tick):
            faulthandler.dump_traceback_later(2 * self.patience + 60, exit=True)
            beat = self.look()
            self._write(beat)
            if cannot_stop(beat, self._note.seconds_asked()):
                self._leave_unsaved(beat)
            if self.is_due(beat):
                self._give_up(beat)

    def is_due(self, beat: Beat) -> bool:
        """Whether this rank has been patient enough. One that waits goes on while another gets on: rank 0 reads first.

        The others' files are opened when this rank would give up, and again when no other can get on any more: on a shared
        disk a look of every rank at every rank's file is dear.
        """
        patience = self._patience(beat)
        if not beat.waits:
            return beat.idle > patience
        if beat.idle <= WAITING_FACTOR * patience or time.monotonic() < self._next_look:
            return False
        others = [other for other in self._others(beat) if not other.waits and not self._is_silent(other, beat)]
        longest = max((self._patience(other) - other.idle for other in others), default=-1.0)
        self._next_look = time.monotonic() + longest
        return longest < 0

    def _write(self, beat: Beat) -> None:
        # Not synced: a sign of life is worth nothing after a power cut. A full disk is the checkpoint's to report.
        with contextlib.suppress(OSError):
            aside = self.file.with_suffix(".aside")
            aside.write_text(json.dumps(asdict(beat)), encoding="utf-8")
            aside.replace(self.file)

    def _give_up(self, beat: Beat) -> None:
        faulthandler.dump_traceback(file=_STDERR, all_threads=True)
        os.write(_STDERR, f"error: {self.verdict(beat)}\n".encode())
        with contextlib.suppress(OSError):
            write_flight_record(self.file.with_name(f"nccl-{self.rank:05d}.json"))
            if note := os.environ.get(HUNG_NOTE):
                Path(note).touch()
        end_process(HUNG)

    def _leave_unsaved(self, beat: Beat) -> None:
        if beat.step:
            faulthandler.dump_traceback(file=_STDERR, all_threads=True)
        why = f"{beat}, though {self._note.asked or 'a signal'} asks it to stop, so it ends without a checkpoint"
        os.write(_STDERR, f"error: {why}; the same command goes on from the newest one\n".encode())
        end_process(STOPPED)

    def verdict(self, beat: Beat) -> str:
        """One line: who hangs, as far as the ranks' files tell."""
        others = self._others(beat)
        silent = [other.rank for other in others if self._is_silent(other, beat)]
        busy = [str(other) for other in others if other.rank not in silent and not other.waits]
        words = [f"no progress for {beat.idle:.0f} s, so the run ends; stacks above; {beat}"]
        words += [f"no sign of life from rank {', '.join(map(str, silent))}"] if silent else []
        return "; ".join([*words, *busy, "raise --step-timeout if it may take that long"])

    def _patience(self, beat: Beat) -> float:
        return self.patience if beat.step else max(self.patience, START_PATIENCE)

    def _others(self, beat: Beat) -> list[Beat]:
        return [other for other in read_beats(self.file.parent) if other.rank != beat.rank]

    def _is_silent(self, other: Beat, beat: Beat) -> bool:
        """Whether another rank's last sign of life is too old for a rank that lives."""
        return beat.time - other.time > 4 * self._tick


def cannot_stop(beat: Beat, seconds_asked: float) -> bool:
    """Whether a rank, asked to stop so long ago, has nothing to save and does not get to the end of a step.

    The start saves nothing, whatever gets on there. Of a wait for data that began after the signal came, its own time counts.
    """
    if beat.step and beat.doing != READS:
        return False
    return (min(seconds_asked, beat.idle) if beat.step else seconds_asked) > STOP_GRACE


def end_process(code: int) -> NoReturn:
    """Leave at once, with the loader processes, which may hang themselves and would be left behind."""
    for child in multiprocessing.active_children():
        child.kill()
    os._exit(code)


def write_flight_record(file: Path) -> None:
    """Write what NCCL's flight recorder holds: the last collectives of this rank, with their sizes and states. Else nothing."""
    record = getattr(torch._C._distributed_c10d, "_dump_nccl_trace_json", None)
    if record is not None and dist.is_initialized() and dist.get_backend() == "nccl":
        file.write_bytes(record(includeCollectives=True, onlyActive=False))


def read_beats(folder: Path) -> list[Beat]:
    """The last signs of life of all ranks; a file that is being removed or is not ours is passed over."""
    beats = []
    for file in sorted(folder.glob("rank-*.json")):
        try:
            beats.append(Beat(**json.loads(file.read_text(encoding="utf-8"))))
        except (OSError, ValueError, TypeError):
            continue
    return beats


def place_of(frame: FrameType | None) -> tuple[str, bool]:
    """Where a stack stands in our own code (file:line function), and whether it waits in a collective."""
    waits = False
    while frame is not None:
        file = frame.f_code.co_filename.replace(os.sep, "/")
        waits = waits or any(part in file for part in _COLLECTIVES)
        if "/pipeline/" in file and "/site-packages/" not in file:
            return f"{file.rpartition('/pipeline/')[2]}:{frame.f_lineno} {frame.f_code.co_name}", waits
        frame = frame.f_back
    return "an unknown place", waits
