"""What may happen to a run in a month on a cluster: killed, stopped, asleep, not finite, moved to other machines."""

import json
import random
import signal
from pathlib import Path

import pytest
import torch

from launchers.exit_codes import STOPPED
from pipeline.train import checkpoint
from pipeline.train.fault_tolerance.watchdog import HUNG
from tests.faults import is_running
from tests.pipeline.train.conftest import Forked
from tests.pipeline.train.test_loop import figures

STEPS = 12
PHASE = {"steps": STEPS, "zero_stage": 2, "chunk_tokens": 250, "checkpoint_every": 2, "evaluate_every": 4, "held_out": 2}


def said(out: Path, rank: int) -> str:
    return Path(f"{out}-{rank}.txt").read_text()


def tensors(out: Path, step: int) -> dict[str, torch.Tensor]:
    """Weights and moments of the checkpoint after a step, by name."""
    folder = checkpoint.folder_of(out / "checkpoints", step)
    assert checkpoint.read_state(folder).step == step
    return {**checkpoint.weights(folder), **checkpoint.optimizer_state(folder)}


def equal(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> bool:
    return one.keys() == other.keys() and all(torch.equal(tensor, other[name]) for name, tensor in one.items())


@pytest.fixture(scope="module")
def unbroken(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("unbroken") / "train"
    assert forked(out, phase=PHASE) == [0, 0], said(out, 0)
    return out


@pytest.mark.parametrize("kills", [4, pytest.param(10, marks=pytest.mark.slow)])
def test_a_run_killed_at_seeded_moments_ends_as_the_unbroken_one(
    forked: Forked, unbroken: Path, tmp_path: Path, kills: int
) -> None:
    rng, out = random.Random(4), tmp_path / "train"
    for lines in sorted(rng.sample(range(STEPS), kills)):
        delay = rng.uniform(0, 0.2) * (1 - lines / STEPS)  # a late strike must not come after the end
        strike = {"lines": lines, "delay": delay, "ranks": [rng.randrange(2)], "signal": signal.SIGKILL}
        codes = forked(out, phase=PHASE, strike=strike, one_is_enough=True)
        assert codes[strike["ranks"][0]] == -signal.SIGKILL, said(out, 0)
    assert forked(out, phase=PHASE) == [0, 0], said(out, 0)
    assert equal(tensors(out, STEPS), tensors(unbroken, STEPS))
    assert figures(out) == figures(unbroken)


def test_ranks_and_zero_stage_change_and_the_run_goes_on(forked: Forked, unbroken: Path, tmp_path: Path) -> None:
    out = tmp_path / "train"
    for ranks, stage, end in ((2, 2, 3), (1, 1, 7), (2, 3, STEPS)):
        assert forked(out, ranks=ranks, phase={**PHASE, "zero_stage": stage}, stop_after=end) == [0] * ranks, said(out, 0)
    found, expected = figures(out), figures(unbroken)
    assert [line["step"] for line in found] == list(range(1, STEPS + 1))
    for line, other in zip(found, expected, strict=True):
        for name in ("contrastive", "own_language", "outside_language", "learning_rate"):
            assert line[name] == pytest.approx(other[name], rel=1e-4), (line["step"], name)


@pytest.mark.parametrize("stage", [0, 1, 2, 3])
def test_a_step_that_is_not_finite_moves_nothing(forked: Forked, tmp_path: Path, stage: int) -> None:
    """It goes wrong on one rank only; both skip it, and the step after it is like any other."""
    phase = {**PHASE, "steps": 5, "zero_stage": stage, "checkpoint_every": 1, "keep_checkpoints": 9}
    kind = ("nan loss", "infinite gradient")[stage % 2]
    assert forked(tmp_path / "t", phase=phase, fault={"kind": kind, "rank": 1, "steps": [3]}) == [0, 0], said(tmp_path / "t", 0)
    states = [tensors(tmp_path / "t", step) for step in (2, 3, 4)]
    assert equal(states[0], states[1]) and not equal(states[1], states[2])
    skipped = [line["skipped_steps"] for line in figures(tmp_path / "t")]
    assert skipped == [0, 0, 1, 1, 1]
    state = checkpoint.peek(checkpoint.folder_of(tmp_path / "t" / "checkpoints", 5))
    assert state.skipped == 1 and all(tensor.isfinite().all() for tensor in states[2].values())


def test_too_many_skipped_steps_in_a_row_stop_the_run(forked: Forked, tmp_path: Path) -> None:
    out, phase = tmp_path / "train", {**PHASE, "skips_in_a_row": 3}
    assert forked(out, phase=phase, fault={"kind": "nan loss", "rank": 1, "steps": [3, 5, 6, 7, 8]}) == [1, 1]
    errors = [line for line in said(out, 0).splitlines() if line.startswith("error: ")]
    assert len(errors) == 1 and "step 7: loss or gradient is not finite for 3 steps in a row" in errors[0]
    assert [checkpoint.step_of(folder) for folder in checkpoint.steps(out / "checkpoints")] == [6, 4]
    assert all(tensor.isfinite().all() for tensor in tensors(out, 6).values())


def test_a_full_disk_of_the_rank_that_writes_ends_both(forked: Forked, tmp_path: Path) -> None:
    out = tmp_path / "train"
    whole = checkpoint.folder_of(out / "checkpoints", 2)  # it is written while step 3 begins
    fault = {"kind": "full disk", "rank": 0, "steps": [3], "awaits": str(whole)}
    assert forked(out, phase=PHASE, fault=fault) == [1, 1], said(out, 0)
    errors = [[line for line in said(out, rank).splitlines() if line.startswith("error: ")] for rank in (0, 1)]
    assert [len(lines) for lines in errors] == [1, 1]
    assert "step-00000004: checkpoint could not be written" in errors[0][0] and "rank 0 could not write it" in errors[1][0]
    assert [checkpoint.step_of(folder) for folder in checkpoint.steps(out / "checkpoints")] == [2] and tensors(out, 2)
    assert not list((out / "checkpoints").glob(".*")), "nothing half-written is left"


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGUSR1, signal.SIGINT])
def test_a_signal_to_one_rank_stops_both_after_a_checkpoint(
    forked: Forked, unbroken: Path, tmp_path: Path, number: signal.Signals
) -> None:
    out = tmp_path / "train"
    codes = forked(out, phase=PHASE, strike={"lines": 4, "delay": 0.0, "ranks": [1], "signal": number})
    assert codes == [STOPPED, STOPPED], said(out, 0)
    done = figures(out)
    newest = checkpoint.steps(out / "checkpoints")[0]
    assert checkpoint.read_state(newest).step == done[-1]["step"] < STEPS
    assert f"stopped by {number.name} after step {done[-1]['step']}" in said(out, 1)
    if number == signal.SIGUSR1:
        assert forked(out, phase=PHASE) == [0, 0]
        assert equal(tensors(out, STEPS), tensors(unbroken, STEPS))


def test_a_rank_whose_loader_hangs_is_ended_when_both_are_asked_to_stop(forked: Forked, tmp_path: Path) -> None:
    """The other one waits for it before the step: its own watch ends it, or that the first has gone."""
    out, file = tmp_path / "train", tmp_path / "stuck"
    codes = forked(
        out,
        phase={**PHASE, "steps": 3},
        workers=1,
        stuck={"rank": 1, "step": 1, "file": str(file)},
        strike={"lines": 1, "delay": 0.0, "ranks": [0, 1], "signal": signal.SIGTERM, "awaits": str(file)},
        stop_grace=1.0,
        step_timeout=24.0,
    )
    assert codes[1] == STOPPED and codes[0] not in (0, None), said(out, 1)
    (line,) = (line for line in said(out, 1).splitlines() if line.startswith("error: "))
    assert "rank 1: reading of step 2" in line and "SIGTERM asks it to stop, so it ends without a checkpoint" in line
    assert "in _next" in said(out, 1), "stacks say where it waits"
    assert not is_running(int(file.read_text())), "the loader process is not left behind"


def test_a_start_that_is_asked_to_stop_is_ended_without_a_word_of_stacks(forked: Forked, tmp_path: Path) -> None:
    out = tmp_path / "train"
    strike = {"lines": 0, "delay": 0.0, "ranks": [0, 1], "signal": signal.SIGTERM, "awaits": str(tmp_path / "hangs")}
    codes = forked(out, phase=PHASE, hangs=1, strike=strike, stop_grace=1.0, step_timeout=24.0, one_is_enough=True)
    assert STOPPED in codes
    told = said(out, 0) + said(out, 1)  # whichever is ended first: the one that hangs, or the one that waits for it
    assert "rank 1: loading the model" in told or "rank 0: choosing a checkpoint" in told
    assert "though SIGTERM asks it to stop" in told and "Thread" not in told


def test_a_dead_rank_ends_the_others(forked: Forked, tmp_path: Path) -> None:
    strike = {"lines": 3, "delay": 0.0, "ranks": [1], "signal": signal.SIGKILL}
    code, killed = forked(tmp_path / "train", phase=PHASE, strike=strike, step_timeout=20.0)
    assert killed == -signal.SIGKILL and code not in (0, None)


def test_a_rank_asleep_is_found_and_its_stacks_printed(forked: Forked, tmp_path: Path) -> None:
    out = tmp_path / "train"
    codes = forked(out, phase=PHASE, fault={"kind": "sleep", "rank": 1, "steps": [3]}, step_timeout=15.0)
    assert codes[1] == HUNG and codes[0] not in (0, None)
    assert "in sleep" in said(out, 1) and "training of step 3" in said(out, 1)


def test_a_rank_that_hangs_before_the_first_step_is_found_too(forked: Forked, tmp_path: Path) -> None:
    out = tmp_path / "train"
    codes = forked(out, phase=PHASE, hangs=1, start_patience=10.0, step_timeout=5.0, seconds=120.0)
    assert codes[1] == HUNG and codes[0] not in (0, None)
    assert "in build" in said(out, 1) and "rank 1: loading the model for 1" in said(out, 1)


def test_a_stopped_process_is_named_by_the_others(forked: Forked, tmp_path: Path) -> None:
    out, strike = tmp_path / "train", {"lines": 3, "delay": 0.0, "ranks": [1], "signal": signal.SIGSTOP}
    codes = forked(out, phase=PHASE, strike=strike, step_timeout=15.0, one_is_enough=True)
    assert codes == [HUNG, None]
    assert "no sign of life from rank 1" in said(out, 0) and "waiting for other ranks" in said(out, 0)
    assert json.loads((tmp_path / "heartbeats" / "rank-00001.json").read_text())["rank"] == 1
