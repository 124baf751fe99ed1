"""MMBench: circular, by six abilities and twenty leaf ones; the test splits have no public answers."""

from collections.abc import Sequence
from typing import ClassVar

from eval.benchmarks.benchmark import Benchmark, BenchmarkScores, Headline, split_table
from eval.benchmarks.rotations import circular, circular_headline, is_rotated, rotation_notes
from eval.questions import QuestionTable
from eval.tsv import TsvTable
from eval.verdicts import Verdict

ABILITIES = {
    "coarse_perception": "CP",
    "finegrained_perception (instance-level)": "FP-S",
    "finegrained_perception (cross-instance)": "FP-C",
    "logic_reasoning": "LR",
    "relation_reasoning": "RR",
    "attribute_reasoning": "AR",
}
"""`l2-category` as tables abbreviate it."""

NO_ANSWERS = "its answers are not public: export the predictions and submit them"


class Rotated(Benchmark):
    """Any file that holds the rotations of its questions."""

    names: ClassVar[dict[str, str]] = {}

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """Circular figures where there are rotations, else those of rows."""
        if not is_rotated(table):
            return super().scores(verdicts, table)
        questions = circular(verdicts, table)
        headline = circular_headline(questions, verdicts, table)
        return BenchmarkScores(headline=headline, table=split_table(questions, self.names), notes=rotation_notes(table))


class MMBench(Rotated):
    """MMBench_DEV_EN, MMBench_DEV_EN_V11 and their test splits."""

    name = "MMBench"
    marks = ("mmbench",)
    kinds = frozenset({"choice"})
    names = ABILITIES

    def has_answers(self, table: TsvTable) -> bool:
        """The test splits come without."""
        return any(row.get("answer", "") for row in table.rows) or "test" not in table.name.lower()

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """The circular figures; for a test split only what to do."""
        if verdicts and all(each.credit is None for each in verdicts):
            questions = len({each.row.group or each.row.index for each in verdicts})
            return BenchmarkScores(
                headline=Headline(name="all rotations right", score=None, of=questions, unit="questions", why=NO_ANSWERS)
            )
        return super().scores(verdicts, table)
