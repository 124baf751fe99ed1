"""Circular evaluation: a question is asked once for each rotation of its options, and is right when all rotations are."""

from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np

from eval.benchmarks.benchmark import Headline
from eval.question_scores import chance, grouped, mean_score
from eval.questions import QuestionTable
from eval.tsv import TsvTable
from eval.verdicts import Verdict
from pipeline.errors import DataError

ROTATION = 1_000_000
"""Rotation k of question q has the index k * 1,000,000 + q."""


def rotation_groups(table: TsvTable) -> Mapping[str, str]:
    """What the rotations of a question share, by index: the column `g_index`, or the index of the unrotated row.

    Nothing in a file without rotations. Raises DataError where some indices are rotations and another is no number: its row would
    be out of every group, and the score gone or wrong.
    """
    if "g_index" in table.columns and any(row["g_index"] for row in table.rows):
        if lacking := [row["index"] for row in table.rows if not row["g_index"]]:
            raise DataError(f"{table.path}: index {lacking[0]} has no g_index, and others have; give it one, or none to all")
        return {row["index"]: row["g_index"].removesuffix(".0") for row in table.rows}
    indices = [row["index"] for row in table.rows]
    numbers = {index: int(index) for index in indices if index.isdecimal() and index.isascii()}
    is_rotated = any(number >= ROTATION and str(number % ROTATION) in numbers for number in numbers.values())
    if not is_rotated:
        return {}
    if odd := [index for index in indices if index not in numbers]:
        raise DataError(
            f"{table.path}: index {odd[0][:40]!r} is no number, and others are rotations (k * 1000000 + question); mend it"
        )
    return {index: str(number % ROTATION) for index, number in numbers.items()}


def is_rotated(table: QuestionTable) -> bool:
    """Whether a file holds rotations of a question."""
    return any(count > 1 for count in Counter(row.group for row in table.rows if row.group).values())


def circular(verdicts: Sequence[Verdict], table: QuestionTable) -> list[Verdict]:
    """One verdict a question, that of its unrotated row, whose credit is 1 when all rotations are right.

    A question that lost a rotation (its picture is damaged) is left out, as is one whose unrotated row is not in the file.
    """
    lost = {row.group for row in table.skipped}
    groups = grouped((each.row.group, each) for each in verdicts)
    return [whole for name, members in groups.items() if name not in lost and (whole := _whole(members)) is not None]


def circular_headline(questions: Sequence[Verdict], verdicts: Sequence[Verdict], table: QuestionTable) -> Headline:
    """Share of questions with all rotations right. Guessing gets every rotation right with the product of their chances."""
    groups = grouped((each.row.group, each) for each in verdicts)
    of = len({row.group for row in table.rows} | {row.group for row in table.skipped})
    name, unit = "all rotations right", "questions"
    if not questions:
        return Headline(name=name, score=None, of=of, unit=unit, why="no question has all of its rotations")
    guessed = [float(np.prod([chance(each.row) for each in groups[own.row.group]])) for own in questions]
    return Headline(name=name, score=mean_score([each.value for each in questions], guessed=guessed), of=of, unit=unit)


def rotation_notes(table: QuestionTable) -> tuple[str, ...]:
    """What is out of the count, and why."""
    lost = {row.group for row in table.skipped}
    bare = {row.group for row in table.rows} - lost - {row.group for row in table.rows if _is_base(row.index, row.group)}
    said = []
    if lost:
        said.append(f"{len(lost)} questions lost a rotation or more, and are out of the circular count")
    if bare:
        said.append(f"{len(bare)} questions lack their unrotated row, and are out of the circular count")
    return tuple(said)


def _whole(members: Sequence[Verdict]) -> Verdict | None:
    base = next((each for each in members if _is_base(each.row.index, each.row.group)), None)
    if base is None:
        return None
    credit = None if any(each.credit is None for each in members) else float(all(each.is_hit for each in members))
    return Verdict(row=base.row, prediction=base.prediction, parsed=base.parsed, credit=credit)


def _is_base(index: str, group: str) -> bool:
    """Whether a row is the unrotated one: its own group, or below the first rotation."""
    return index == group or (index.isdecimal() and int(index) < ROTATION)
