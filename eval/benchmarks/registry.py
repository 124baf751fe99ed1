"""Which benchmark a file is: by its name, else by its form."""

from eval.benchmarks.benchmark import Benchmark
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


def benchmark_of(table: TsvTable) -> Benchmark:
    """The benchmark whose mark stands in the file's name, else the one whose form the file has, else none of them."""
    name = table.name.lower()
    marked = [each for each in SIX if any(mark in name for mark in each.marks)]
    return next(iter(marked), None) or next((each for each in SIX if each.fits(table)), PLAIN)
