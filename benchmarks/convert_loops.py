"""The corpus that the conversion is measured on, and the bare loops that it is measured against.

A bare loop does what nobody can leave out: it reads rows with pyarrow and pictures with zipfile, and writes the same members with
tarfile. It checks, counts, indexes and resumes nothing.
"""

import hashlib
import io
import json
import math
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from pipeline.data.picture_preparer import JPEG_QUALITY

NAME = "Bench"
ROW_GROUP = 1000

Work = Callable[[bytes], bytes]
"""What a loop does with the bytes of a picture before it writes them."""


def drawn_pictures(count: int, side: int) -> list[bytes]:
    """JPEGs of `side` x 3/4 `side` pixels with as much detail as photographs have: smooth noise and a little sharp noise."""
    pictures = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        size = (side, side * 3 // 4)
        coarse = Image.fromarray(rng.integers(0, 256, (12, 16, 3), dtype=np.uint8)).resize(size, Image.Resampling.BICUBIC)
        noise = rng.normal(0, 9, (coarse.height, coarse.width, 1))
        pixels = np.clip(np.asarray(coarse) + noise, 0, 255).astype(np.uint8)
        sink = io.BytesIO()
        Image.fromarray(pixels).save(sink, "JPEG", quality=90)
        pictures.append(sink.getvalue())
    return pictures


def found_pictures(data: Path, count: int) -> list[bytes]:
    """Pictures of a data folder's zips, in order."""
    pictures: list[bytes] = []
    for path in sorted((data / "MMEB-train" / "images_zip").glob("*.zip")):
        with zipfile.ZipFile(path) as archive:
            pictures += [archive.read(member) for member in archive.infolist() if not member.is_dir()]
    return pictures[:count]


def write_corpus(root: Path, pictures: Sequence[bytes], rows: int) -> None:
    """One dataset of MMEB-train: each row has a question about a picture and an answer; pictures come again in turn."""
    folder = root / "MMEB-train"
    (folder / NAME).mkdir(parents=True)
    (folder / "images_zip").mkdir()
    with zipfile.ZipFile(folder / "images_zip" / f"{NAME}.zip", "w") as archive:
        for number, picture in enumerate(pictures):
            archive.writestr(f"{NAME}/{number}.jpg", picture)
    names = ("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path")
    schema = pa.schema([(name, pa.string()) for name in names])
    with pq.ParquetWriter(folder / NAME / "original-00000-of-00001.parquet", schema) as writer:
        for first in range(0, rows, ROW_GROUP):
            made = [_row(number, len(pictures)) for number in range(first, min(first + ROW_GROUP, rows))]
            writer.write_table(pa.Table.from_pylist([dict(zip(names, row, strict=True)) for row in made], schema=schema))


def bare_loop(root: Path, out: Path, work: Work) -> None:
    """Rows, pictures, `work`, SHA-256, tar."""
    with zipfile.ZipFile(root / "MMEB-train" / "images_zip" / f"{NAME}.zip") as archive, tarfile.open(out, "w") as tar:
        for number, row in enumerate(_rows(root)):
            picture = work(archive.read(row["qry_image_path"].removeprefix("images/")))
            hashlib.sha256(picture).digest()
            _add(tar, f"{number:08d}.json", json.dumps(row, ensure_ascii=False).encode())
            _add(tar, f"{number:08d}.q0.jpg", picture)


def pillow_alone(root: Path, work: Work) -> None:
    """Pictures and `work`, nothing else."""
    with zipfile.ZipFile(root / "MMEB-train" / "images_zip" / f"{NAME}.zip") as archive:
        for row in _rows(root):
            work(archive.read(row["qry_image_path"].removeprefix("images/")))


def nothing(picture: bytes) -> bytes:
    """Pass it on."""
    return picture


def decoded(picture: bytes) -> bytes:
    """Decode it and pass the file on."""
    with Image.open(io.BytesIO(picture)) as opened:
        opened.load()
    return picture


def resized(max_pixels: int) -> Work:
    """Decode, shrink to a number of pixels with the same filter, encode with the same quality."""

    def work(picture: bytes) -> bytes:
        with Image.open(io.BytesIO(picture)) as opened:
            rgb = opened.convert("RGB")
        scale = math.sqrt(max_pixels / (rgb.width * rgb.height))
        small = rgb.resize((math.floor(rgb.width * scale), math.floor(rgb.height * scale)), Image.Resampling.BICUBIC)
        sink = io.BytesIO()
        small.save(sink, "JPEG", quality=JPEG_QUALITY)
        return sink.getvalue()

    return work


def _row(number: int, pictures: int) -> tuple[str, ...]:
    question = f"Represent the given image with the following question: What is shown in picture {number}?"
    return (f"<|image_1|>\n{question}", f"images/{NAME}/{number % pictures}.jpg", f"the answer {number}", "", f"not {number}", "")


def _rows(root: Path) -> Iterator[dict[str, Any]]:
    for batch in pq.ParquetFile(root / "MMEB-train" / NAME / "original-00000-of-00001.parquet").iter_batches():
        yield from batch.to_pylist()


def _add(tar: tarfile.TarFile, name: str, content: bytes) -> None:
    member = tarfile.TarInfo(name)
    member.size = len(content)
    tar.addfile(member, io.BytesIO(content))
