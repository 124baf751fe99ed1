"""Predictions that others made, by index: VLMEvalKit's spreadsheets and tables, or JSON."""

import csv
import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from eval.questions import QuestionTable
from pipeline.errors import ConfigError, DataError

FORMATS = (".jsonl", ".json", ".tsv", ".csv", ".xlsx")
_FIELD_BYTES = 256 * 2**20


def read_predictions(path: Path, table: QuestionTable) -> dict[str, str]:
    """The predictions of a file, one for each question of a table.

    Raises DataError for a file that cannot be read, lacks a column, names an index twice or one that the questions do not have,
    or has no prediction for some: what VLMEvalKit writes as `_result` holds the unrotated rows alone.
    """
    if path.suffix.lower() not in FORMATS:
        raise ConfigError(f"--predictions {path}: expected a file of {', '.join(FORMATS)}")
    said: dict[str, str] = {}
    for number, record in enumerate(_records(path), start=1):
        if "index" not in record or "prediction" not in record:
            raise DataError(f"{path}: record {number} has no {'prediction' if 'index' in record else 'index'}")
        index = str(record["index"]).removesuffix(".0")
        if index in said:
            raise DataError(f"{path}: index {index} stands twice; each question has one prediction")
        said[index] = "" if record["prediction"] is None else str(record["prediction"])
    asked = [row.index for row in table.rows]
    if lacking := [index for index in asked if index not in said]:
        raise DataError(f"{path}: {len(lacking)} of {len(asked)} questions have no prediction, such as index {lacking[0]}")
    if unknown := sorted(said.keys() - {*asked, *(row.index for row in table.skipped)}):
        raise DataError(f"{path}: {len(unknown)} predictions are for no question of {table.name}, such as index {unknown[0]}")
    return {index: said[index] for index in asked}


def _records(path: Path) -> Iterable[Mapping[str, Any]]:
    suffix = path.suffix.lower()
    try:
        if suffix == ".xlsx":
            return list(_of_spreadsheet(path))
        if suffix in (".tsv", ".csv"):
            return list(_of_table(path, "\t" if suffix == ".tsv" else ","))
        text = path.read_text(encoding="utf-8-sig")
        found = json.loads(text) if suffix == ".json" else [json.loads(line) for line in text.splitlines() if line.strip()]
    except (OSError, ValueError, csv.Error) as error:
        raise DataError(f"{path}: not a readable file of predictions ({str(error).replace(chr(9), 'tab')})") from error
    if not isinstance(found, list) or not all(isinstance(item, dict) for item in found):
        raise DataError(f"{path}: not a list of records with index and prediction")
    return found


def _of_table(path: Path, delimiter: str) -> Iterator[Mapping[str, str]]:
    csv.field_size_limit(_FIELD_BYTES)
    with path.open(encoding="utf-8-sig", newline="") as file:
        yield from csv.DictReader(file, delimiter=delimiter, strict=True, restval="")


def _of_spreadsheet(path: Path) -> Iterator[Mapping[str, Any]]:
    """The rows of the first sheet by the names in its first row."""
    rows = iter(workbook_rows(path))
    names = [str(name) for name in next(rows, ())]
    for row in rows:
        if any(value is not None for value in row):
            yield dict(zip(names, row, strict=False))


def workbook_rows(path: Path) -> Iterator[tuple[Any, ...]]:
    """The values of the first sheet. Raises ConfigError without openpyxl, ValueError for a file that is no workbook."""
    try:
        from openpyxl import load_workbook
    except ImportError as error:
        raise ConfigError(f"{path}: spreadsheets need openpyxl; pip install 'crem-pipeline[xlsx]', or use .tsv") from error
    try:
        book = load_workbook(path, read_only=True, data_only=True)
    except Exception as error:  # zip, XML and its own errors; all mean the same here
        raise ValueError(f"{type(error).__name__}: {error}") from error
    yield from book.worksheets[0].iter_rows(values_only=True)
    book.close()
