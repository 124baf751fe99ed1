"""From answers to accuracies: rows, categories with their majority baselines, rotated groups, HallusionBench's three."""

import re
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from eval.metrics import Score, score
from eval.option_matcher import UNKNOWN, OptionMatcher, yes_or_no
from eval.tsv import QuestionRow

Key = TypeVar("Key", bound=Hashable)

SEED = 0
ROTATION = 1_000_000
"""Rotation k of question q has the index k * 1,000,000 + q (MMBench)."""

_HALLUSION_INDEX = re.compile(r"(VD|VS)_[^_]+_[^_]+_[^_]+_[^_]+_[^_]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an answer was read as, and whether that is right. `parsed` is None where no rule found anything: wrong."""

    row: QuestionRow
    prediction: str
    parsed: str | None

    @property
    def is_hit(self) -> bool:
        """Whether the reading is the right answer."""
        return self.parsed == self.row.answer


@dataclass(frozen=True, slots=True, kw_only=True)
class Accuracy:
    """Accuracy over rows. Its `chance` is guessing among the options; `majority` is the best answer that ignores the picture."""

    score: Score
    majority: float


@dataclass(frozen=True, slots=True, kw_only=True)
class HallusionScore:
    """HallusionBench: share of questions, of figures and of question pairs with everything right, and the mean of the three."""

    a_acc: float
    f_acc: float
    q_acc: float
    mean: float


def judge(row: QuestionRow, prediction: str, matcher: OptionMatcher) -> Verdict:
    """Read one answer by the rules for its kind."""
    if row.kind == "choice":
        return Verdict(row=row, prediction=prediction, parsed=matcher.match(prediction, row.options))
    parsed = yes_or_no(prediction)
    return Verdict(row=row, prediction=prediction, parsed=None if parsed == UNKNOWN else parsed)


def by_category(verdicts: Sequence[Verdict]) -> dict[str, Accuracy]:
    """Accuracy for each category, sorted by name; rows without one are `all`."""
    groups = _grouped((verdict.row.category or "all", verdict) for verdict in verdicts)
    return {name: _accuracy(groups[name], majority([verdict.row for verdict in groups[name]])) for name in sorted(groups)}


def overall(verdicts: Sequence[Verdict], categories: dict[str, Accuracy]) -> Accuracy:
    """Accuracy over all rows; its majority baseline knows each row's category."""
    weighted = sum(item.majority * item.score.count for item in categories.values())
    return _accuracy(verdicts, weighted / len(verdicts))


def majority(rows: Sequence[QuestionRow]) -> float:
    """Accuracy of the best answer that knows the category but not the picture.

    The larger of two guesses: always the most frequent label (or yes/no), and the option whose text is most often right in the
    category's *other* rows, ties shared. Counting a row itself would reward texts that occur once.
    """
    labels = Counter(row.answer for row in rows)
    best_label = max(labels.values()) / len(rows)
    right_texts = Counter(row.options[row.answer] for row in rows if row.options)
    by_text = [_text_guess(row, right_texts) for row in rows if row.options]
    return max(best_label, sum(by_text) / len(rows))


def circular(verdicts: Sequence[Verdict]) -> Score | None:
    """Share of questions with all rotations right, over the questions whose unrotated row is there; None without rotations.

    Guessing gets every rotation right with the product of their chances.
    """
    keys = [_rotation_group(verdict.row) for verdict in verdicts]
    if None in keys or len(set(keys)) == len(keys):
        return None
    groups = _grouped(zip(keys, verdicts, strict=True))
    scored = [group for group in groups.values() if any(int(verdict.row.index) < ROTATION for verdict in group)]
    if not scored:
        return None
    chances = [float(np.prod([_chance(verdict.row) for verdict in group])) for group in scored]
    return score([float(all(verdict.is_hit for verdict in group)) for group in scored], chance=float(np.mean(chances)), seed=SEED)


def hallusion(verdicts: Sequence[Verdict]) -> HallusionScore | None:
    """HallusionBench's figures where every index has its form `{VD|VS}_sub_visual_set_figure_question`, else None."""
    if not all(_HALLUSION_INDEX.fullmatch(verdict.row.index) for verdict in verdicts):
        return None
    parts = [verdict.row.index.split("_") for verdict in verdicts]
    kinds = [verdict.row.l2_category for verdict in verdicts]
    figures = [(kind, part[3], part[4]) for kind, part in zip(kinds, parts, strict=True)]
    pairs = [(kind, part[3], part[5]) for kind, part in zip(kinds, parts, strict=True)]
    a_acc = float(np.mean([verdict.is_hit for verdict in verdicts]))
    f_acc, q_acc = _share_all_right(figures, verdicts), _share_all_right(pairs, verdicts)
    return HallusionScore(a_acc=a_acc, f_acc=f_acc, q_acc=q_acc, mean=(a_acc + f_acc + q_acc) / 3)


def _accuracy(verdicts: Sequence[Verdict], baseline: float) -> Accuracy:
    hits = [float(verdict.is_hit) for verdict in verdicts]
    chance = float(np.mean([_chance(verdict.row) for verdict in verdicts]))
    return Accuracy(score=score(hits, chance=chance, seed=SEED), majority=baseline)


def _chance(row: QuestionRow) -> float:
    return 1.0 / (len(row.options) or 2)


def _text_guess(row: QuestionRow, right_texts: Counter[str]) -> float:
    counts = {label: right_texts[text] - (label == row.answer) for label, text in row.options.items()}
    best = [label for label, count in counts.items() if count == max(counts.values())]
    return float(row.answer in best) / len(best)


def _rotation_group(row: QuestionRow) -> int | str | None:
    """What the rotations of a question share; None for an index that is no number."""
    if not row.index.isdecimal():
        return None
    return row.group or int(row.index) % ROTATION


def _share_all_right(keys: Sequence[Hashable], verdicts: Sequence[Verdict]) -> float:
    groups = _grouped(zip(keys, verdicts, strict=True))
    return float(np.mean([all(verdict.is_hit for verdict in group) for group in groups.values()]))


def _grouped(pairs: Iterable[tuple[Key, Verdict]]) -> dict[Key, list[Verdict]]:
    groups: dict[Key, list[Verdict]] = defaultdict(list)
    for key, verdict in pairs:
        groups[key].append(verdict)
    return groups
