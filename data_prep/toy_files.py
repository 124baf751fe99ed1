"""Writes the toy world's files so that equal contents give equal bytes, and keeps the facts about its pictures."""

import hashlib
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.scene_pictures import encode
from data_prep.scenes import Scene

_STAMP = (2000, 1, 1, 0, 0, 0)


class PictureBook:
    """Encodes scenes, `times` as large as drawn, and remembers, for every picture it made, which scene its bytes show."""

    def __init__(self, times: int = 1) -> None:
        self._times = times
        self._facts: dict[str, Scene] = {}

    def __len__(self) -> int:
        return len(self._facts)

    def encode(self, scene: Scene) -> bytes:
        """The JPEG file of the scene."""
        picture = encode(scene, times=self._times)
        known = self._facts.setdefault(hashlib.sha256(picture).hexdigest(), scene)
        assert known.content == scene.content, "two contents with the same pixels"
        return picture

    def write(self, path: Path) -> None:
        """One JSON line a picture, sorted: `sha256` of the file's bytes and `scene`, as `scene_from_json` reads it."""
        facts = ({"sha256": digest, "scene": self._facts[digest].to_json()} for digest in sorted(self._facts))
        path.write_text("".join(f"{json.dumps(fact)}\n" for fact in facts), encoding="utf-8")


def write_zip(path: Path, members: Mapping[str, bytes]) -> None:
    """A zip of the members in the order of their names, without times of day; stored, as JPEG files do not shrink."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name in sorted(members):
            archive.writestr(zipfile.ZipInfo(name, date_time=_STAMP), members[name])


def write_parquet(path: Path, rows: Sequence[Mapping[str, Any]], schema: pa.Schema) -> None:
    """A parquet file of one row group."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(list(rows), schema=schema), path, compression="snappy", row_group_size=len(rows))
