"""The figures of a training step: what its log line says beside the losses."""

import resource
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch

from pipeline.losses.weights import Stepwise, weight_at
from pipeline.phase import Phase
from pipeline.train.collectives import sum_over_ranks
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.flops import Flops, peak_of
from pipeline.train.step import StepReport


@dataclass(frozen=True, slots=True)
class Clock:
    """Seconds of a step on this rank: all of them, those spent waiting for its data, and those computed without others."""

    seconds: float
    waited: float
    computed: float


@dataclass(frozen=True, slots=True)
class Tally:
    """Sums over the ranks of a step: tokens of its sequences, seconds waited, operations, answers that were cut, rows without one
    to learn, sides that could not be read, and ranks that were asked to stop. `own` are the seconds by rank in which each waited
    for its data or computed, without those in which it waited for others.
    """

    tokens: float
    waited: float
    model_flops: float
    hardware_flops: float
    cut_answers: float
    unanswered: float
    unreadable: float
    asked_to_stop: float
    own: tuple[float, ...]


def tally(work: StepWork, clock: Clock, flops: Flops, *, engine: Engine, asked_to_stop: bool) -> Tally:
    """Add up over all ranks, in one collective; every rank must call it."""
    summed = {
        "tokens": work.num_tokens,
        "waited": clock.waited,
        "model_flops": flops.model,
        "hardware_flops": flops.hardware,
        "cut_answers": work.num_cut,
        "unanswered": work.num_unanswered,
        "unreadable": len(work.unreadable),
        "asked_to_stop": asked_to_stop,
    }
    by_rank = [0.0] * engine.num_ranks
    by_rank[engine.rank] = clock.waited + clock.computed
    own = torch.tensor([*summed.values(), *by_rank], dtype=torch.float64, device=engine.device)
    found: list[float] = sum_over_ranks(own).tolist()
    totals: dict[str, Any] = dict(zip(summed, found, strict=False))
    return Tally(**totals, own=tuple(found[len(summed) :]))


def figures_of(
    report: StepReport, work: StepWork, clock: Clock, total: Tally, *, num_ranks: int, device: torch.device
) -> dict[str, float]:
    """The step's figures by name. Rates are over the global batch, peak memory is this rank's."""
    losses = {name: float(value) for name, value in asdict(report).items() if value is not None}
    return losses | {
        "seconds": clock.seconds,
        "pairs_per_second": report.pairs / clock.seconds,
        "tokens_per_second": total.tokens / clock.seconds,
        "data_wait_share": total.waited / num_ranks / clock.seconds,
        "peak_memory_gib": peak_memory(device) / 2**30,
        "chunks": float(len(work.chunks)),
        "cut_answers": total.cut_answers,
        "unanswered": total.unanswered,
        "unreadable": total.unreadable,
        **utilisation(total, clock.seconds * num_ranks, peak_of(device)),
    }


def utilisation(total: Tally, seconds: float, peak: float | None) -> dict[str, float]:
    """Shares of the devices' peak: what the model needs, and with what is computed twice. Nothing where the peak is not known."""
    if peak is None:
        return {}
    return {
        "model_flops_utilisation": total.model_flops / seconds / peak,
        "hardware_flops_utilisation": total.hardware_flops / seconds / peak,
    }


def scheduled(phase: Phase, step: int) -> Mapping[str, float]:
    """What the recipe sets at a step: what the contrastive loss has logged, and the losses' weights as far as they change."""
    weights = {"contrastive_weight": phase.contrastive_weight, "language_weight": phase.language_weight}
    changing = {name: weight_at(weight, step) for name, weight in weights.items() if isinstance(weight, Stepwise)}
    return {**phase.contrastive.logged(), **changing}


def peak_memory(device: torch.device) -> int:
    """The most bytes in use so far: of the device where there is one, else of the process."""
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def summary(figures: Mapping[str, float], steps_per_second: float) -> str:
    """What the progress line says of a step."""
    names = {"contrastive": "contrastive", "own_language": "LM own", "outside_language": "LM outside", "precision_at_1": "P@1"}
    shown = "  ".join(f"{label} {figures[name]:.3f}" for name, label in names.items() if name in figures)
    return f"{shown}  {steps_per_second:.2f} steps/s"
