"""Names of samples: unique over a corpus, safe as file names in a tar, and readable back into a row number.

webdataset cuts a member's name at its first dot, so a key is made of `[0-9a-z_-]` only.
"""

import re
from functools import lru_cache

from pipeline.errors import DataError

ROW_DIGITS = 8
MAX_SLUG = 72
"""Letters of a slug: with row and suffix, it must stand in the 100 bytes that a tar has for a name."""


@lru_cache(maxsize=256)
def slug(dataset: str) -> str:
    """The form of a dataset's name that may stand in keys and file names: `A-OKVQA` -> `a-okvqa`."""
    name = re.sub(r"[^0-9a-z_]+", "-", dataset.lower()).strip("-")
    if not name:
        raise DataError(f"dataset name {dataset!r} has no letter or digit; rename its folder")
    if len(name) > MAX_SLUG:
        raise DataError(f"dataset name {dataset!r} is longer than {MAX_SLUG} letters; rename its folder")
    return name


def make_key(dataset: str, row: int) -> str:
    """Key of a source row. Keys of one dataset sort in row order."""
    return key_of(slug(dataset), row)


def key_of(name: str, row: int) -> str:
    """`make_key` for a name that is a slug already."""
    return f"{name}-{row:0{ROW_DIGITS}d}"


def source_row(key: str) -> int:
    """The source row that a key was made of. Raises DataError for a foreign key."""
    name, dash, digits = key.rpartition("-")
    if not (name and dash and digits.isascii() and digits.isdigit()):
        raise DataError(f"key {key!r} is not of the form <dataset>-<row>; it was not made by the conversion")
    return int(digits)
