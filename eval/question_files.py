"""Question files of a data folder: found by name, read, and checked as the benchmark that each one is."""

import os
import string
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from eval.benchmarks.benchmark import Benchmark
from eval.benchmarks.known_files import change_of
from eval.benchmarks.registry import benchmark_of
from eval.benchmarks.rotations import rotation_groups
from eval.pandas_texts import as_pandas_reads
from eval.question_pictures import Alpha, NoPictureError, QuestionPictures
from eval.questions import QuestionRow, QuestionTable, SkippedRow, check_columns, is_label, question_row, shown_fields
from eval.tsv import LACKING, SURPLUS, TsvTable, read_table
from pipeline.data.reject import RowError
from pipeline.errors import DataError

FOLDER = "mcq"
"""Where the question files of a data folder lie."""

SHARED_FOLDER = "LMUData"
"""The variable that names VLMEvalKit's own folder of question files, and the folder's usual name below the home."""

PANDAS_COLUMNS = frozenset({"question", "hint", "answer", "category", "l2-category", "split", *string.ascii_uppercase})
"""Columns whose texts are asked or scored."""

_KINDS = {"choice": "an option", "yes_no": "yes or no", "open": "free words"}


def read_questions(path: Path, *, parity: bool = False, allow_changed: bool = False, alpha: Alpha = "white") -> QuestionTable:
    """Read a question file; for `parity` its texts are those that pandas makes of them.

    Raises DataError for a file that is unusable as a whole: missing columns, or some that nobody reads, an index that stands
    twice, options written inside the question (then no option could ever be matched), no usable row, what its benchmark refuses,
    and, unless `allow_changed`, a known benchmark's file that is not the published one.
    """
    file = read_table(path)
    benchmark = benchmark_of(file)
    has_answers = benchmark.has_answers(file)
    check_columns(path, file.columns, file.rows, has_answers=has_answers)
    changed = change_of(file)
    if changed and not allow_changed:
        raise DataError(f"{path}: {changed}; download it again, or score it all the same with --allow-changed")
    benchmark.check(file)
    if parity:
        columns = [name for name in file.columns if name in PANDAS_COLUMNS]
        file = replace(file, rows=tuple(as_pandas_reads(file.rows, columns)))
    rows, skipped = _rows(file, benchmark, alpha, is_checked=has_answers and not parity)
    if not rows:
        first = next((row for row in skipped if not row.is_bare), skipped[0])
        raise DataError(f"{path}: none of its {len(skipped)} rows can be asked ({first.index}: {first.reason})")
    return QuestionTable(
        name=file.name,
        benchmark=benchmark.name,
        rows=tuple(rows),
        skipped=tuple(skipped),
        md5=file.md5,
        changed=changed,
        fields=tuple(map(shown_fields, file.rows)),
    )


def _rows(file: TsvTable, benchmark: Benchmark, alpha: Alpha, *, is_checked: bool) -> tuple[list[QuestionRow], list[SkippedRow]]:
    pictures = QuestionPictures(file.path, {row["index"]: row for row in file.rows}, alpha)
    groups = rotation_groups(file)
    rows: list[QuestionRow] = []
    skipped: list[SkippedRow] = []
    for row in file.rows:
        group = groups.get(row["index"], "")
        try:
            _refuse_malformed(row)
            asked = question_row(row, pictures.of(row), is_open=benchmark.is_open(row), group=group, is_checked=is_checked)
            _refuse_kind(asked, benchmark)
            rows.append(asked)
        except RowError as error:
            is_bare = isinstance(error, NoPictureError)
            skipped.append(SkippedRow(index=row["index"], reason=str(error), group=group, is_bare=is_bare))
    return rows, skipped


def _refuse_malformed(row: Mapping[str, str]) -> None:
    if row[SURPLUS]:
        raise RowError("it has more fields than there are columns: a tab inside of a field needs quotes around it")
    if row[LACKING]:
        raise RowError(f"it has no field {row[LACKING]}: a line break inside of a field needs quotes around it")


def _refuse_kind(row: QuestionRow, benchmark: Benchmark) -> None:
    """Options that are missing make another question of a row."""
    if row.kind not in benchmark.kinds:
        raise RowError(f"it asks for {_KINDS[row.kind]}, which {benchmark.name} never does")
    if row.kind == "open" and is_label(row.answer) and not benchmark.name:
        raise RowError(f"its answer is {row.answer}, and it has no options")


def found_files(data: Path) -> list[Path]:
    """The question files of a data folder, whatever the case of their ending; none where it has none.

    Hidden ones are passed over: macOS puts a ._name.tsv beside what it copies. Raises DataError for two of one name.
    """
    folder = data / FOLDER
    found = sorted(path for path in folder.glob("*") if path.suffix.lower() == ".tsv" and not path.name.startswith("."))
    for path, following in pairwise(found):
        if path.stem == following.stem:
            raise DataError(f"{folder}: {path.name} and {following.name} have one name, and so would their results; rename one")
    return found


def question_files(data: Path | None, names: Sequence[str] = ()) -> list[Path]:
    """The question files of a data folder, or those named, which may lie in the folder $LMUData too, as VLMEvalKit has them.

    Raises DataError when there is none.
    """
    found = {path.stem: path for path in found_files(data)} if data else {}
    shared = Path(os.environ.get(SHARED_FOLDER, Path.home() / SHARED_FOLDER))
    found |= {name: shared / f"{name}.tsv" for name in names if name not in found and (shared / f"{name}.tsv").is_file()}
    unknown = [name for name in names if name not in found]
    if unknown or not found:
        places = " and ".join(str(place) for place in ((data / FOLDER) if data else None, shared if names else None) if place)
        raise DataError(f"{places}: no {unknown[0] if unknown else '*'}.tsv in it; put VLMEvalKit question files there")
    return [found[name] for name in (dict.fromkeys(names) or sorted(found))]
