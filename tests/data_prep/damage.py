"""Ways to break a sound folder of six pairs in two row groups and four conversations, each with one thing in mind."""

import io
import json
import os
import struct
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from tests.pipeline.data.releases import picture, talk, train_row, write_conversations, write_zip

PAIRS, TALKS, GROUP = 6, 4, 3
TABLE = "MMEB-train/Toy/original-00000-of-00001.parquet"
ZIP = "MMEB-train/images_zip/Toy.zip"
JSON = "conversations/train.json"
JPEGS = [picture(number, size=(60, 50)) for number in range(PAIRS)]
LFS = b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 12345\n"
PAGE = b"<!DOCTYPE html><html><body>Sign in to download</body></html>"


def pair_rows() -> list[dict[str, Any]]:
    """The rows of the sound table."""
    return [train_row(f"<|image_1|>\nquestion {n}", f"images/Toy/Train/{n}.jpg", f"answer {n}") for n in range(PAIRS)]


def talk_rows() -> list[dict[str, Any]]:
    """The sound conversations."""
    return [talk(f"<image>\nask {n}", f"reply {n}", image=f"coco/{n}.jpg") for n in range(TALKS)]


def write_sound(root: Path) -> None:
    """The sound folder. Its zip is stored and its pages carry checksums, so that a flipped byte is exactly that."""
    write_pairs(root, pair_rows())
    write_zip(root / ZIP, {f"Toy/Train/{n}.jpg": data for n, data in enumerate(JPEGS)})
    write_conversations(root, talk_rows(), {f"coco/{n}.jpg": JPEGS[n] for n in range(TALKS)})


def write_pairs(root: Path, rows: list[dict[str, Any]]) -> None:
    """The table with other rows."""
    path = root / TABLE
    path.parent.mkdir(parents=True, exist_ok=True)
    options = {"row_group_size": GROUP, "write_page_checksum": True, "compression": "none", "use_dictionary": False}
    pq.write_table(pa.Table.from_pylist(rows), path, **options)


def content(name: str, data: bytes) -> Callable[[Path], object]:
    """Replace a whole file."""
    return lambda root: (root / name).write_bytes(data)


def cut(name: str, part: float) -> Callable[[Path], object]:
    """Keep the first part of a file."""
    return lambda root: os.truncate(root / name, int((root / name).stat().st_size * part))


def swap(name: str, old: bytes, new: bytes, *, last: bool = False) -> Callable[[Path], object]:
    """Replace the first (or last) occurrence of some bytes, which must occur."""

    def damage(root: Path) -> None:
        data = (root / name).read_bytes()
        place = data.rindex(old) if last else data.index(old)
        (root / name).write_bytes(data[:place] + new + data[place + len(old) :])

    return damage


def pair(number: int, **fields: Any) -> Callable[[Path], None]:
    """Change fields of one row of the table."""

    def damage(root: Path) -> None:
        rows = pair_rows()
        rows[number] |= fields
        write_pairs(root, rows)

    return damage


def talks(number: int, row: Any) -> Callable[[Path], object]:
    """Replace one conversation."""
    return lambda root: write_conversations(root, [*talk_rows()[:number], row, *talk_rows()[number + 1 :]])


def shown(data: bytes, *, deflated: bool = False) -> Callable[[Path], None]:
    """Replace the second picture of the zip."""

    def damage(root: Path) -> None:
        files = dict(enumerate(JPEGS)) | {1: data}
        with zipfile.ZipFile(root / ZIP, "w", zipfile.ZIP_DEFLATED if deflated else zipfile.ZIP_STORED) as archive:
            for number, encoded in files.items():
                archive.writestr(f"Toy/Train/{number}.jpg", encoded)

    return damage


def member(name: str, data: bytes) -> Callable[[Path], None]:
    """Append a member to the zip, which may stand in it already."""

    def damage(root: Path) -> None:
        with warnings.catch_warnings(), zipfile.ZipFile(root / ZIP, "a") as archive:
            warnings.simplefilter("ignore")  # a name that stands in it already
            archive.writestr(name, data)

    return damage


def without(number: int) -> Callable[[Path], None]:
    """A zip that lacks a picture."""
    return lambda root: write_zip(root / ZIP, {f"Toy/Train/{n}.jpg": data for n, data in enumerate(JPEGS) if n != number})


def both_headers(offset: int, value: bytes) -> Callable[[Path], None]:
    """Overwrite bytes in the local and the central header of the second member; `offset` as in the local one."""

    def damage(root: Path) -> None:
        data = bytearray((root / ZIP).read_bytes())
        name = b"Toy/Train/1.jpg"
        local, central = data.index(name) - 30, data.rindex(name) - 46
        data[local + offset : local + offset + len(value)] = value
        data[central + offset + 2 : central + offset + 2 + len(value)] = value
        (root / ZIP).write_bytes(data)

    return damage


def second_mode(mode: int) -> Callable[[Path], None]:
    """A zip whose second member has a mode of Unix."""

    def damage(root: Path) -> None:
        with zipfile.ZipFile(root / ZIP, "w") as archive:
            for number, encoded in enumerate(JPEGS):
                info = zipfile.ZipInfo(f"Toy/Train/{number}.jpg")
                info.create_system, info.external_attr = 3, (mode if number == 1 else 0o100644) << 16
                archive.writestr(info, encoded)

    return damage


def unpacked(make: Callable[[Path], object]) -> Callable[[Path], None]:
    """Pictures in a folder instead of the zip; `make` puts something odd in the place of the second."""

    def damage(root: Path) -> None:
        (root / ZIP).unlink()
        folder = root / "MMEB-train" / "images" / "Toy" / "Train"
        folder.mkdir(parents=True)
        for number, data in enumerate(JPEGS):
            if number != 1:
                (folder / f"{number}.jpg").write_bytes(data)
        make(folder / "1.jpg")

    return damage


def loop(path: Path) -> None:
    """A link to itself."""
    path.symlink_to(path)


def arrow(change: Callable[[pa.Table], pa.Table]) -> Callable[[Path], None]:
    """Write the table anew, changed."""
    return lambda root: pq.write_table(change(pa.Table.from_pylist(pair_rows())), root / TABLE)


def column(name: str, values: pa.Array) -> Callable[[Path], None]:
    """Replace a column."""
    return arrow(lambda table: table.set_column(table.schema.names.index(name), name, values))


def huge_footer(root: Path) -> None:
    """A footer that says to be 2 GB long."""
    data = (root / TABLE).read_bytes()
    (root / TABLE).write_bytes(data[:-8] + b"\xff\xff\xff\x7f" + data[-4:])


def not_utf8() -> pa.Array:
    """Six texts, the second of which is Latin-1."""
    words = pa.array([b"caf\xe9" if n == 1 else f"answer {n}".encode() for n in range(PAIRS)])
    return pa.Array.from_buffers(pa.string(), PAIRS, words.buffers())


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A PNG that declares any size, with chunks of one's own, made by hand."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    parts = [header, *chunks, (b"IDAT", zlib.compress(b"")), (b"IEND", b"")]
    framed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def saved(image: Image.Image, form: str) -> bytes:
    """A picture file."""
    sink = io.BytesIO()
    image.save(sink, form)
    return sink.getvalue()


def flipped(data: bytes, place: float) -> bytes:
    """One byte turned over."""
    changed = bytearray(data)
    changed[int(len(changed) * place)] ^= 0xFF
    return bytes(changed)


def text(rows: object) -> bytes:
    """JSON."""
    return json.dumps(rows).encode()
