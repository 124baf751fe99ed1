"""One fault's stage: a copy of the prepared work folder, the commands that run in it, and the watchdog."""

import contextlib
import random
import shutil
import socket
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from data_prep import scene_server
from data_prep.toy_world import FACTS
from jobs.drill.child import NO_VARIABLES, Child
from jobs.drill.toy_run import steps_noted

Command = Callable[[Sequence[str]], object]
"""Runs `crem` with these words, in the process that calls it."""

_POLL_SECONDS = 0.01


class HangError(Exception):
    """Something ran longer than the watchdog allows."""


@dataclass(slots=True, kw_only=True)
class Scene:
    """What a fault works with. `seconds` are the watchdog's, for all of the case together; `rng` decides moments and places."""

    work: Path
    rng: random.Random
    crem: Command
    seconds: float
    end: float = 0.0
    children: list[Child] = field(default_factory=list)
    moment: str = ""
    again: list[str] = field(default_factory=lambda: ["train"])
    num_ranks: int = 1
    variables: dict[str, str] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.end = time.monotonic() + self.seconds

    @property
    def log(self) -> Path:
        """What all commands of the case said."""
        return self.work.with_suffix(".log")

    def start(
        self, *words: str, variables: Mapping[str, str] = NO_VARIABLES, before: Callable[[], object] = lambda: None
    ) -> Child:
        """Begin a command on the work folder; `before` is called in its process first."""
        given = ["--quiet", words[0], "--recipe", str(self.work / "recipe.json"), "--work", str(self.work), *words[1:]]

        def run() -> None:
            before()
            self.crem(given)

        return self._child(run, {**self.variables, **variables})

    def start_ranks(self, *words: str) -> list[Child]:
        """Begin a command as so many ranks as the case has, as Slurm starts them; a lone one as it is."""
        if self.num_ranks == 1:
            return [self.start(*words)]
        common = {"WORLD_SIZE": str(self.num_ranks), "LOCAL_RANK": "0"}
        common |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
        return [self.start(*words, variables={**common, "RANK": str(rank)}) for rank in range(self.num_ranks)]

    def start_plain(self, name: str) -> Child:
        """Begin a command that takes a work folder and no recipe."""
        return self._child(lambda: self.crem(["--quiet", name, "--work", str(self.work)]), self.variables)

    def serve_scenes(self, port: int) -> Child:
        """The toy world's teacher, as a server of its own."""

        def run() -> None:
            with scene_server.serve(self.work / "toy" / FACTS, port=port):
                time.sleep(self.seconds)

        child = self._child(run, {})
        self.until(lambda: _listens(port))
        return child

    def serve(self, run: Callable[[], object], port: int) -> Child:
        """Any other server, as soon as it listens."""
        child = self._child(run, {})
        self.until(lambda: _listens(port))
        return child

    def until(self, holds: Callable[[], bool], child: Child | None = None) -> bool:
        """Wait for a moment; False where the child ended before. Raises HangError at the watchdog's end."""
        while not holds():
            if child is not None and child.poll() is not None:
                return False
            if time.monotonic() > self.end:
                raise HangError
            time.sleep(_POLL_SECONDS)
        return True

    def at_step(self, child: Child, steps: int = 5) -> int:
        """Wait until a step, drawn by the seed, stands in the log. Returns it."""
        step = self.rng.randint(1, steps)
        self.until(lambda: steps_noted(self.work) >= step, child)
        return step

    def finish(self, *children: Child) -> int:
        """Wait for children to end; returns the first exit code that is not 0. Raises HangError at the watchdog's end."""
        codes = [child.wait(self.end) for child in children]
        if None in codes:
            raise HangError
        return next((code for code in codes if code), 0)

    def clear(self) -> None:
        """End all that still runs."""
        for child in self.children:
            child.clear()

    def _child(self, run: Callable[[], object], variables: Mapping[str, str]) -> Child:
        child = Child(run, self.log, variables)
        self.children.append(child)
        return child


def copied(prepared: Path, work: Path) -> Path:
    """A fresh copy of the prepared folder."""
    shutil.rmtree(work, ignore_errors=True)
    return Path(shutil.copytree(prepared, work))


def free_port() -> int:
    """A port of the loopback interface that nothing uses now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
        return True
    return False
