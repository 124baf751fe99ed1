"""Loss weights as functions of the step: a number, or a number that changes at named steps (Bottleneck Tokens: 5, then 0)."""

import math
from dataclasses import dataclass
from itertools import pairwise

from pipeline.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Stepwise:
    """Piecewise constant: `points` are (step, weight), the weight holding from that step (counted from 0) to the next point."""

    points: tuple[tuple[int, float], ...]

    def __post_init__(self) -> None:
        steps = [step for step, _ in self.points]
        if not steps or steps[0] != 0 or any(before >= after for before, after in pairwise(steps)):
            raise ConfigError(f"Stepwise.points: steps {steps} must begin with 0 and rise")


Weight = float | Stepwise


def weight_at(weight: Weight, step: int) -> float:
    """The weight that holds at a step."""
    if isinstance(weight, Stepwise):
        return next(value for first, value in reversed(weight.points) if first <= step)
    return weight


def changes(weight: Weight) -> tuple[int, ...]:
    """The steps at which the weight takes another value, the first being 0."""
    return tuple(step for step, _ in weight.points) if isinstance(weight, Stepwise) else (0,)


def check_weight(name: str, weight: Weight) -> None:
    """Raise ConfigError, naming the field, for a weight that is negative or not finite at some step."""
    for step in changes(weight):
        value = weight_at(weight, step)
        if not math.isfinite(value) or value < 0.0:
            raise ConfigError(f"{name}: {value}{f' from step {step} on' if step else ''} is not a weight; give 0 or more")
