"""Several processes as ranks: they find one another, are told of signals, and end together."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from jobs.stage import PARENT_VARIABLE
from pipeline.train import local_ranks


def ranks(program: str, *, processes: int = 2) -> list[int]:
    command = [sys.executable, "-c", "import os, signal, sys, time\nrank = int(os.environ['RANK'])\n" + program]
    return local_ranks.run_ranks(command, processes=processes, variables={PARENT_VARIABLE: "chain"})


def test_each_process_knows_its_rank_and_where_to_meet(tmp_path: Path) -> None:
    names = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT", local_ranks.STARTED_BY_US, PARENT_VARIABLE)
    program = f"open(os.path.join({str(tmp_path)!r}, str(rank)), 'w').write(' '.join(os.environ[name] for name in {names}))"
    assert ranks(program, processes=3) == [0, 0, 0]
    told = [(tmp_path / str(rank)).read_text().split() for rank in range(3)]
    assert [words[:4] for words in told] == [[str(rank), str(rank), "3", "127.0.0.1"] for rank in range(3)]
    assert len({words[4] for words in told}) == 1, "one port"
    assert {words[6] for words in told} == {"chain"}


@pytest.mark.parametrize("chosen", ["", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_a_gpu_s_segments_grow_unless_the_user_chose(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, chosen: str) -> None:
    names = ("PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF")
    for name in names:
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv(chosen, "max_split_size_mb:512")
    program = f"open({str(tmp_path / 'told')!r}, 'w').write(' '.join(os.environ.get(name, '-') for name in {names}))"
    assert ranks(program, processes=1) == [0]
    usual = {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    told = {chosen: "max_split_size_mb:512"} if chosen else usual
    assert (tmp_path / "told").read_text().split() == [told.get(name, "-") for name in names]


def test_a_dead_process_ends_those_that_wait_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_ranks, "GRACE_SECONDS", 0.5)
    begun = time.monotonic()
    codes = ranks("time.sleep(0.2 if rank else 60)\nos.kill(os.getpid(), signal.SIGKILL)")
    assert codes == [-signal.SIGKILL, -signal.SIGKILL] and time.monotonic() - begun < 45


def test_others_may_finish_what_they_have_to_say(tmp_path: Path) -> None:
    program = f"rank and sys.exit(3)\ntime.sleep(1)\nopen({str(tmp_path / 'said')!r}, 'w').write('stacks')\nsys.exit(70)"
    assert ranks(program) == [70, 3]
    assert (tmp_path / "said").read_text() == "stacks"


def test_a_signal_to_stop_reaches_every_process(tmp_path: Path) -> None:
    program = (
        "signal.signal(signal.SIGUSR1, lambda *_: sys.exit(75))\n"
        f"open(os.path.join({str(tmp_path)!r}, str(rank)), 'w').close()\ntime.sleep(60)"
    )

    with sending(tmp_path, signal.SIGUSR1):
        assert ranks(program) == [75, 75]


@contextmanager
def sending(folder: Path, *numbers: signal.Signals) -> Iterator[None]:
    """Send this process signals, a while apart, once two ranks have left their mark in a folder; none after the block."""
    ended = threading.Event()

    def send() -> None:
        while len(list(folder.iterdir())) < 2:
            if ended.wait(0.01):
                return
        for number in numbers:
            os.kill(os.getpid(), number)
            time.sleep(0.5)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        ended.set()
        sender.join()


READY = "open(os.path.join({folder!r}, str(os.getpid())), 'w').close()\ntime.sleep(60)"


def test_the_first_ctrl_c_asks_every_process_to_stop_and_ends_none(tmp_path: Path) -> None:
    """A terminal sends it to the processes too: they must be deaf to it."""
    program = "signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))\nos.kill(os.getpid(), signal.SIGINT)\n"
    with sending(tmp_path, signal.SIGINT):
        assert ranks(program + READY.format(folder=str(tmp_path))) == [75, 75]
    assert signal.getsignal(signal.SIGINT) == signal.default_int_handler


def test_the_second_ctrl_c_ends_every_process_at_once(tmp_path: Path) -> None:
    program = "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n" + READY.format(folder=str(tmp_path))
    begun = time.monotonic()
    with sending(tmp_path, signal.SIGINT, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        ranks(program)
    assert time.monotonic() - begun < 45
    for process in tmp_path.iterdir():
        with pytest.raises(ProcessLookupError):
            os.kill(int(process.name), 0)


def test_ctrl_c_before_there_is_a_checkpoint_is_an_interruption(tmp_path: Path) -> None:
    with sending(tmp_path, signal.SIGINT), pytest.raises(KeyboardInterrupt):
        ranks(READY.format(folder=str(tmp_path)))
