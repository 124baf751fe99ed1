"""Which benchmark a file is: by its name, else by its form."""

from collections.abc import Sequence

from eval.benchmarks.benchmark import Benchmark, Headline
from eval.benchmarks.choices import AI2D, MMStar
from eval.benchmarks.hallusion import HallusionBench
from eval.benchmarks.mmbench import MMBench, Rotated
from eval.benchmarks.mmmu import MMMU
from eval.benchmarks.mmvet import MMVet
from eval.tsv import TsvTable

SIX: tuple[Benchmark, ...] = (MMBench(), MMVet(), AI2D(), HallusionBench(), MMMU(), MMStar())
"""In the order of CREM's Table 2, whose AVG is the plain mean of their figures."""

PLAIN = Rotated()
"""A file that is none of them."""

BY_NAME = {each.name: each for each in (*SIX, PLAIN)}


def average_text(headlines: Sequence[tuple[str, Headline]]) -> str:
    """A line with the plain mean of the six, as CREM's Table 2 has it; empty where fewer than two of them are there.

    A benchmark whose figure was not computed stays out, and the line says which, as it does of those that were not asked. Of
    two files of one benchmark the first counts.
    """
    known: dict[str, Headline] = {}
    for name, headline in headlines:
        known.setdefault(name, headline)
    figures = {each.name: known[each.name] for each in SIX if each.name in known}
    values = [headline.score.value for headline in figures.values() if headline.score is not None]
    if len(figures) < 2 or not values:
        return ""
    without = [name for name in (each.name for each in SIX) if name not in figures or figures[name].score is None]
    said = f" of {len(values)}; without {', '.join(without)}, so not the papers' AVG" if without else ", AVG as in CREM's Table 2"
    return f"mean of the six benchmarks{said}: {100 * sum(values) / len(values):.1f}"


def benchmark_of(table: TsvTable) -> Benchmark:
    """The benchmark whose mark stands in the file's name, else the one whose form the file has, else none of them."""
    return benchmark_named(table.name) or next((each for each in SIX if each.fits(table)), PLAIN)


def benchmark_named(file: str) -> Benchmark | None:
    """The benchmark whose mark stands in a file's name; None where it is none of the six's."""
    return next((each for each in SIX if any(mark in file.lower() for mark in each.marks)), None)
