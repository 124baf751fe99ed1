"""From answers to accuracies: over rows, by category, beside the best that can be done without looking."""

from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from eval.metrics import Score, score
from eval.questions import QuestionRow
from eval.verdicts import Verdict, scored

Key = TypeVar("Key", bound=Hashable)

SEED = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy over rows. Its `chance` is guessing among the options; `majority` is the best answer that ignores the picture."""

    score: Score
    majority: float


def by_category(verdicts: Sequence[Verdict]) -> dict[str, Accuracy]:
    """Accuracy for each category, sorted by name; rows without one are `all`, rows without a credit are left out."""
    groups = grouped((verdict.row.category or "all", verdict) for verdict in scored(verdicts))
    return {name: _accuracy(groups[name], majority([verdict.row for verdict in groups[name]])) for name in sorted(groups)}


def overall(verdicts: Sequence[Verdict], categories: dict[str, Accuracy]) -> Accuracy | None:
    """Accuracy over all rows with a credit, None where there are none; its majority baseline knows each row's category."""
    counted = scored(verdicts)
    weighted = sum(item.majority * item.score.count for item in categories.values())
    return _accuracy(counted, weighted / len(counted)) if counted else None


def majority(rows: Sequence[QuestionRow]) -> float:
    """Accuracy of the best answer that knows the category but not the picture; of free words nothing is guessed.

    The larger of two guesses: always the most frequent label (or yes/no), and the option whose text is most often right in the
    category's *other* questions, ties shared. Counting a question itself would reward texts that occur once; the rotations of one
    are one question, or each would give the others away.
    """
    labels = Counter(row.answer for row in rows if row.kind != "open")
    best_label = max(labels.values(), default=0) / len(rows)
    questions = {row.group or row.index: row for row in rows if row.options}
    right_texts = Counter(row.options[row.answer] for row in questions.values() if row.answer in row.options)
    by_text = [_text_guess(row, right_texts) for row in questions.values()]
    share = sum(bool(row.options) for row in rows) / len(rows)
    return max(best_label, share * float(np.mean(by_text)) if by_text else 0.0)


def chance(row: QuestionRow) -> float:
    """What guessing among the options, or between yes and no, gets right; nothing of free words."""
    return 0.0 if row.kind == "open" else 1.0 / (len(row.options) or 2)


def mean_score(values: Sequence[float], *, guessed: Sequence[float]) -> Score:
    """A mean with its interval; its chance is the mean of what is `guessed` of each."""
    return score(values, chance=float(np.mean(guessed)), seed=SEED)


def grouped(pairs: Iterable[tuple[Key, Verdict]]) -> dict[Key, list[Verdict]]:
    """Verdicts by key, in the order they come."""
    groups: dict[Key, list[Verdict]] = defaultdict(list)
    for key, each in pairs:
        groups[key].append(each)
    return groups


def _accuracy(verdicts: Sequence[Verdict], baseline: float) -> Accuracy:
    guessed = [chance(each.row) for each in verdicts]
    return Accuracy(score=mean_score([each.value for each in verdicts], guessed=guessed), majority=baseline)


def _text_guess(row: QuestionRow, right_texts: Counter[str]) -> float:
    counts = {label: right_texts[text] - (label == row.answer) for label, text in row.options.items()}
    best = [label for label, count in counts.items() if count == max(counts.values())]
    return float(row.answer in best) / len(best)
