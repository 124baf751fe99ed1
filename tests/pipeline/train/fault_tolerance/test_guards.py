"""Guards one by one, in this process: skipped steps, signals, signs of life."""

import json
import os
import signal
import sys
import threading
import time
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch
import torch.distributed as dist

from pipeline.errors import PipelineError
from pipeline.train import collectives, distributed
from pipeline.train.fault_tolerance import watchdog
from pipeline.train.fault_tolerance.signals import SIGNALS, StopNote, ignore_in_worker
from pipeline.train.fault_tolerance.skipped_steps import Skips
from pipeline.train.fault_tolerance.watchdog import HUNG, Beat, Watchdog, place_of, read_beats
from pipeline.train.step import StepReport
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.forked import free_port
from tests.pipeline.train.ranks import make

GOOD = StepReport(1.0, None, 2.0, 0.5, 3.0, 8)
BAD = replace(GOOD, gradient_norm=float("inf"))
NOTE = StopNote()
CALM = Beat(rank=1, step=7, doing="training", idle=2.0, time=0.0, at="step.py:1 f", waits=False)


def test_skipped_steps_end_the_run_only_in_a_row() -> None:
    skips = Skips(3, total=5)
    for step, report in enumerate([BAD, BAD, GOOD, BAD, BAD]):
        skips.note(step, report)
    assert skips.total == 9
    with pytest.raises(PipelineError, match="step 6: loss or gradient is not finite for 3 steps in a row") as caught:
        skips.note(5, BAD)
    assert "\n" not in str(caught.value) and "last checkpoint is intact" in str(caught.value)


@pytest.mark.parametrize(("stage", "dtype"), [(0, "float32"), (1, "bfloat16"), (2, "float32")])
def test_an_infinite_loss_with_a_finite_gradient_moves_nothing(model_folder: Path, stage: int, dtype: str) -> None:
    """Such is the log likelihood of a token whose logit is minus infinity."""
    engine, dataset = make(model_folder, small_recipe(zero_stage=stage, dtype=dtype))
    before = {name: weight.detach().clone() for name, weight in engine.named.items()}
    outputs = engine(dataset.work(dataset.draw(0), 0).dummy)
    engine.backward(outputs.embeddings.sum() + outputs.token_losses.sum() + float("inf"), last=True)
    norm = engine.step(0.1)
    assert not torch.tensor(norm).isfinite() and engine.steps_taken == 0
    assert all(torch.equal(weight, engine.named[name]) for name, weight in before.items())


def test_deepspeed_prints_nothing_between_a_commands_lines(model_folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make(model_folder, small_recipe(zero_stage=1, dtype="bfloat16"))
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_is_noted_and_the_handler_put_back(number: signal.Signals) -> None:
    before = signal.getsignal(number)
    with StopNote() as note:
        assert note.asked == ""
        os.kill(os.getpid(), number)
        assert note.asked == number.name
    assert signal.getsignal(number) == before


def test_a_signal_is_known_to_another_thread_while_the_main_one_stands_in_a_call() -> None:
    """As in a collective of another backend's thread, or a library that does not return: no handler of Python runs then."""
    found: list[tuple[float, str, bool]] = []

    def ask() -> None:
        time.sleep(0.3)
        before = note.seconds_asked()
        os.kill(os.getpid(), signal.SIGTERM)
        time.sleep(0.3)
        found.append((before, note.asked, note.seconds_asked() > 0))

    with StopNote() as note:
        other = threading.Thread(target=ask)
        other.start()
        with pytest.raises(dist.DistStoreError):
            dist.HashStore().wait(["nobody sets it"], timedelta(seconds=1))
        other.join()
        assert note.asked == "SIGTERM"
    assert found == [(0.0, "", True)]
    assert note.seconds_asked() > 0 and signal.set_wakeup_fd(-1) == -1, "what was there before is back"


@pytest.mark.parametrize(
    ("beat", "seconds_asked", "expected"),
    [
        ({"doing": "reading", "idle": 99.0}, 0.0, False),  # nobody asks it to stop
        ({"doing": "reading", "idle": 99.0}, 59.0, False),
        ({"doing": "reading", "idle": 61.0}, 61.0, True),
        ({"doing": "reading", "idle": 59.0}, 99.0, False),  # a held-out look's rows, which it began to wait for later
        ({"doing": "training", "idle": 999.0}, 999.0, False),  # the step ends with a checkpoint
        ({"doing": "evaluating", "idle": 999.0}, 999.0, False),
        ({"doing": "saving", "idle": 999.0}, 999.0, False),
        ({"doing": "counting tokens", "step": 0, "idle": 1.0}, 61.0, True),  # hours, in parts that are kept
        ({"doing": "counting tokens", "step": 0, "idle": 99.0}, 59.0, False),
    ],
)
def test_who_cannot_stop_at_the_end_of_a_step(beat: dict[str, Any], seconds_asked: float, expected: bool) -> None:
    """A minute's grace."""
    assert watchdog.cannot_stop(replace(CALM, **beat), seconds_asked) == expected


def test_a_second_ctrl_c_ends_at_once(capfd: pytest.CaptureFixture[str]) -> None:
    with StopNote() as note:
        try:
            os.kill(os.getpid(), signal.SIGINT)
        except KeyboardInterrupt:  # which would end the tests, not this one
            pytest.fail("the first Ctrl-C ended it")
        assert "Ctrl-C again ends at once" in capfd.readouterr().err
        with pytest.raises(KeyboardInterrupt):
            os.kill(os.getpid(), signal.SIGINT)
        assert note.asked == "SIGINT"


def test_ctrl_c_that_is_ignored_stays_so() -> None:
    """Ranks that `crem` started leave it to the process that started them."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with StopNote() as note:
            os.kill(os.getpid(), signal.SIGINT)
            assert note.asked == ""
    finally:
        signal.signal(signal.SIGINT, before)


def test_a_loaders_process_is_deaf_to_signals() -> None:
    pid = os.fork()
    if not pid:
        ignore_in_worker(0)
        for number in SIGNALS:
            os.kill(os.getpid(), number)
        os._exit(5)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == 5


def test_a_rank_says_where_it_stands_while_it_is_watched(tmp_path: Path) -> None:
    with Watchdog(tmp_path, 3, patience=0.8, note=NOTE) as watch:
        for step in range(1, 5):
            watch.beat(step, "training")
            time.sleep(0.3)
        (beat,) = read_beats(tmp_path)
        assert (beat.rank, beat.step, beat.doing) == (3, 4, "training") and beat.idle < 0.8
    assert read_beats(tmp_path) == []


@pytest.mark.parametrize(("doing", "waits"), [("training", True), ("evaluating", True), ("reading", False), ("saving", False)])
def test_a_rank_whose_collectives_are_queued_waits_wherever_it_stands(tmp_path: Path, doing: str, waits: bool) -> None:
    watch = Watchdog(tmp_path, 0, patience=80.0, note=NOTE)
    watch.beat(3, doing)
    assert not watch.look().waits
    watch.is_queued = True
    assert watch.look().waits == waits


def test_a_rank_that_reads_an_agreed_number_back_from_its_device_waits() -> None:
    with pytest.raises(ValueError, match="no number") as raised:
        collectives.on_any_rank("no number")  # type: ignore[arg-type]
    at, waits = place_of(raised.traceback[-1].frame.raw)
    assert at.startswith("train/collectives.py:") and waits


def test_the_verdict_names_the_silent_and_the_busy_rank(tmp_path: Path) -> None:
    watch = Watchdog(tmp_path, 0, patience=80.0, note=NOTE)
    now = time.time()
    others = [
        replace(CALM, rank=1, time=now - 100),
        replace(CALM, rank=2, time=now - 1),
        replace(CALM, rank=3, time=now - 1, waits=True),
    ]
    for beat in others:
        (tmp_path / f"rank-{beat.rank:05d}.json").write_text(json.dumps({name: getattr(beat, name) for name in beat.__slots__}))
    (tmp_path / "rank-00009.json").write_text("{")
    said = watch.verdict(replace(CALM, rank=0, time=now, idle=81.0, waits=True))
    assert "no progress for 81 s" in said and "waiting for other ranks or its device" in said
    assert "no sign of life from rank 1;" in said
    assert "rank 2: training of step 7" in said and "rank 3:" not in said
    assert "\n" not in said


@pytest.mark.parametrize(
    ("mine", "other", "is_due"),
    [
        ({"idle": 81.0}, {}, True),
        ({"idle": 79.0}, {}, False),
        ({"idle": 99.0, "waits": True}, {"idle": 81.0}, False),  # the other has the first word
        ({"idle": 101.0, "waits": True}, {"idle": 81.0}, True),
        ({"idle": 999.0, "waits": True}, {"idle": 79.0}, False),  # rank 0 counts a large corpus
        ({"idle": 101.0, "waits": True}, {"idle": 79.0, "time": -41.0}, True),  # it has not been heard of since
        ({"idle": 101.0, "waits": True}, {"idle": 79.0, "waits": True}, True),
        ({"idle": 81.0}, {"idle": 0.0}, True),
        ({"idle": 1799.0, "step": 0}, {}, False),  # a large model loads
        ({"idle": 1801.0, "step": 0}, {}, True),
        ({"idle": 999.0, "waits": True}, {"idle": 1799.0, "step": 0}, False),
        ({"idle": 2251.0, "step": 0, "waits": True}, {"idle": 1801.0, "step": 0}, True),
    ],
)
def test_a_rank_that_waits_goes_on_while_another_gets_on(
    tmp_path: Path, mine: dict[str, Any], other: dict[str, Any], is_due: bool
) -> None:
    """Patience 80 s: those that wait have 100, and a rank is silent after 40."""
    beat = replace(CALM, rank=1, **other)
    (tmp_path / "rank-00001.json").write_text(json.dumps({name: getattr(beat, name) for name in beat.__slots__}))
    assert Watchdog(tmp_path, 0, patience=80.0, note=NOTE).is_due(replace(CALM, rank=0, **mine)) == is_due


def test_others_are_looked_at_when_a_rank_would_give_up_and_not_before_one_of_them_could(tmp_path: Path) -> None:
    """Every rank that opens every rank's file at every tick would be 410 files a second at 64 ranks."""
    own = Watchdog(tmp_path, 0, patience=80.0, note=NOTE)
    (tmp_path / "rank-00001.json").write_text(json.dumps({name: getattr(CALM, name) for name in CALM.__slots__} | {"rank": 1}))
    with mock.patch.object(watchdog, "read_beats", wraps=read_beats) as looks:
        for idle in range(0, 100, 10):
            assert not own.is_due(replace(CALM, rank=0, idle=float(idle), waits=True))
        assert not looks.called
        assert not own.is_due(replace(CALM, rank=0, idle=101.0, waits=True))
        assert not own.is_due(replace(CALM, rank=0, idle=111.0, waits=True))
        assert looks.call_count == 1, "the other has 80 seconds less what it has been idle for"
        with mock.patch.object(watchdog.time, "monotonic", return_value=own._next_look):
            assert not own.is_due(replace(CALM, rank=0, idle=181.0, waits=True))
        assert looks.call_count == 2


def test_a_sign_of_life_does_not_wait_for_the_disk(tmp_path: Path) -> None:
    with mock.patch.object(os, "fsync") as synced, Watchdog(tmp_path, 3, patience=0.8, note=NOTE):
        time.sleep(0.25)
        assert [beat.rank for beat in read_beats(tmp_path)] == [3]
    assert not synced.called and not list(tmp_path.iterdir())


def test_a_hung_rank_leaves_a_note_and_nccl_s_record(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREM_HUNG_NOTE", str(tmp_path / "note"))
    own = Watchdog(tmp_path / "beats", 2, patience=80.0, note=NOTE)
    own.file.parent.mkdir()
    recorded = mock.Mock(return_value=b'{"entries": []}')
    with (
        mock.patch.object(torch._C._distributed_c10d, "_dump_nccl_trace_json", recorded, create=True),
        mock.patch.object(watchdog.dist, "is_initialized", return_value=True),
        mock.patch.object(watchdog.dist, "get_backend", return_value="nccl"),
        mock.patch.object(os, "_exit", side_effect=SystemExit) as left,
        pytest.raises(SystemExit),
    ):
        own._give_up(replace(CALM, rank=2))
    assert left.call_args == mock.call(HUNG) and (tmp_path / "note").exists()
    assert json.loads((tmp_path / "beats" / "nccl-00002.json").read_text()) == {"entries": []}


def test_without_nccl_there_is_no_record(tmp_path: Path) -> None:
    with mock.patch.object(
        torch._C._distributed_c10d, "_dump_nccl_trace_json", mock.Mock(side_effect=AssertionError), create=True
    ):
        watchdog.write_flight_record(tmp_path / "record.json")
    assert not list(tmp_path.iterdir())


def test_ranks_that_do_not_come_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(distributed, "JOINING", timedelta(seconds=1))
    names = {"RANK": "0", "WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(free_port())}
    for name, value in names.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(PipelineError, match=r"rank 0: not all of 2 ranks met at 127\.0\.0\.1:\d+ within 1 s") as caught:
        distributed.meet()
    assert "\n" not in str(caught.value)


def test_a_place_is_the_innermost_of_our_own_code_and_knows_collectives(monkeypatch: pytest.MonkeyPatch) -> None:
    ours = compile("def f():\n    return g()", "/x/pipeline/train/step.py", "exec")
    theirs = compile("def g():\n    return look(sys._getframe())", "/y/site-packages/torch/distributed/c10d.py", "exec")
    names: dict[str, object] = {"sys": sys, "look": place_of}
    exec(theirs, names)
    exec(ours, names)
    f = names["f"]
    assert callable(f) and f() == ("train/step.py:2 f", True)
    assert place_of(None) == ("an unknown place", False)
