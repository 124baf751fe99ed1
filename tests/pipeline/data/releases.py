"""Small hand-made folders in the release layouts, written with pyarrow, zipfile and json alone."""

import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

Pictures = Mapping[str, bytes]
TRAIN_COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path")


def picture(seed: int = 0, *, size: tuple[int, int] = (40, 30), form: str = "JPEG", mode: str = "RGB", **options: Any) -> bytes:
    """A random picture file."""
    width, height = size
    noise = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
    sink = io.BytesIO()
    Image.fromarray(noise).convert(mode).save(sink, form, **options)
    return sink.getvalue()


def write_zip(path: Path, pictures: Pictures) -> None:
    """A zip of the given members."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, content in pictures.items():
            archive.writestr(name, content)


def write_table(path: Path, rows: Sequence[Mapping[str, Any]], **options: Any) -> None:
    """A parquet file of the given rows."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist([dict(row) for row in rows]), path, **options)


def train_row(*values: str, columns: Sequence[str] = TRAIN_COLUMNS) -> dict[str, str]:
    """A row of MMEB-train from its values in the columns' order; those left out are empty."""
    return dict(zip(columns, (*values, *[""] * (len(columns) - len(values))), strict=True))


def write_train(root: Path, name: str, rows: Sequence[Mapping[str, Any]], pictures: Pictures | None = None) -> None:
    """One dataset of MMEB-train in one file, with its zip when there are pictures."""
    write_table(root / "MMEB-train" / name / "original-00000-of-00001.parquet", rows)
    if pictures is not None:
        write_zip(root / "MMEB-train" / "images_zip" / f"{name}.zip", pictures)


def write_eval(root: Path, name: str, rows: Sequence[Mapping[str, Any]], pictures: Pictures) -> None:
    """One dataset of MMEB-eval and the zip of all."""
    write_table(root / "MMEB-eval" / name / "test-00000-of-00001.parquet", rows)
    write_zip(root / "MMEB-eval" / "images.zip", pictures)


def write_conversations(root: Path, rows: Any, pictures: Pictures | None = None) -> Path:
    """conversations/train.json with its zip; returns the path of the json."""
    path = root / "conversations" / "train.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows), encoding="utf-8")
    if pictures is not None:
        write_zip(path.with_name("images.zip"), pictures)
    return path


def talk(*values: str, image: str | None = None, **more: Any) -> dict[str, Any]:
    """A conversation whose messages come from human and gpt in turn."""
    messages = [{"from": ("human", "gpt")[number % 2], "value": value} for number, value in enumerate(values)]
    return {"id": "x", **({"image": image} if image else {}), "conversations": messages, **more}
