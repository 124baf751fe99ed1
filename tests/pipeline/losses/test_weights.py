"""Loss weights over steps."""

import math

import pytest

from pipeline.errors import ConfigError
from pipeline.losses.weights import Stepwise, changes, check_weight, weight_at


def test_a_weight_holds_from_its_step_to_the_next() -> None:
    """Bottleneck Tokens: 5 until step 2,000, then 0."""
    weight = Stepwise(((0, 5.0), (2000, 0.0)))
    assert [weight_at(weight, step) for step in (0, 1, 1999, 2000, 4999)] == [5.0, 5.0, 5.0, 0.0, 0.0]
    assert changes(weight) == (0, 2000)
    assert (weight_at(0.5, 7), changes(0.5)) == (0.5, (0,))


@pytest.mark.parametrize("points", [(), ((1, 5.0),), ((0, 5.0), (0, 1.0)), ((0, 1.0), (9, 2.0), (5, 3.0))])
def test_steps_that_do_not_begin_with_0_and_rise_are_refused(points: tuple[tuple[int, float], ...]) -> None:
    with pytest.raises(ConfigError, match=r"Stepwise.points: steps .* must begin with 0 and rise"):
        Stepwise(points)


@pytest.mark.parametrize("weight", [-1.0, math.nan, math.inf, Stepwise(((0, 1.0), (5, -0.5)))])
def test_a_weight_that_is_none_is_refused_by_its_field(weight: float | Stepwise) -> None:
    with pytest.raises(ConfigError, match=r"phase.language_weight: .* is not a weight"):
        check_weight("phase.language_weight", weight)
