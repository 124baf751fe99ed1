"""The learning rate, worked by hand, and the rates that a run of the loop was given."""

import json
from dataclasses import replace
from typing import get_args

import pytest
import torch
from transformers import get_scheduler

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.phase import AdamW, Phase, Schedule
from pipeline.recipe_json import recipe_from_json
from pipeline.recipes import load
from pipeline.recipes.crem import LAYOUT
from pipeline.train.schedule import learning_rate


def test_a_warm_up_and_half_a_cosine_by_hand() -> None:
    """Peak 8, four steps of warm-up, floor a quarter: cos 0, 60, 90, 120 degrees are 1, 1/2, 0 and -1/2 of the six above 2."""
    phase = Phase(layout=LAYOUT, name="a", steps=16, optimizer=AdamW(learning_rate=8.0, warmup_steps=4, floor=0.25))
    assert [learning_rate(step, phase) for step in range(5)] == [2.0, 4.0, 6.0, 8.0, 8.0]
    assert [learning_rate(step, phase) for step in (8, 10, 12)] == pytest.approx([2 + 4.5, 2 + 3.0, 2 + 1.5])
    assert learning_rate(16, phase) == learning_rate(40, phase) == 2.0, "behind the last step, and ever after"
    assert learning_rate(15, phase) > 2.0


def test_without_a_warm_up_the_first_step_has_the_peak_and_zero_lies_behind_the_last() -> None:
    phase = Phase(layout=LAYOUT, name="a", steps=3, optimizer=AdamW(learning_rate=1.0, warmup_steps=0))
    assert [learning_rate(step, phase) for step in range(4)] == pytest.approx([1.0, 0.75, 0.25, 0.0], abs=1e-12)


def test_a_warm_up_longer_than_the_phase_never_reaches_the_peak() -> None:
    phase = Phase(layout=LAYOUT, name="a", steps=2, optimizer=AdamW(learning_rate=1.0, warmup_steps=4))
    assert [learning_rate(step, phase) for step in range(2)] == [0.25, 0.5]


def test_a_line_and_a_constant_by_hand() -> None:
    """Peak 8, two steps of warm-up, floor a quarter: the line falls by one of its six in each of twelve half-steps."""
    line = Phase(
        layout=LAYOUT, name="a", steps=14, optimizer=AdamW(learning_rate=8.0, schedule="linear", warmup_steps=2, floor=0.25)
    )
    assert [learning_rate(step, line) for step in (0, 1, 2, 4, 13, 14, 99)] == [4.0, 8.0, 8.0, 7.0, 2.5, 2.0, 2.0]
    flat = replace(line, optimizer=replace(line.optimizer, schedule="constant"))
    assert [learning_rate(step, flat) for step in (0, 1, 2, 13, 14, 99)] == [4.0, 8.0, 8.0, 8.0, 8.0, 8.0]


@pytest.mark.parametrize("warmup", [0, 7])
@pytest.mark.parametrize("schedule", get_args(Schedule))
def test_schedules_are_those_of_transformers_and_the_warm_up_is_one_step_ahead(schedule: Schedule, warmup: int) -> None:
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=3e-4)
    name = "constant_with_warmup" if schedule == "constant" else schedule
    theirs = get_scheduler(name, optimizer, num_warmup_steps=warmup, num_training_steps=50)
    phase = Phase(layout=LAYOUT, name="a", steps=50, optimizer=AdamW(learning_rate=3e-4, schedule=schedule, warmup_steps=warmup))
    expected = []
    for _ in range(51):
        expected += theirs.get_last_lr()
        optimizer.step()
        theirs.step()
    assert [learning_rate(step, phase) for step in range(warmup)] == pytest.approx(expected[1 : warmup + 1])
    assert [learning_rate(step, phase) for step in range(warmup, 51)] == pytest.approx(expected[warmup:], abs=1e-12)


@pytest.mark.parametrize(("steps", "share", "warmup"), [(2000, 0.05, 100), (1501, 0.05, 76), (10, 0.1, 1), (10, 1.0, 10)])
def test_a_share_of_the_steps_is_a_warm_up_rounded_up(steps: int, share: float, warmup: int) -> None:
    shared, stated = (
        Phase(layout=LAYOUT, name="a", steps=steps, optimizer=AdamW(warmup_steps=given, warmup_share=part))
        for given, part in ((0, share), (warmup, 0.0))
    )
    assert [learning_rate(step, shared) for step in range(steps)] == [learning_rate(step, stated) for step in range(steps)]


def test_two_lengths_of_a_warm_up_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"optimizer\.warmup_steps, optimizer\.warmup_share: 100 steps and 0\.05 of all steps"):
        AdamW(warmup_share=0.05)
    with pytest.raises(ConfigError, match=r"optimizer\.warmup_share: 1\.5 is not between 0 and 1"):
        AdamW(warmup_steps=0, warmup_share=1.5)


def test_a_recipe_of_before_schedules_is_read_as_it_was_trained() -> None:
    tree = json.loads(canonical_json(load("tiny")))
    for name in ("schedule", "warmup_share"):
        del tree["phases"][0]["optimizer"][name]
    assert recipe_from_json(json.dumps(tree)) == load("tiny")
