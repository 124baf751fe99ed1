"""Learning rate as a function of the step alone."""

import math

from pipeline.phase import Phase


def learning_rate(step: int, phase: Phase) -> float:
    """Rate of step `step` (0-based): a linear warm-up whose last step has the peak, then the schedule.

    A rate that falls comes to `floor` times the peak one step behind the last. transformers counts the warm-up from a rate of 0,
    so that its first step moves nothing; ours is one step ahead of it there, and equal behind it.
    """
    optimizer = phase.optimizer
    warmup = optimizer.warmup_steps or math.ceil(optimizer.warmup_share * phase.steps)
    if step < warmup:
        return optimizer.learning_rate * (step + 1) / warmup
    done = min(1.0, (step - warmup) / max(1, phase.steps - warmup))
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[optimizer.schedule]
    return optimizer.learning_rate * (optimizer.floor + (1 - optimizer.floor) * left)
