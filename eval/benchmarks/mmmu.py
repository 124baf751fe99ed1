"""MMMU: validation and dev by subject; multiple choice with up to nine options, and a few open questions."""

import ast
from collections.abc import Mapping, Sequence

from eval.benchmarks.benchmark import Benchmark, BenchmarkScores, has_options, plain_headline, split_table
from eval.benchmarks.open_answers import names_answer
from eval.judges.scripts import Judgement, judged_choice
from eval.prompts import Message, check_style, choice_prompt, pictures_first, pictures_in_place
from eval.questions import QuestionRow, QuestionTable, is_label
from eval.tsv import TsvTable
from eval.verdicts import Rules, Verdict, read_back, verdict
from pipeline.chat import Script

VALIDATION = "validation"
OTHER_ANSWERS = "Other Answers"


class MMMU(Benchmark):
    """MMMU_DEV_VAL: `validation` is what is reported."""

    name = "MMMU"
    marks = ("mmmu",)
    kinds = frozenset({"choice", "open"})
    max_new_tokens = 512

    def is_open(self, row: Mapping[str, str]) -> bool:
        """Every row without options, whatever its answer is."""
        return not has_options(row)

    def fits(self, table: TsvTable) -> bool:
        """By its columns."""
        return {"question_type", "subfield", "topic_difficulty"} <= set(table.columns)

    def words(self, row: QuestionRow, style: str) -> str:
        """Never asked in Chinese; an open question is put without options and without saying how to answer."""
        check_style(style)
        return choice_prompt(row, style, chinese=False)

    def messages(self, row: QuestionRow, style: str) -> list[Message]:
        """`default` puts pictures where the words name them; `qwen2-vl` all first, and the marks stay in the words."""
        words = self.words(row, style)
        return pictures_in_place(row, words) if style == "default" else pictures_first(row, words)

    def verdict(self, row: QuestionRow, prediction: str, rules: Rules) -> Verdict:
        """Open questions by the rule of MMMU's authors, or for parity as a choice of two."""
        if rules.parity:
            return two_way(row, prediction, rules)
        if row.kind != "open":
            return verdict(row, prediction, rules)
        found = names_answer(prediction, right_answers(row.answer))
        return Verdict(row=row, prediction=prediction, parsed=row.answer if found else None, credit=float(found))

    def judged(self, each: Verdict, rules: Rules, judge: str) -> Script[Judgement] | None:
        """An open question is put as a choice of two, unless the rules found it right."""
        if not each.row.is_open:
            return super().judged(each, rules, judge)
        if each.is_hit or (rules.parity and each.parsed is not None):
            return None
        options, right = two_options(each.row)
        return judged_choice(each, options, right, rules.matcher, judge)

    def counted(self, verdicts: Sequence[Verdict]) -> list[Verdict]:
        """The validation rows where a file holds other splits beside them."""
        validation = [each for each in verdicts if each.row.split == VALIDATION]
        return validation or list(verdicts)

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """Accuracy of each split, its open questions counted apart."""
        counted = self.counted(verdicts)
        lost = len(table.unusable)
        name = f"accuracy on {VALIDATION}" if counted[0].row.split == VALIDATION else "accuracy"
        open_rows = [each for each in counted if each.row.is_open]
        right = sum(each.is_hit for each in open_rows)
        notes = (f"{len(open_rows)} of these rows are open questions, {right} of them right",) if open_rows else ()
        headline = plain_headline(counted, of=len(counted) + lost, name=name)
        return BenchmarkScores(headline=headline, table=split_table(verdicts), notes=notes)


def two_way(row: QuestionRow, prediction: str, rules: Rules) -> Verdict:
    """As VLMEvalKit scores: a row without option A becomes a choice between the answer's text (A) and "Other Answers" (B).

    The right label is the answer where that is one capital letter, else A. So "18" is right for 8, and "1200" wrong for "$1,200".
    """
    options, right = two_options(row)
    parsed = rules.matcher.match(read_back(prediction), options)
    return Verdict(row=row, prediction=prediction, parsed=parsed, credit=float(parsed == right))


def two_options(row: QuestionRow) -> tuple[dict[str, str], str]:
    """The options of a row, made up where it has no A, and the right label."""
    options = dict(row.options)
    if "A" not in options:
        options = {"A": row.answer, "B": OTHER_ANSWERS, **{name: text for name, text in options.items() if name > "B"}}
    return options, row.answer if is_label(row.answer) else "A"


def right_answers(answer: str) -> tuple[str, ...]:
    """The texts that are right: the entries of a list literal, or the answer itself."""
    if answer.startswith("["):
        try:
            return tuple(str(item) for item in ast.literal_eval(answer))
        except (ValueError, SyntaxError, MemoryError, RecursionError, TypeError):
            return (answer,)
    return (answer,)
