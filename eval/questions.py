"""Questions of a file in VLMEvalKit's form, ready to be asked: options, right answer, pictures; and the rows left out."""

import string
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from pipeline.data.reject import RowError
from pipeline.data.texts import checked_text
from pipeline.errors import DataError

Kind = Literal["choice", "yes_no", "open"]

READ = ("index", "question", "answer", "image", "image_path", "hint", "category", "l2-category", "g_index", "split")
"""Columns that are read, beside the options A to Z."""

PASSED_OVER = (
    *("id", "qid", "question_id", "image_id", "img_id", "data_id", "set_id", "figure_id", "visual_input", "url", "license"),
    *("source", "bench", "dataset", "comment", "l2_category", "subject", "subfield", "topic", "topic_difficulty", "skill"),
    *("grade", "task", "ability", "domain", "level", "difficulty", "image_type", "question_type"),
    *("explanation", "solution", "rationale", "lecture", "gt_answer_details"),
)
"""Numbers, origins, kinds and explanations of rows in VLMEvalKit's files: no question asked and no answer scored holds them.

Any other column that is not empty is refused: a context, a second picture or a video that nobody reads would change the score.
"""

MAX_WORDS_CHARACTERS = 24_000
"""A question with its hint and options is refused beyond: no benchmark has one of half that, and it would take minutes."""

YES_NO = {"yes": "Yes", "no": "No"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """One question. `options` maps labels to texts, `answer` is a label, `Yes` or `No`, or free words where `is_open`.

    `group` is what the rotations of a question share (empty: none are known); texts are empty where the file has none, `answer`
    too where a split has no public answers.
    """

    index: str
    question: str
    answer: str
    options: Mapping[str, str]
    images: tuple[bytes, ...]
    hint: str = ""
    category: str = ""
    l2_category: str = ""
    group: str = ""
    split: str = ""
    is_open: bool = False

    @property
    def kind(self) -> Kind:
        """Whether an option, yes or no, or free words are asked for."""
        if self.options:
            return "choice"
        return "open" if self.is_open else "yes_no"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRow:
    """A row that cannot be asked, and why. `group` as in QuestionRow; `is_bare` says that it merely has no picture."""

    index: str
    reason: str
    group: str = ""
    is_bare: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionTable:
    """The questions of a file in order, and the rows left out. `changed` says in words how a known file differs, if it does."""

    name: str
    benchmark: str
    rows: tuple[QuestionRow, ...]
    skipped: tuple[SkippedRow, ...]
    md5: str = ""
    changed: str = ""
    fields: tuple[Mapping[str, str], ...] = field(default=(), compare=False, repr=False)

    @property
    def num_rows(self) -> int:
        """Rows of the file, asked or not."""
        return len(self.rows) + len(self.skipped)

    @property
    def unusable(self) -> tuple[SkippedRow, ...]:
        """Rows left out for what is wrong with them, not for having no picture."""
        return tuple(row for row in self.skipped if not row.is_bare)

    @property
    def summary(self) -> str:
        """How many questions of which kinds there are, and how many rows are left out, with the first of those."""
        first = next(iter(self.unusable or self.skipped), None)
        left_out = f", {len(self.skipped)} rows left out, such as index {first.index}: {first.reason}" if first else ""
        num_open = sum(row.kind == "open" for row in self.rows)
        is_open = f", {num_open} of them with free answers" if num_open else ""
        return f"{len(self.rows)} questions{is_open}{left_out}"


def check_columns(path: Path, columns: Sequence[str], rows: Sequence[Mapping[str, str]], *, has_answers: bool = True) -> None:
    """Raise DataError for a file whose columns do not make questions, or could change what is measured without being read."""
    needed = ("index", "question", "answer") if has_answers else ("index", "question")
    missing = [name for name in needed if name not in columns]
    if not {"image", "image_path"} & set(columns):
        missing.append("image")
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; it needs index, question, answer, image, and A, B, ... for options")
    known = {*READ, *PASSED_OVER, *string.ascii_uppercase}
    if unknown := [name for name in columns if name not in known and any(row[name] for row in rows)]:
        raise DataError(f"{path}: column {unknown[0]} is not read, and could change what is measured; remove it if it is a note")
    has_options = any(name in string.ascii_uppercase for name in columns if len(name) == 1)
    if has_answers and not has_options and all(is_label(row["answer"]) for row in rows):
        raise DataError(f"{path}: answers are letters but there are no option columns; use the edition with columns A, B, ...")


def question_row(
    row: Mapping[str, str],
    images: tuple[bytes, ...],
    *,
    is_open: bool,
    group: str,
    is_checked: bool = True,
) -> QuestionRow:
    """The question of a row. Raises RowError for texts that cannot be asked and, `is_checked`, an answer that names no option."""
    options = {name: row[name] for name in string.ascii_uppercase if row.get(name)}
    answer = row.get("answer", "").strip()
    if is_checked:
        _check_answer(answer, options)
    words = [row["question"], row.get("hint", ""), *options.values()]
    for text in words:
        checked_text(text, "one of its texts")
    if sum(map(len, words)) > MAX_WORDS_CHARACTERS:
        raise RowError(f"its question and options have {sum(map(len, words))} characters, more than {MAX_WORDS_CHARACTERS}")
    return QuestionRow(
        index=row["index"],
        question=row["question"],
        answer=answer if options or is_open else YES_NO.get(answer.lower(), answer),
        options=options,
        images=images,
        hint=row.get("hint", ""),
        category=row.get("category", ""),
        l2_category=row.get("l2-category", ""),
        group=group,
        split=row.get("split", ""),
        is_open=is_open,
    )


def is_label(text: str) -> bool:
    """Whether a text is one capital letter."""
    return len(text) == 1 and text in string.ascii_uppercase


def _check_answer(answer: str, options: Mapping[str, str]) -> None:
    if options and answer not in options:
        raise RowError(f"its answer {answer!r} is not the label of one of its options {', '.join(options)}")
    if not answer:
        raise RowError("it has no answer")


def shown_fields(row: Mapping[str, str]) -> dict[str, str]:
    """A row's columns but for its pictures and what the reader noted of it."""
    return {name: text for name, text in row.items() if name != "image" and not name.startswith("\0")}
