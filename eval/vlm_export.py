"""Answers in VLMEvalKit's own layout: the question file's columns without pictures, the prediction, and how it was read."""

import csv
import io
import logging
from collections.abc import Sequence
from pathlib import Path

from eval.questions import QuestionTable
from eval.verdicts import Verdict
from pipeline.errors import ConfigError
from pipeline.manifest import write_atomic

logger = logging.getLogger(__name__)

FORMATS = ("tsv", "csv", "xlsx")
_CELL_CHARACTERS = 32_767
"""What a cell of a spreadsheet holds."""


def export(table: QuestionTable, verdicts: Sequence[Verdict], folder: Path, *, label: str, form: str) -> list[Path]:
    """Write `<label>_<name>.<form>` with `prediction`, as VLMEvalKit reads it back, and `..._result.<form>` with how it was read.

    `extracted` is the option, Yes or No (Z: nothing was found), `hit` the credit, empty where there is none. Raises ConfigError
    without openpyxl, which spreadsheets need.
    """
    said = {each.row.index: each for each in verdicts}
    rows = [(fields, said[fields["index"]]) for fields in table.fields if fields["index"] in said]
    names = list(table.fields[0])
    plain = [[*(fields[name] for name in names), each.prediction] for fields, each in rows]
    read = [[*line, each.parsed or "Z", _hit(each)] for line, (_, each) in zip(plain, rows, strict=True)]
    made = []
    for ending, columns, lines in (
        ("", [*names, "prediction"], plain),
        ("_result", [*names, "prediction", "extracted", "hit"], read),
    ):
        path = folder / f"{label}_{table.name}{ending}.{form}"
        write_atomic(path, _book(path, [columns, *lines]) if form == "xlsx" else _text([columns, *lines], form))
        made.append(path)
    return made


def _hit(each: Verdict) -> str:
    if each.credit is None:
        return ""
    return str(int(each.credit)) if each.credit in (0, 1) else repr(each.credit)


def _text(lines: Sequence[Sequence[str]], form: str) -> bytes:
    file = io.StringIO(newline="")
    csv.writer(file, delimiter="\t" if form == "tsv" else ",", lineterminator="\n").writerows(lines)
    return file.getvalue().encode("utf-8", "surrogatepass")


def _book(path: Path, lines: Sequence[Sequence[str]]) -> bytes:
    """A workbook of texts: nothing is taken for a formula, and what no cell can hold is said."""
    try:
        from openpyxl import Workbook
        from openpyxl.cell import WriteOnlyCell
        from openpyxl.cell.cell import ILLEGAL_CHARACTERS_RE
    except ImportError as error:
        raise ConfigError("--export xlsx: needs openpyxl; pip install 'crem-pipeline[xlsx]', or export tsv") from error
    book = Workbook(write_only=True)
    sheet = book.create_sheet("Sheet1")
    num_changed = 0
    for line in lines:
        cells = []
        for text in line:
            kept = ILLEGAL_CHARACTERS_RE.sub("", text)[:_CELL_CHARACTERS]
            num_changed += kept != text
            cell = WriteOnlyCell(sheet, value=kept)
            cell.data_type = "s"
            cells.append(cell)
        sheet.append(cells)
    if num_changed:
        logger.warning(
            "%s: %d texts are longer than a cell, or hold control characters, and were cut; tsv keeps them", path, num_changed
        )
    file = io.BytesIO()
    book.save(file)
    return file.getvalue()
