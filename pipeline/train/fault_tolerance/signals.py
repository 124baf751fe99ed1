"""SIGTERM, SIGUSR1 and Ctrl-C ask a run to stop: it ends the step, writes a checkpoint and leaves with an exit code of its own.

Slurm sends one of them before it ends a job. The handler only takes a note; all ranks look at it together at the end of a step,
because a rank that stopped alone would leave the others waiting. A second Ctrl-C ends the process at once.
"""

import os
import signal
import threading
from types import FrameType, TracebackType
from typing import Any

SIGNALS = (signal.SIGTERM, signal.SIGUSR1, signal.SIGINT)

HINT = b"\nstopping after the next checkpoint; Ctrl-C again ends at once\n"
_STDERR = 2


class StopNote:
    """While entered, notes the signals instead of dying of them. `asked` names the first that came; it is empty before."""

    def __init__(self) -> None:
        self.asked = ""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "StopNote":
        # Python takes handlers in the main thread only; elsewhere signals do what they did.
        if threading.current_thread() is threading.main_thread():
            # A signal that is ignored stays so: who started this process takes Ctrl-C for it.
            heard = [number for number in SIGNALS if signal.getsignal(number) != signal.SIG_IGN]
            self._before = {number: signal.signal(number, self._note) for number in heard}
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _note(self, number: int, frame: FrameType | None) -> None:
        self.asked = self.asked or signal.Signals(number).name
        if number == signal.SIGINT:
            signal.signal(number, signal.default_int_handler)
            os.write(_STDERR, HINT)


def ignore_in_worker(worker: int) -> None:
    """Make a loader's process deaf to what the whole job is sent: it ends with the rank that it reads for."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)
