"""SIGTERM, SIGUSR1 and Ctrl-C ask a run to stop: it ends the step, writes a checkpoint and leaves with an exit code of its own.

Slurm sends one of them before it ends a job. The handler only takes a note; all ranks look at it together at the end of a step,
because a rank that stopped alone would leave the others waiting. A second Ctrl-C ends the process at once. A rank that does not
get to the end of a step, because it waits for data or is still at its start, is ended by its watch (`watchdog`).
"""

import os
import signal
import threading
import time
from contextlib import suppress
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

STOPPED = 75
"""Exit code of a training that a signal, or the first Ctrl-C, stopped (EX_TEMPFAIL of sysexits.h): the same command goes on."""

HINT = b"\nstopping after the next checkpoint; Ctrl-C again ends at once\n"
_STDERR = 2


class StopNote:
    """While entered, notes the signals instead of dying of them. `asked` names the first that came; it is empty before.

    Python runs handlers between two instructions of the main thread, which may stand in a call that never returns. Another thread
    asks `seconds_asked`, which knows at once: the number of each signal is written to a pipe when it comes.
    """

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[signal.Signals, Any] = {}
        self._pipe: tuple[int, int] | None = None
        self._woken_before = -1
        self._since: float | None = None

    def __enter__(self) -> "StopNote":
        # Python takes handlers in the main thread only; elsewhere signals do what they did.
        if threading.current_thread() is threading.main_thread():
            # A signal that is ignored stays so: who started this process takes Ctrl-C for it.
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._pipe = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
            self._woken_before = signal.set_wakeup_fd(self._pipe[1], warn_on_full_buffer=False)
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if self._pipe is not None:
            signal.set_wakeup_fd(self._woken_before)
            for end in self._pipe:
                os.close(end)
            self._pipe = None

    def seconds_asked(self) -> float:
        """Seconds since the first signal came, 0 before; one thread at a time may ask."""
        if self._since is None and self._pipe is not None:
            with suppress(BlockingIOError):
                if not set(SIGNALS).isdisjoint(os.read(self._pipe[0], 4096)):
                    self._since = time.monotonic()
        return 0.0 if self._since is None else time.monotonic() - self._since

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            os.write(_STDERR, HINT)


def ignore_in_worker(worker: int) -> None:
    """Make a loader's process deaf to what the whole job is sent: it ends with the rank that it reads for."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
