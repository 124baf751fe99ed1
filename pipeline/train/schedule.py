"""Learning rate as a function of the step alone."""

import math

from pipeline.phase import Phase


def learning_rate(step: int, phase: Phase) -> float:
    """Rate of step `step` (0-based): a linear warm-up, then half a cosine, which comes to `floor` times the peak
    one step behind the last."""
    optimizer = phase.optimizer
    if step < optimizer.warmup_steps:
        return optimizer.learning_rate * (step + 1) / optimizer.warmup_steps
    done = (step - optimizer.warmup_steps) / max(1, phase.steps - optimizer.warmup_steps)
    return optimizer.learning_rate * (optimizer.floor + (1 - optimizer.floor) * 0.5 * (1 + math.cos(math.pi * min(1.0, done))))
