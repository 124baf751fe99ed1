"""What the benchmarks have in common: a name to know them by, rows of a kind, tables, and the one figure that is reported."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

from eval.judges.scripts import Judgement, judged_choice, judged_score, judged_yes_no
from eval.metrics import Score
from eval.prompts import Message, pictures_first, prompt
from eval.question_scores import chance, mean_score
from eval.questions import Kind, QuestionRow, QuestionTable
from eval.tsv import TsvTable
from eval.verdicts import Rules, Verdict, scored, verdict
from pipeline.chat import Script
from pipeline.errors import DataError

Table = dict[str, dict[str, float]]
"""Figures (0 to 1) by line and column, as VLMEvalKit's score files have them."""

NO_SPLIT = "none"
"""What these call the split of a file that has no splits."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Headline:
    """The figure by which a benchmark is known: what it is, over how many of how many; `why` it was not computed, where not.

    `score.count` is the number of what is averaged, `of` how many of these the file holds.
    """

    name: str
    score: Score | None
    of: int
    unit: str = "rows"
    why: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class BenchmarkScores:
    """A benchmark's own figure, its tables, and what a reader must know of them, in sentences."""

    headline: Headline
    table: Table = field(default_factory=dict)
    notes: tuple[str, ...] = ()


class Benchmark:
    """A file of choice and yes/no questions that is no known benchmark; the known ones are subclasses.

    `marks` are parts of a file's name, without case, by which a benchmark is known; `kinds` are those its rows have.
    `max_new_tokens` is enough for the answers that its prompt asks for.
    """

    name: ClassVar[str] = ""
    marks: ClassVar[tuple[str, ...]] = ()
    kinds: ClassVar[frozenset[Kind]] = frozenset({"choice", "yes_no", "open"})
    max_new_tokens: ClassVar[int] = 128

    def fits(self, table: TsvTable) -> bool:
        """Whether a file of another name has this benchmark's form."""
        return False

    def is_open(self, row: Mapping[str, str]) -> bool:
        """Whether a row asks for free words."""
        return not has_options(row) and row.get("answer", "").strip().lower() not in ("yes", "no")

    def has_answers(self, table: TsvTable) -> bool:
        """Whether the right answers are public."""
        return True

    def check(self, table: TsvTable) -> None:
        """Raise DataError for a file that would be scored wrongly."""

    def words(self, row: QuestionRow, style: str) -> str:
        """What is asked, behind the pictures. Raises ConfigError for an unknown style."""
        return prompt(row, style)

    def messages(self, row: QuestionRow, style: str) -> list[Message]:
        """The same with the pictures."""
        return pictures_first(row, self.words(row, style))

    def verdict(self, row: QuestionRow, prediction: str, rules: Rules) -> Verdict:
        """Read one answer."""
        return verdict(row, prediction, rules)

    def judged(self, each: Verdict, rules: Rules, judge: str) -> Script[Judgement] | None:
        """What a judge is asked about an answer; None where the rules suffice. `judge` is the model's name."""
        if each.row.kind == "open":
            return judged_score(each, judge)
        if each.parsed is not None or not each.row.answer:
            return None
        if each.row.kind == "choice":
            return judged_choice(each, each.row.options, each.row.answer, rules.matcher, judge)
        return judged_yes_no(each, judge)

    def counted(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """Those that the reported figure is taken over."""
        return list(verdicts)

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """The figures. `verdicts` are those of the table's rows, in order."""
        counted = self.counted(verdicts)
        headline = plain_headline(counted, of=len(counted) + len(table.unusable))
        return BenchmarkScores(headline=headline, table=split_table(verdicts))


def has_options(row: Mapping[str, str]) -> bool:
    """Whether a row of a file has an option."""
    return any(len(name) == 1 and name.isupper() and name.isascii() and bool(text) for name, text in row.items())


def plain_headline(verdicts: Sequence[Verdict], *, of: int, name: str = "accuracy") -> Headline:
    """Accuracy over rows; over those that could be judged, which the line says, in files of one's own."""
    counted = scored(verdicts)
    if not counted:
        return Headline(name=name, score=None, of=of, why="its questions have free answers, which need a judge")
    value = mean_score([each.value for each in counted], guessed=[chance(each.row) for each in counted])
    return Headline(name=name, score=value, of=of)


def split_table(verdicts: Sequence[Verdict], names: Mapping[str, str] | None = None) -> Table:
    """Accuracy of each split (`none` where the file has no splits): Overall, then by `l2-category`, then by `category`.

    `names` shortens categories. As VLMEvalKit's `acc` tables; a category that a split lacks is left out.
    """
    counted = scored(verdicts)
    table: Table = {}
    for split in sorted({each.row.split for each in counted}):
        rows = [each for each in counted if each.row.split == split]
        line = {"Overall": _mean(rows)}
        for kinds in ([each.row.l2_category for each in rows], [each.row.category for each in rows]):
            for kind in sorted(set(kinds) - {""}):
                members = [each for each, own in zip(rows, kinds, strict=True) if own == kind]
                line[(names or {}).get(kind, kind)] = _mean(members)
        table[split or NO_SPLIT] = line
    return table


def refuse_odd_answers(table: TsvTable, allowed: Sequence[str]) -> None:
    """Raise DataError for a known benchmark with an answer that its rows never have."""
    for row in table.rows:
        if row["answer"].strip().lower() not in allowed:
            raise DataError(
                f"{table.path}: the answer of index {row['index']} is {row['answer'][:40]!r}, and this benchmark's are "
                f"{', '.join(allowed)}; download the file again"
            )


def _mean(verdicts: Sequence[Verdict]) -> float:
    return sum(each.value for each in verdicts) / len(verdicts)
