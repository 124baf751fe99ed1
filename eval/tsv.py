"""Tab-separated files read strictly: what a careless reader would lose without a word is an error here.

Every field is a text and only the empty field is missing. Readers that guess types turn options such as "None" or "NA" into
missing values and 1.0 into 1; here they stay as they are written. Quotes must be closed: one that is not would swallow rows.
"""

import csv
import hashlib
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from pipeline.errors import DataError

_FIELD_BYTES = 256 * 2**20
SURPLUS, LACKING = "\0surplus", "\0lacking"
"""Keys under which a row has the fields beyond the last column, and a mark where it has too few; no column has such a name."""

_CUT = "\0cut"
_REAL_INDEX = re.compile(r"(\d+)\.0")


@dataclass(frozen=True, slots=True, kw_only=True)
class TsvTable:
    """All rows of a file as texts by column, in order. `md5` is that of the file."""

    path: Path
    columns: tuple[str, ...]
    rows: tuple[Mapping[str, str], ...]
    md5: str

    @property
    def name(self) -> str:
        """The file's name without its ending."""
        return self.path.stem


def read_table(path: Path) -> TsvTable:
    """Read a file with an `index` column. An index that a table program wrote as a real number (`7.0`) becomes whole again.

    Raises DataError for a file that cannot be read, a quote that is not closed or that swallows rows, a column or an index that
    stands twice, a last row that ends early, and a file without rows.
    """
    csv.field_size_limit(_FIELD_BYTES)
    try:
        md5 = hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest()
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, delimiter="\t", restkey=SURPLUS, restval=_CUT, strict=True)
            columns = tuple(reader.fieldnames or [])
            rows = [_marked(row, columns) for row in reader]
    except (OSError, UnicodeDecodeError) as error:
        raise DataError(f"{path}: not a readable TSV file ({error}); check the path or download it again") from error
    except csv.Error as error:
        complaint = f"not a readable TSV file (behind line {reader.line_num}: {str(error).replace(chr(9), 'tab')})"
        raise DataError(f"{path}: {complaint}; close its quotes, or download it again") from error
    _check(path, columns, rows)
    return TsvTable(path=path, columns=columns, rows=tuple(map(_whole_index, rows)), md5=md5)


def _marked(row: dict[str, str], columns: tuple[str, ...]) -> dict[str, str]:
    """The row as texts, with what it has too much and whether it has too little under keys of their own."""
    lacks = [name for name in columns if row[name] == _CUT]
    texts = {name: "" if name in lacks else row[name] for name in columns}
    return texts | {SURPLUS: "".join(row.get(SURPLUS, ())), LACKING: lacks[0] if lacks else ""}


def _check(path: Path, columns: tuple[str, ...], rows: list[dict[str, str]]) -> None:
    if twice := [name for name, count in Counter(columns).items() if count > 1]:
        raise DataError(f"{path}: column {twice[0]} stands in it twice; remove one")
    if "index" not in columns:
        raise DataError(f"{path}: no column index; it needs index, question, answer, image, and A, B, ... for options")
    if not rows:
        raise DataError(f"{path}: has no rows; download it again")
    if rows[-1][LACKING]:
        raise DataError(f"{path}: its last row has no field {rows[-1][LACKING]}, so it came in part; download it again")
    for row in rows:
        _refuse_swallowed(path, columns, row)
    counts = Counter(_whole_index(row)["index"] for row in rows)
    if doubled := [index for index, count in counts.items() if count > 1]:
        raise DataError(f"{path}: index {doubled[0]} stands twice; each row needs its own")


def _refuse_swallowed(path: Path, columns: tuple[str, ...], row: Mapping[str, str]) -> None:
    """Between a quote that opens by mistake and the next that happens to close, whole rows would become one field."""
    for name in columns:
        if "\n" in row[name] and any(line.count("\t") >= max(1, len(columns) - 1) for line in row[name].splitlines()):
            raise DataError(
                f"{path}: field {name} of index {row['index'][:40]} holds other rows; a quote in it is not closed: mend it, "
                "or download the file again"
            )


def _whole_index(row: dict[str, str]) -> dict[str, str]:
    found = _REAL_INDEX.fullmatch(row["index"])
    return row | {"index": found[1]} if found else row
