"""Reader of VLMEvalKit's TSV files: multiple-choice and yes/no questions about pictures.

Every field is a text and only the empty field is missing. Readers that guess types turn options such as "None" or "NA" into
missing values and 1.0 into 1; here they stay as they are written. Quotes must be closed: one that is not would swallow rows.
"""

import ast
import base64
import binascii
import csv
import string
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import FolderPictures
from pipeline.data.reject import RowError
from pipeline.data.texts import checked_text
from pipeline.errors import DataError, NothingToMeasureError

Kind = Literal["choice", "yes_no"]

POINTER_CHARACTERS = 64
"""An image field no longer than this is the index of another row whose picture it shares."""

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

_FIELD_BYTES = 256 * 2**20
_SURPLUS = "\0surplus"
"""Key under which fields beyond the last column stand; no column has such a name."""
_OTHER_SPLIT = "it is of split"
_SHOWN = 80
_YES_NO = {"yes": "Yes", "no": "No"}


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionRow:
    """One question. `options` maps labels to texts (none for yes/no), `answer` is a label, or `Yes` or `No`.

    `group` is the column `g_index` of rotated questions; texts are empty where the file has none.
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

    @property
    def kind(self) -> Kind:
        """Whether an option or yes/no is asked for."""
        return "choice" if self.options else "yes_no"


@dataclass(frozen=True, slots=True, kw_only=True)
class SkippedRow:
    """A row that cannot be asked, and why."""

    index: str
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class QuestionTable:
    """The questions of a file in order, and the rows left out."""

    name: str
    rows: tuple[QuestionRow, ...]
    skipped: tuple[SkippedRow, ...]

    @property
    def unusable(self) -> tuple[SkippedRow, ...]:
        """Rows left out for what is wrong with them, not for their split."""
        return tuple(row for row in self.skipped if not row.reason.startswith(_OTHER_SPLIT))

    @property
    def summary(self) -> str:
        """How many questions there are and how many rows are left out, with the first of those."""
        first = next(iter(self.unusable or self.skipped), None)
        left_out = f", {len(self.skipped)} rows left out, such as index {first.index}: {first.reason}" if first else ""
        return f"{len(self.rows)} questions{left_out}"


class _OpenAnswerError(RowError):
    """A question whose answer is neither a label nor yes or no: what needs a judge cannot be asked yet."""


def read_tsv(path: Path) -> QuestionTable:
    """Read a question file. Pictures in files lie in `images/<name>/` beside it.

    Raises DataError for a file that is unusable as a whole: missing columns, or some that nobody reads, an index that stands
    twice, options written inside the question (then no option could ever be matched), no usable row. Raises NothingToMeasureError
    for a sound file whose questions all have open answers (MM-Vet).
    """
    fields = _read_fields(path)
    pictures = _PictureColumn(path, {row["index"]: row for row in fields})
    rows: list[QuestionRow] = []
    skipped: list[SkippedRow] = []
    scored, num_open = _scored_split(fields), 0
    for row in fields:
        try:
            _refuse_malformed(row, scored)
            rows.append(_question(row, pictures))
        except RowError as error:
            num_open += isinstance(error, _OpenAnswerError)
            skipped.append(SkippedRow(index=row["index"], reason=str(error)))
    table = QuestionTable(name=path.stem, rows=tuple(rows), skipped=tuple(skipped))
    if rows:
        return table
    first = next(iter(table.unusable or skipped))
    if num_open == len(table.unusable) > 0:
        raise NothingToMeasureError(f"{path}: its {num_open} questions have free answers, which are not asked yet")
    raise DataError(f"{path}: none of its {len(skipped)} rows can be asked ({first.index}: {first.reason})")


def _read_fields(path: Path) -> list[dict[str, str]]:
    """All rows as texts by column, checked as a whole."""
    csv.field_size_limit(_FIELD_BYTES)
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restkey=_SURPLUS, restval="", strict=True)
            columns = list(reader.fieldnames or [])
            rows = [row | {_SURPLUS: "".join(row.get(_SURPLUS, ()))} for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable TSV file ({error}); check the path or download it again") from error
    except csv.Error as error:
        complaint = f"not a readable TSV file (behind line {reader.line_num}: {str(error).replace(chr(9), 'tab')})"
        raise DataError(f"{path}: {complaint}; close its quotes, or download it again") from error
    _check_columns(path, columns, rows)
    return rows


def _check_columns(path: Path, columns: list[str], rows: list[dict[str, str]]) -> None:
    missing = [name for name in ("index", "question", "answer") if name not in columns]
    if not {"image", "image_path"} & set(columns):
        missing.append("image")
    if missing:
        raise DataError(f"{path}: no column {missing[0]}; it needs index, question, answer, image, and A, B, ... for options")
    if not rows:
        raise DataError(f"{path}: has no rows; download it again")
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{path}: column {twice[0]} stands in it twice; remove one")
    known = {*READ, *PASSED_OVER, *string.ascii_uppercase}
    if unknown := [name for name in columns if name not in known and any(row[name] for row in rows)]:
        raise DataError(f"{path}: column {unknown[0]} is not read, and could change what is measured; remove it if it is a note")
    seen: set[str] = set()
    for row in rows:
        if row["index"] in seen:
            raise DataError(f"{path}: index {row['index']} stands twice; each row needs its own")
        seen.add(row["index"])
    has_options = any(name in string.ascii_uppercase for name in columns if len(name) == 1)
    if not has_options and all(_is_label(row["answer"]) for row in rows):
        raise DataError(f"{path}: answers are letters but there are no option columns; use the edition with columns A, B, ...")


def _scored_split(rows: list[dict[str, str]]) -> str | None:
    """The split whose rows count: `validation` where a file holds other splits beside it (MMMU_DEV_VAL), else all."""
    splits = {row.get("split", "") for row in rows}
    return "validation" if "validation" in splits and len(splits) > 1 else None


def _refuse_malformed(row: Mapping[str, str], scored: str | None) -> None:
    if row[_SURPLUS]:
        raise RowError("it has more fields than there are columns: a tab inside of a field needs quotes around it")
    if scored is not None and row["split"] != scored:
        raise RowError(f"{_OTHER_SPLIT} {row['split'] or '(none)'}, and the benchmark is scored on {scored}")


def _is_label(text: str) -> bool:
    return len(text) == 1 and text in string.ascii_uppercase


def _question(row: Mapping[str, str], pictures: "_PictureColumn") -> QuestionRow:
    options = {name: row[name] for name in string.ascii_uppercase if row.get(name)}
    answer = _answer(row["answer"].strip(), options)
    for text in (row["question"], row.get("hint", ""), *options.values()):
        checked_text(text, "one of its texts")
    return QuestionRow(
        index=row["index"],
        question=row["question"],
        answer=answer,
        options=options,
        images=pictures.of(row),
        hint=row.get("hint", ""),
        category=row.get("category", ""),
        l2_category=row.get("l2-category", ""),
        group=row.get("g_index", ""),
    )


def _answer(answer: str, options: Mapping[str, str]) -> str:
    if options:
        if answer not in options:
            raise RowError(f"its answer {answer!r} is not the label of one of its options {', '.join(options)}")
        return answer
    if answer.lower() not in _YES_NO:
        raise _OpenAnswerError(f"it has no options and its answer {answer[:_SHOWN]!r} is neither yes nor no")
    return _YES_NO[answer.lower()]


class _PictureColumn:
    """Pictures of rows: base64, a list of them, another row's index, or file names."""

    def __init__(self, path: Path, rows: Mapping[str, Mapping[str, str]]) -> None:
        self._rows = rows
        self._files = FolderPictures(path.parent / "images" / path.stem)
        self._prepare = for_benchmarks()

    def of(self, row: Mapping[str, str]) -> tuple[bytes, ...]:
        """The encoded pictures of a row. Raises RowError when it has none, or one is damaged."""
        field = row.get("image", "")
        if field and len(field) <= POINTER_CHARACTERS and not field.startswith("["):
            field = self._pointed(field)
        if field:
            pictures = tuple(_decode(item) for item in _items(field))
        else:
            pictures = tuple(self._files.read(name) for name in _items(row.get("image_path", "")))
        if not pictures:
            raise RowError("it has no picture")
        return tuple(map(self._prepared, pictures))

    def _prepared(self, picture: bytes) -> bytes:
        try:
            return self._prepare(picture)
        except RowError as error:
            raise RowError(f"its picture: {error}") from error

    def _pointed(self, index: str) -> str:
        """The field that a pointer names: one hop, never a chain."""
        field = self._rows.get(index, {}).get("image", "")
        if len(field) <= POINTER_CHARACTERS:
            raise RowError(f"its image names row {index}, which is missing or has no picture of its own")
        return field


def _items(field: str) -> list[str]:
    """The entries of a list literal, or the field itself; nothing for an empty field."""
    if not field.startswith("["):
        return [field] if field else []
    try:
        items = ast.literal_eval(field)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RowError(f"its list of pictures is not a list literal ({type(error).__name__})") from error
    if not all(isinstance(item, str) for item in items):
        raise RowError("its list of pictures holds something other than texts")
    return list(items)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(f"its picture is not base64 ({error})") from error
