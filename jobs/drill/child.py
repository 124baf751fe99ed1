"""A process that is forked from this one, which has imported everything: it begins in a moment, and dies as any other does."""

import os
import signal
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path

_POLL_SECONDS = 0.02
NO_VARIABLES: Mapping[str, str] = {}


class Child:
    """Runs a function in a process group of its own, with what it says in a log. Its exit code is negative for a signal."""

    def __init__(self, run: Callable[[], object], log: Path, variables: Mapping[str, str] = NO_VARIABLES) -> None:
        self._code: int | None = None
        self.pid = os.fork()
        if not self.pid:
            _be(run, log, variables)

    def poll(self) -> int | None:
        """The exit code; None while it runs."""
        if self._code is None:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            self._code = os.waitstatus_to_exitcode(status) if pid else None
        return self._code

    def wait(self, end: float) -> int | None:
        """The exit code, or None when it still runs at `end` (of `time.monotonic`)."""
        while self.poll() is None and time.monotonic() < end:
            time.sleep(_POLL_SECONDS)
        return self.poll()

    def kill(self) -> None:
        """SIGKILL, to this process alone: what it started must notice by itself."""
        with suppress(ProcessLookupError):
            os.kill(self.pid, signal.SIGKILL)

    def clear(self) -> None:
        """SIGKILL to it and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.pid, signal.SIGKILL)
        self.wait(time.monotonic() + 10)


def _be(run: Callable[[], object], log: Path, variables: Mapping[str, str]) -> None:
    """What the child does; it never returns into its parent's program."""
    code = 1
    try:
        os.setsid()
        with log.open("ab") as file:
            os.dup2(file.fileno(), 1)
            os.dup2(file.fileno(), 2)
        os.environ.update(variables)
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):
            signal.signal(number, signal.SIG_DFL)
        run()
        code = 0
    except SystemExit as ended:
        code = ended.code if isinstance(ended.code, int) else int(ended.code is not None)
    except BaseException:  # noqa: BLE001 (it is the child's last word)
        os.write(2, traceback.format_exc().encode())
    finally:
        os._exit(code)
