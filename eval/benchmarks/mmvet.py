"""MM-Vet: free answers that a judge gives 0 to 1, by six capabilities and by their combinations."""

import re
from collections.abc import Mapping, Sequence

from eval.benchmarks.benchmark import Benchmark, BenchmarkScores, Headline, Table, has_options
from eval.question_scores import mean_score
from eval.questions import QuestionRow, QuestionTable
from eval.tsv import TsvTable
from eval.verdicts import Rules, Verdict, scored

CAPABILITIES = ("rec", "ocr", "know", "gen", "spat", "math")


class MMVet(Benchmark):
    """218 questions; a row's category lists the capabilities that it needs, its answer holds `<AND>` and `<OR>`."""

    name = "MMVet"
    marks = ("mmvet", "mm-vet", "mm_vet")
    kinds = frozenset({"open"})
    max_new_tokens = 512

    def fits(self, table: TsvTable) -> bool:
        """By its categories, in files of other names that have no options."""
        kinds = {kind for row in table.rows for kind in _capabilities(row.get("category", ""))}
        return bool(kinds) and kinds <= set(CAPABILITIES) and not any(map(has_options, table.rows))

    def is_open(self, row: Mapping[str, str]) -> bool:
        """Every row, one whose answer is a yes or no too: a score over those alone would be of another benchmark."""
        return True

    def verdict(self, row: QuestionRow, prediction: str, rules: Rules) -> Verdict:
        """No credit without a judge."""
        return Verdict(row=row, prediction=prediction, parsed=None, credit=None)

    def scores(self, verdicts: Sequence[Verdict], table: QuestionTable) -> BenchmarkScores:
        """The mean credit, by capability and by combination, where every answer was judged."""
        of, counted = len(verdicts) + len(table.unusable), scored(verdicts)
        if len(counted) < len(verdicts):
            missing = f"{len(verdicts) - len(counted)} of its {of} answers have no judgement; name a judge with --judge"
            return BenchmarkScores(headline=Headline(name="judged score", score=None, of=of, why=missing))
        score = mean_score([each.value for each in counted], guessed=[0.0] * len(counted))
        return BenchmarkScores(headline=Headline(name="judged score", score=score, of=of), table=_table(counted))


def _table(verdicts: Sequence[Verdict]) -> Table:
    groups = {name: [each for each in verdicts if name in each.row.category] for name in CAPABILITIES}
    groups["Overall"] = list(verdicts)
    for each in verdicts:
        groups.setdefault(f"only {'_'.join(_capabilities(each.row.category))}", []).append(each)
    return {name: _line(members) for name, members in groups.items() if members}


def _line(verdicts: Sequence[Verdict]) -> dict[str, float]:
    return {"score": sum(each.value for each in verdicts) / len(verdicts), "rows": float(len(verdicts))}


def _capabilities(category: str) -> list[str]:
    return [part for part in re.split(r"[,\s]+", category.strip()) if part]
