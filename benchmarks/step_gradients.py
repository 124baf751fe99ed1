"""Whether ways to make a training step compute the same losses and gradients: to rounding, of float32 or of bfloat16."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import hypot
from typing import Any

import click
import torch

Gradients = dict[str, torch.Tensor]
TOLERANCE = 1e-4
"""Allowed relative difference of a loss, and of a trained tensor's gradient in the l2 norm: float32 sums in another order."""
TOLERANCE_OF_ALL = 1e-3
"""The same for all gradients together of a deep model, in which rounding grows layer by layer."""
TIMES_OURS = 3.0
"""In bfloat16 a variant may be so many times as far from the float32 gradient as ours."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Variant:
    """A way to make a step: `collate` makes what `step` takes; `gradients` are those of the last step."""

    name: str
    collate: Callable[[], Any]
    step: Callable[[Any], tuple[float, ...]]
    gradients: Callable[[], Gradients]


def check_equal(compared: Sequence[Variant], *, each: bool = True) -> float:
    """The largest relative difference of a loss or gradient from the first's; more than rounding raises. Also the warm-up.

    Gradients are compared tensor by tensor, or, unless `each`, all together.
    """
    expected: tuple[float, ...] = ()
    truth: Gradients = {}
    worst = 0.0
    for variant in compared:
        losses = variant.step(variant.collate())
        found = variant.gradients()
        if variant is compared[0]:
            expected, truth = losses, found
            continue
        differences = {f"loss {i}": abs(a / b - 1) for i, (a, b) in enumerate(zip(losses, expected, strict=True))}
        differences |= apart(found, truth) if each else {"the gradient": apart_together(found, truth)}
        name = max(differences, key=lambda key: differences[key])
        if not differences[name] <= (TOLERANCE if each else TOLERANCE_OF_ALL):
            raise click.ClickException(f"{variant.name} is not ours: {name} differs by {differences[name]:.2g}")
        worst = max(worst, differences[name])
    return worst


def check_rounding(compared: Sequence[Variant], truth: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """How far the gradients of each variant are from the true ones; raises for one much farther than the first."""
    off: dict[str, float] = {}
    for variant in compared:
        variant.step(variant.collate())
        off[variant.name] = apart_together(variant.gradients(), truth)
        if not off[variant.name] <= TIMES_OURS * off[compared[0].name]:
            raise click.ClickException(f"{variant.name} is off by {off[variant.name]:.2g}, ours by {off[compared[0].name]:.2g}")
    return off


def apart(found: Mapping[str, torch.Tensor], truth: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Of each tensor, the norm of its difference relative to the true one's."""
    return {name: float((found[name] - true).norm() / true.norm()) for name, true in truth.items()}


def apart_together(found: Mapping[str, torch.Tensor], truth: Mapping[str, torch.Tensor]) -> float:
    """Of all tensors together, the norm of the difference relative to the true one's."""
    difference = hypot(*(float((found[name].float() - true.float()).norm()) for name, true in truth.items()))
    return difference / hypot(*(float(true.float().norm()) for true in truth.values()))
