"""AI2D and MMStar: one row a question, the mean over rows."""

from eval.benchmarks.benchmark import Benchmark


class AI2D(Benchmark):
    """AI2D_TEST, whose labels in the diagrams are masked by letters; AI2D_TEST_NO_MASK scores several points higher."""

    name = "AI2D"
    marks = ("ai2d",)
    kinds = frozenset({"choice"})


class MMStar(Benchmark):
    """MMStar: six categories of 250 rows; the 18 finer ones stand in no table."""

    name = "MMStar"
    marks = ("mmstar",)
    kinds = frozenset({"choice"})
