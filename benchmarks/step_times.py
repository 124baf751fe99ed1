"""Times of ways to make a training step, which take turns, and the memory of a GPU that they take."""

import gc
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from time import perf_counter, process_time

import torch

from benchmarks.step_gradients import Variant


@dataclass(frozen=True, slots=True, kw_only=True)
class Seconds:
    """Of one run; `peak` are the bytes of a GPU that it took beside what lay there before, 0 without one."""

    collate: float
    step: float
    peak: int

    @property
    def both(self) -> float:
        return self.collate + self.step


def timed(variant: Variant) -> Seconds:
    """Collate and step once."""
    gc.collect()
    before = _fresh_peak()
    begun = _now()
    load = variant.collate()
    collated = _now()
    variant.step(load)
    ended = _now()
    peak = torch.cuda.max_memory_allocated() - before if torch.cuda.is_available() else 0
    return Seconds(collate=collated - begun, step=ended - collated, peak=peak)


def _fresh_peak() -> int:
    """Begin to look for the most memory of the GPU; returns what is taken now."""
    if not torch.cuda.is_available():
        return 0
    torch.cuda.reset_peak_memory_stats()
    return torch.cuda.memory_allocated()


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
        return perf_counter()
    return process_time() if torch.get_num_threads() == 1 else perf_counter()


def measure(compared: Sequence[Variant], repeats: int) -> dict[str, list[Seconds]]:
    """Times of all variants, which take turns, forwards and backwards through the list."""
    times: dict[str, list[Seconds]] = {variant.name: [] for variant in compared}
    for repeat in range(repeats):
        for variant in compared if repeat % 2 else reversed(compared):
            times[variant.name].append(timed(variant))
    return times


def ratio(theirs: list[Seconds], mine: list[Seconds], part: str = "both") -> str:
    """Of the times of a part: the median of the repetitions' ratios, the least and the greatest."""
    ratios = [getattr(a, part) / getattr(b, part) for a, b in zip(theirs, mine, strict=True)]
    return f"{median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"


def line(*cells: str) -> str:
    """A row of a Markdown table."""
    return f"| {' | '.join(cells)} |"
