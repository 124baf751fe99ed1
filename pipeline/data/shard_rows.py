"""Rows of the index while a shard is written: numbers in lists until the table is made."""

from collections.abc import Iterable

import pyarrow as pa

from pipeline.data.shard_format import IMAGE_FIELDS, INDEX_SCHEMA

_IMAGES = "images"


class IndexRows:
    """Rows in the order of `INDEX_SCHEMA`. Plain tuples: a dict for each row and picture is slow to make and to turn over."""

    def __init__(self) -> None:
        self._rows: list[tuple[object, ...]] = []
        self._images: list[tuple[object, ...]] = []
        self._ends = [0]

    def __len__(self) -> int:
        return len(self._rows)

    def add(self, row: tuple[object, ...], images: Iterable[tuple[object, ...]]) -> None:
        """Append a row: its fields before `images`, and the fields of each picture, as the schema orders them."""
        self._rows.append(row)
        self._images += images
        self._ends.append(len(self._images))

    def table(self) -> pa.Table:
        """The rows so far, in `INDEX_SCHEMA`."""
        fields = list(IMAGE_FIELDS)
        images = pa.StructArray.from_arrays(_columns(self._images, fields), fields=fields)
        plain = _columns(self._rows, [field for field in INDEX_SCHEMA if field.name != _IMAGES])
        return pa.Table.from_arrays([*plain, pa.ListArray.from_arrays(self._ends, images)], schema=INDEX_SCHEMA)


def _columns(rows: list[tuple[object, ...]], fields: list[pa.Field]) -> list[pa.Array]:
    return [pa.array([row[place] for row in rows], field.type) for place, field in enumerate(fields)]
