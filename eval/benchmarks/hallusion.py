"""HallusionBench: rows, figures and pairs of questions with everything right, and the mean of the three that papers report."""

import re
from collections.abc import Sequence

import numpy as np

from eval.benchmarks.benchmark import Benchmark, BenchmarkScores, Headline, Table, refuse_odd_answers
from eval.metrics import LEVEL, RESAMPLES, Score
from eval.question_scores import SEED
from eval.questions import QuestionTable
from eval.tsv import TsvTable
from eval.verdicts import Verdict
from pipeline.errors import DataError

_INDEX = re.compile(r"(VD|VS)_[^_]+_[^_]+_[^_]+_[^_]+_[^_]+")
COLUMNS = ("aAcc", "fAcc", "qAcc", "mean")
_CHANCE = 0.5


class HallusionBench(Benchmark):
    """Yes/no questions whose index is `{VD|VS}_sub_visual_set_figure_question`."""

    name = "HallusionBench"
    marks = ("hallusion",)
    kinds = frozenset({"yes_no"})

    def fits(self, table: TsvTable) -> bool:
        """By its index, in yes/no files of other names."""
        return any(_INDEX.fullmatch(row["index"]) for row in table.rows)

    def check(self, table: TsvTable) -> None:
        """Every index has the form, and every row the sub-category that tells its figures from others'."""
        for row in table.rows:
            if not _INDEX.fullmatch(row["index"]):
                raise DataError(
                    f"{table.path}: index {row['index'][:40]!r} has not HallusionBench's form, such as VD_math_1_2_0_1; mend it"
                )
            if not row.get("l2-category", "").strip():
                raise DataError(
                    f"{table.path}: index {row['index']} has no l2-category, without which figures of several kinds are merged; "
                    "take the file that has the column"
                )
        refuse_odd_answers(table, ("yes", "no"))

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """A line for all rows, one for VD and VS, one for each sub-category."""
        lines: Table = {"Overall": _figures(verdicts)}
        for kind_of in (_category, _sub_category):
            for kind in sorted({kind_of(each) for each in verdicts}):
                lines[kind] = _figures([each for each in verdicts if kind_of(each) == kind])
        score = _mean_score(verdicts)
        headline = Headline(name="mean of aAcc, fAcc, qAcc", score=score, of=len(verdicts) + len(table.unusable))
        bare = len(table.skipped) - len(table.unusable)
        notes = (f"{bare} rows without a picture are left out, as VLMEvalKit leaves them out",) if bare else ()
        return BenchmarkScores(headline=headline, table=lines, notes=notes)


def _category(each: Verdict) -> str:
    return each.row.category or each.row.index.split("_")[0]


def _sub_category(each: Verdict) -> str:
    return each.row.l2_category


def _keys(each: Verdict) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """Set, figure and pair of questions that a row belongs to."""
    _, _, _, group, figure, question = each.row.index.split("_")
    kind = each.row.l2_category
    return (kind, group), (kind, group, figure), (kind, group, "question", question)


def _counts(verdicts: Sequence[Verdict]) -> np.ndarray:
    """Right and all, of rows, figures and pairs: (3, 2) float64."""
    figures: dict[tuple[str, ...], bool] = {}
    pairs: dict[tuple[str, ...], bool] = {}
    for each in verdicts:
        _, figure, pair = _keys(each)
        figures[figure] = figures.get(figure, True) and each.is_hit
        pairs[pair] = pairs.get(pair, True) and each.is_hit
    right = [sum(each.is_hit for each in verdicts), sum(figures.values()), sum(pairs.values())]
    return np.array(list(zip(right, [len(verdicts), len(figures), len(pairs)], strict=True)), dtype=np.float64)


def _figures(verdicts: Sequence[Verdict]) -> dict[str, float]:
    counts = _counts(verdicts)
    three = counts[:, 0] / counts[:, 1]
    return dict(zip(COLUMNS, [*map(float, three), float(three.mean())], strict=True))


def _mean_score(verdicts: Sequence[Verdict]) -> Score:
    """The mean of the three, its interval over sets (figures and pairs cross inside of one) and its chance."""
    sets: dict[tuple[str, ...], list[Verdict]] = {}
    for each in verdicts:
        sets.setdefault(_keys(each)[0], []).append(each)
    counts = np.stack([_counts(members) for members in sets.values()])
    draws = np.random.default_rng(SEED).integers(len(counts), size=(RESAMPLES, len(counts)))
    sums = counts[draws].sum(axis=1)
    low, high = np.quantile((sums[..., 0] / sums[..., 1]).mean(axis=1), [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    value = _figures(verdicts)["mean"]
    return Score(value=value, low=float(low), high=float(high), chance=_guessed(verdicts), count=len(verdicts))


def _guessed(verdicts: Sequence[Verdict]) -> float:
    """What guessing gives: one half of the rows, and of figures and pairs that with the power of their rows."""
    sizes: list[dict[tuple[str, ...], int]] = [{}, {}]
    for each in verdicts:
        for own, key in zip(sizes, _keys(each)[1:], strict=True):
            own[key] = own.get(key, 0) + 1
    powers = [float(np.mean([_CHANCE**size for size in own.values()])) for own in sizes]
    return (_CHANCE + sum(powers)) / 3
