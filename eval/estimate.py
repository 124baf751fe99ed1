"""What an evaluation will take, before it runs: sides, tokens, operations, and hours by the kind of GPU.

Pictures are not decoded, and no weight of the model is read. Every distinct side of a set counts, whether or not its embedding is
kept already; a system prompt that a batch shares counts for each of its rows, so the figures are a little high.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
import torch

from eval.measurement import Failures
from pipeline.encode.workload import Workload
from pipeline.inference import EmbeddingModel
from pipeline.outlined import Outlined
from pipeline.sample import Side
from pipeline.templates import Templates
from pipeline.train.flops import Cost
from pipeline.train.forecast.forecast import UTILISATION
from pipeline.train.forecast.gpus import GPUS


@dataclass(frozen=True, slots=True, kw_only=True)
class Estimate:
    """Of one set: sides, those with contents of their own, and their tokens and operations."""

    name: str
    sides: int
    distinct: int
    tokens: int
    flops: float


class Embedded(Protocol):
    """A set of sides."""

    @property
    def dataset(self) -> str:
        """Its name."""

    def read(self) -> Any:
        """What it holds. Raises DataError."""

    def sides(self, content: Any, templates: Templates, /) -> Sequence[Side]:
        """All that is embedded of it, as a model of these templates is shown it."""


def forecast(model: Outlined | EmbeddingModel, wanted: Sequence[Embedded]) -> str:
    """The table of some sets. One that cannot be used is said and left out."""
    failures, found, cost = Failures(), list[Estimate](), Cost.of(model.embedder)

    def look(each: Embedded) -> None:
        found.append(estimate(model, each.dataset, each.sides(each.read(), model.recipe.templates), cost))

    for each in wanted:
        failures.passes(each.dataset, partial(look, each))
    return table(found)


def estimate(model: Outlined | EmbeddingModel, name: str, sides: Sequence[Side], cost: Cost) -> Estimate:
    """Look at every side of a set, at its pictures' heads alone."""
    reader = model.reader
    work = Workload.of(reader, sides)
    shown = [size for first in work.firsts.tolist() for size in reader.reading(sides[first]).shown]
    grids = torch.tensor([model.recipe.pixels.grid_of(*size) for size in shown]).reshape(-1, 3)
    lengths, tokens = torch.from_numpy(np.array(work.tokens)), int(work.tokens.sum())
    flops = cost.sequences(lengths, tokens=tokens).forward + cost.pictures(grids).forward
    return Estimate(name=name, sides=len(sides), distinct=len(work.keys), tokens=tokens, flops=flops)


def table(found: Sequence[Estimate]) -> str:
    """Sets, their sum, and hours on one GPU of each kind."""
    total = Estimate(
        name=f"{len(found)} sets",
        sides=sum(each.sides for each in found),
        distinct=sum(each.distinct for each in found),
        tokens=sum(each.tokens for each in found),
        flops=sum(each.flops for each in found),
    )
    lines = [f"{'dataset':<24} {'sides':>9} {'distinct':>9} {'tokens':>13} {'TFLOPs':>14}"]
    for each in (*found, total):
        lines.append(f"{each.name:<24} {each.sides:>9,} {each.distinct:>9,} {each.tokens:>13,} {each.flops / 1e12:>14,.3f}")
    hours = [f"{gpu.name} {total.flops / (UTILISATION * gpu.peak) / 3600:.2f}" for gpu in GPUS.values()]
    return "\n".join([*lines, f"hours on one GPU, at {UTILISATION:.0%} of its peak (not measured): {', '.join(hours)}"])
