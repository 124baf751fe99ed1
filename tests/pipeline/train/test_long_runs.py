"""A run of many interruptions, and one with skipped steps, takes the rates and comes to the weights of the unbroken one."""

import math
import os
import random
import signal
from collections.abc import Iterable
from contextlib import nullcontext
from itertools import count
from pathlib import Path
from typing import Any

import pytest
import torch

import pipeline.train.loop as loop
from pipeline.errors import StoppedError
from pipeline.phase import AdamW
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train import checkpoint
from pipeline.train.run_options import TrainingPaths
from pipeline.train.step import StepReport
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.forked import with_fault
from tests.pipeline.train.test_loop import IN_PROCESS, corpus_in_memory, figures  # noqa: F401

STEPS, PEAK, FLOOR = 24, 1.5e-3, 0.05


def recipe() -> Recipe:
    """The schedule has its warm-up, its peak and its fall within the run; no checkpoint comes but at an interruption's step."""
    small = small_recipe(steps=STEPS, checkpoint_every=1000, evaluate_every=1000, held_out=0)
    return small.with_phase(optimizer=AdamW(learning_rate=PEAK, warmup_steps=5, floor=FLOOR))


def rate_by_hand(step: int) -> float:
    """Of a step, 1-based: a line to the peak in 5 steps, then half a cosine over the 19 others and the one behind the last."""
    if step <= 5:
        return PEAK * step / 5
    return PEAK * (FLOOR + (1 - FLOOR) * (1 + math.cos(math.pi * (step - 6) / 19)) / 2)


def part(out: Path, model: Path, begin: int, end: int, monkeypatch: pytest.MonkeyPatch, *, bad: Iterable[int] = ()) -> None:
    """Train from behind step `begin` to the end, or until SIGTERM comes in step `end`. The bad steps have a loss of NaN."""
    faulty, steps = with_fault({"kind": "nan loss", "rank": 0, "steps": list(bad), "begin": begin}), count(begin + 1)

    def step(*given: Any) -> StepReport:
        if next(steps) == end < STEPS:
            os.kill(os.getpid(), signal.SIGTERM)
        report: StepReport = faulty(*given)
        return report

    paths = TrainingPaths(shards=out, qa=None, model=model, out=out)
    stops = pytest.raises(StoppedError, match=f"stopped by SIGTERM after step {end};") if end < STEPS else nullcontext()
    with monkeypatch.context() as patch, stops:
        patch.setattr(loop, "train_step", step)
        loop.train(paths, recipe(), NullTracker(), progress=lambda *_: None, options=IN_PROCESS)


def in_parts(out: Path, model: Path, ends: list[int], monkeypatch: pytest.MonkeyPatch, *, bad: Iterable[int] = ()) -> None:
    for begin, end in zip([0, *ends], [*ends, STEPS], strict=True):
        part(out, model, begin, end, monkeypatch, bad=bad)


def end_of(out: Path) -> dict[str, torch.Tensor]:
    folder = checkpoint.folder_of(out / "checkpoints", STEPS)
    return {**checkpoint.weights(folder), **checkpoint.optimizer_state(folder)}


def assert_equal(one: Path, other: Path) -> None:
    assert figures(one) == figures(other)
    expected, found = end_of(one), end_of(other)
    assert expected.keys() == found.keys() and all(torch.equal(value, found[name]) for name, value in expected.items())


def test_ten_interruptions_leave_rates_and_weights_as_the_unbroken_run_has_them(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At seeded steps, before the peak and behind it; a signal ends each, as on a cluster."""
    ends = sorted(random.Random(15).sample(range(2, STEPS), 10))
    in_parts(tmp_path / "whole", model_folder, [], monkeypatch)
    in_parts(tmp_path / "parts", model_folder, ends, monkeypatch)
    rates = [line["learning_rate"] for line in figures(tmp_path / "parts")]
    assert rates == pytest.approx([rate_by_hand(step) for step in range(1, STEPS + 1)], rel=1e-12)
    assert_equal(tmp_path / "whole", tmp_path / "parts")


def test_skipped_steps_keep_their_place_in_the_schedule_and_not_in_the_moments(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A step's rate is that of its number, skipped or not; Adam's correction counts the steps that were taken, before an
    interruption and behind it: one comes between two skipped steps, one long behind them.
    """
    bad = (3, 4, 9)
    in_parts(tmp_path / "whole", model_folder, [], monkeypatch, bad=bad)
    in_parts(tmp_path / "parts", model_folder, [3, 14], monkeypatch, bad=bad)
    lines = figures(tmp_path / "parts")
    assert [line["learning_rate"] for line in lines] == pytest.approx([rate_by_hand(n) for n in range(1, STEPS + 1)], rel=1e-12)
    assert [line["skipped_steps"] for line in lines] == [sum(step <= n for step in bad) for n in range(1, STEPS + 1)]
    assert [line["step"] for line in lines if "gradient_norm" not in line] == list(bad)  # what is not finite is left out
    assert_equal(tmp_path / "whole", tmp_path / "parts")
    assert checkpoint.peek(checkpoint.folder_of(tmp_path / "parts" / "checkpoints", STEPS)).skipped == len(bad)
