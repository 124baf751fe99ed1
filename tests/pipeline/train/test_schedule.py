"""The learning rate, worked by hand, and the rates that a run of the loop was given."""

import pytest

from pipeline.phase import AdamW, Phase
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
