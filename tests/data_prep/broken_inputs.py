"""Kinds of broken input and what must become of each: one table, which `test_broken_inputs.py` holds against the readers."""

import json
import os
import struct
import zlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
from PIL import Image

from tests.data_prep.damage import (
    JPEGS,
    JSON,
    LFS,
    PAGE,
    PAIRS,
    TABLE,
    ZIP,
    arrow,
    both_headers,
    column,
    content,
    cut,
    flipped,
    huge_footer,
    loop,
    member,
    not_utf8,
    pair,
    png,
    saved,
    second_mode,
    shown,
    swap,
    talk_rows,
    talks,
    text,
    unpacked,
    without,
)
from tests.pipeline.data.releases import picture, talk


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """A way to break the folder, and its fate: `rejected` rows with their reasons (patterns), or the pattern of the one error.

    All other rows must come back as from the sound folder.
    """

    name: str
    damage: Callable[[Path], object]
    rejected: Mapping[int, str] | None = None
    refused: str = ""


BAD_ZIP, BAD_TABLE = r"Toy\.zip: not a readable zip archive", r"00001\.parquet: not a readable parquet file"
SECOND = r"Toy\.zip: member Toy/Train/1\.jpg is unreadable"
NO_PICTURE = r"1\.jpg: not a picture in a known format"
UNDECODABLE = r"1\.jpg: the picture cannot be decoded"
ESCAPES = {
    "up and out": "../../etc/passwd",
    "out by the middle": "images/../../../etc/passwd",
    "absolute": "/etc/passwd",
    "of Windows": "C:\\pictures\\1.jpg",
    "with a line break": "Toy/\nTrain/1.jpg",
    "with a NUL": "Toy/Train/1.jpg\0.txt",
}
NOT_PLAIN = "is not a plain relative path"

ZIPS = [
    Kind(name="empty", damage=content(ZIP, b""), refused=BAD_ZIP),
    Kind(name="cut short", damage=cut(ZIP, 0.7), refused=BAD_ZIP),
    Kind(name="a web page", damage=content(ZIP, PAGE), refused=r"Toy\.zip: is a web page"),
    Kind(name="a pointer of Git LFS", damage=content(ZIP, LFS), refused=r"Toy\.zip: is a pointer of Git LFS"),
    Kind(name="missing", damage=lambda root: (root / ZIP).unlink(), refused=r"Toy\.zip: missing, and rows name pictures"),
    Kind(name="claims a huge directory", damage=swap(ZIP, struct.pack("<HH", 6, 6), b"\xff\xfe\xff\xfe", last=True)),
    Kind(name="directory lies outside", damage=swap(ZIP, b"PK\5\6", b"PK\5\6" + b"\xff" * 12, last=True), refused=BAD_ZIP),
    Kind(name="bytes before it", damage=lambda root: (root / ZIP).write_bytes(b"#!" * 50 + (root / ZIP).read_bytes())),
    Kind(name="lacks a member", damage=without(1), rejected={1: r"Toy\.zip has no member images/Toy/Train/1\.jpg"}),
    Kind(name="a byte flipped in a member", damage=swap(ZIP, JPEGS[1][-99:], flipped(JPEGS[1][-99:], 0.5)), rejected={1: SECOND}),
    Kind(name="two members of a name", damage=member("Toy/Train/1.jpg", JPEGS[2]), rejected={1: "two different members"}),
    Kind(name="the same member twice", damage=member("Toy/Train/1.jpg", JPEGS[1])),
    Kind(name="members that lead outside", damage=member("../../outside.jpg", b"x")),
    Kind(name="a member is encrypted", damage=both_headers(6, b"\1\0"), rejected={1: SECOND + ".*encrypted"}),
    Kind(name="an unknown compression", damage=both_headers(8, b"\x63\0"), rejected={1: SECOND + ".*compression"}),
    Kind(name="a member that is a bomb", damage=shown(bytes(2**27 + 1), deflated=True), rejected={1: "is larger than 128 MiB"}),
    Kind(name="a member claims 4 GB", damage=both_headers(18, b"\xf0\xff\xff\xff" * 2), rejected={1: SECOND}),
    Kind(name="headers of two names", damage=swap(ZIP, b"Toy/Train/1.jpg", b"Toy/Train/9.jpg"), rejected={1: SECOND}),
    Kind(name="a member without bytes", damage=shown(b""), rejected={1: r"1\.jpg: the picture file is empty"}),
]

LINKS = [
    Kind(name="a member that is one", damage=second_mode(0o120777), rejected={1: "member Toy/Train/1.jpg is a symbolic link"}),
    Kind(name="a link to nowhere", damage=unpacked(lambda path: path.symlink_to("gone")), rejected={1: "has no file"}),
    Kind(name="a link to itself", damage=unpacked(loop), rejected={1: r"1\.jpg is unreadable"}),
    Kind(name="a link to what is no picture", damage=unpacked(lambda path: path.symlink_to("/etc/hostname")), rejected={1: ""}),
    Kind(name="a folder for a picture", damage=unpacked(Path.mkdir), rejected={1: "has no file"}),
    Kind(name="a pipe for a picture", damage=unpacked(os.mkfifo), rejected={1: "has no file"}),
    Kind(name="a pointer of Git LFS for a picture", damage=unpacked(lambda path: path.write_bytes(LFS)), rejected={1: ""}),
]

TABLES = [
    Kind(name="empty", damage=content(TABLE, b""), refused=BAD_TABLE),
    Kind(name="cut short", damage=cut(TABLE, 0.9), refused=BAD_TABLE),
    Kind(name="a web page", damage=content(TABLE, PAGE), refused=r"\.parquet: is a web page"),
    Kind(name="a pointer of Git LFS", damage=content(TABLE, LFS), refused=r"\.parquet: is a pointer of Git LFS"),
    Kind(name="a huge footer", damage=huge_footer, refused=BAD_TABLE),
    Kind(name="encrypted", damage=swap(TABLE, b"PAR1", b"PARE", last=True), refused=BAD_TABLE),
    Kind(
        name="more rows than bytes",
        damage=arrow(lambda table: pa.concat_tables([table.slice(0, 1)] * 70_000).combine_chunks()),
        refused="its footer claims 70000 rows, more than it has bytes",
    ),
    Kind(
        name="lacks a column", damage=arrow(lambda table: table.drop_columns(["pos_text"])), refused="column pos_text is missing"
    ),
    Kind(
        name="a column twice",
        damage=arrow(lambda table: table.append_column("qry", table["qry"])),
        refused="qry stands in it twice",
    ),
    Kind(name="numbers for texts", damage=column("qry", pa.array(range(PAIRS))), refused="column qry holds int64, not texts"),
    Kind(name="lists for texts", damage=column("qry", pa.array([["x"]] * PAIRS)), refused="column qry holds list<"),
    Kind(name="numbers for pictures", damage=column("qry_image_path", pa.array([1.5] * PAIRS)), refused="not paths or pictures"),
    Kind(
        name="a part is missing",
        damage=lambda root: (root / TABLE).rename(root / TABLE.replace("of-00001", "of-00002")),
        refused=r"original-00001-of-00002\.parquet is missing",
    ),
    Kind(
        name="a byte flipped in a page",
        damage=swap(TABLE, b"question 4", b"question 9"),
        rejected=dict.fromkeys((3, 4, 5), "its row group 1 is damaged"),
    ),
    Kind(name="a text is not UTF-8", damage=column("pos_text", not_utf8()), rejected={1: "pos_text is not valid UTF-8"}),
    Kind(name="a NUL in a text", damage=pair(1, pos_text="no\0thing"), rejected={1: "holds a NUL character"}),
    Kind(name="a text without end", damage=pair(1, qry="x" * (2**20 + 1)), rejected={1: "has 1048577 characters"}),
    Kind(name="an empty side", damage=pair(1, pos_text=""), rejected={1: "positive side has neither text nor picture"}),
    Kind(name="nulls", damage=pair(1, qry=None, qry_image_path=None), rejected={1: "query side has neither text nor picture"}),
    Kind(name="a path without end", damage=pair(1, qry_image_path="x" * 5000), rejected={1: NOT_PLAIN}),
    *(Kind(name=f"a path {how}", damage=pair(1, qry_image_path=path), rejected={1: NOT_PLAIN}) for how, path in ESCAPES.items()),
]

JSONS = [
    Kind(name="empty", damage=content(JSON, b""), refused=r"train\.json: is not a list of rows"),
    Kind(name="cut short", damage=cut(JSON, 0.7), refused=r"train\.json: is broken or cut short near character"),
    Kind(name="a web page", damage=content(JSON, PAGE), refused=r"train\.json: is a web page"),
    Kind(name="a pointer of Git LFS", damage=content(JSON, LFS), refused=r"train\.json: is a pointer of Git LFS"),
    Kind(name="an object", damage=content(JSON, text({"rows": talk_rows()})), refused="is not a list of rows"),
    Kind(name="a row a line", damage=content(JSON, b"\n".join(map(text, talk_rows())))),
    Kind(
        name="a row a line, cut short", damage=content(JSON, b"\n".join(map(text, talk_rows()))[:-9]), refused="is broken or cut"
    ),
    Kind(
        name="a row a line, the first cut", damage=content(JSON, text(talk_rows()[0])[:-9]), refused="is not a list of rows, or"
    ),
    Kind(name="UTF-16", damage=content(JSON, json.dumps(talk_rows()).encode("utf-16")), refused="is not a list of rows"),
    Kind(name="two lists", damage=content(JSON, text(talk_rows()) * 2), refused="goes on behind the end of its list"),
    Kind(name="a comma is missing", damage=swap(JSON, b"}, {", b"}  {"), refused="is broken or cut short|is cut short or broken"),
    Kind(name="nested without end", damage=content(JSON, b"[" * 300_000), refused="is broken or cut short"),
    Kind(name="a NUL byte", damage=swap(JSON, b"ask 1", b"ask \0"), refused="is broken or cut short"),
    Kind(name="a row without end", damage=content(JSON, b'["' + b"x" * (2**23 + 2**22)), refused="is broken or cut short"),
    Kind(name="a number without end", damage=content(JSON, b"[" + b"9" * 5000 + b"]"), refused="is broken or cut short"),
    Kind(
        name="a key twice",
        damage=swap(JSON, b'"id": "x"', b'"image": "coco/2.jpg"', last=True),
        rejected={3: "key 'image' twice"},
    ),
    Kind(
        name="a key twice inside",
        damage=swap(JSON, b'"value": "reply 1"', b'"value": "reply 1", "value": "reply 2"'),
        rejected={1: "message 1 has the key 'value' twice"},
    ),
    Kind(name="a byte is not UTF-8", damage=swap(JSON, b"ask 1", b"as\xe9 1"), rejected={1: "message 0 is not valid UTF-8"}),
    Kind(name="half a surrogate pair", damage=swap(JSON, b"ask 1", b"\\ud83d 1"), rejected={1: "message 0 is not valid UTF-8"}),
    Kind(name="a NUL in a text", damage=swap(JSON, b"ask 1", b"\\u0000"), rejected={1: "message 0 holds a NUL character"}),
    Kind(name="a row is a number", damage=talks(1, 7), rejected={1: "it is not an object"}),
    Kind(name="a row is null", damage=talks(1, None), rejected={1: "it is not an object"}),
    Kind(name="no conversations", damage=talks(1, {"id": "x"}), rejected={1: "not pairs of a question and an answer"}),
    Kind(name="messages are texts", damage=talks(1, {"conversations": ["q", "a"]}), rejected={1: "message 0 is not an object"}),
    Kind(name="an answer is missing", damage=talks(1, talk("q", "a", "q")), rejected={1: "not pairs of a question"}),
    Kind(name="an answer is a number", damage=swap(JSON, b'"reply 1"', b"1"), rejected={1: "message 1 is not a text"}),
    Kind(name="an answer is empty", damage=swap(JSON, b'"reply 1"', b'"  "'), rejected={1: "message 1 is an empty answer"}),
    Kind(name="the answer comes first", damage=swap(JSON, b'"human"', b'"gpt"'), rejected={0: "message 0 is not from human"}),
    Kind(name="an image is a list", damage=swap(JSON, b'"coco/1.jpg"', b"[1]"), rejected={1: "its image is not a text"}),
    Kind(name="a picture is missing", damage=swap(JSON, b"coco/1.jpg", b"coco/9.jpg"), rejected={1: "has no member coco/9"}),
    *(
        Kind(name=f"a path {how}", damage=talks(1, talk("q", "a", image=path)), rejected={1: f"{NOT_PLAIN}|holds a NUL"})
        for how, path in ESCAPES.items()
    ),
]

PICTURES = [
    Kind(name="cut short", damage=shown(JPEGS[1][:-300]), rejected={1: UNDECODABLE}),
    Kind(name="a head alone", damage=shown(JPEGS[1][:3]), rejected={1: NO_PICTURE}),
    Kind(name="a web page", damage=shown(PAGE), rejected={1: NO_PICTURE}),
    Kind(name="NUL bytes", damage=shown(bytes(1000)), rejected={1: NO_PICTURE}),
    Kind(name="a drawing that starts a program", damage=shown(b"%!PS-Adobe-3.0 EPSF-3.0\n"), rejected={1: NO_PICTURE}),
    Kind(name="a vector drawing", damage=shown(b"<svg xmlns='http://www.w3.org/2000/svg'/>"), rejected={1: NO_PICTURE}),
    Kind(name="a PNG of no width", damage=shown(png(0, 9)), rejected={1: NO_PICTURE}),
    Kind(name="a PNG of 4 gigapixels", damage=shown(png(65_000, 65_000)), rejected={1: "declares more than 90000000 pixels"}),
    Kind(name="a PNG whose pixels are missing", damage=shown(png(500, 400)), rejected={1: UNDECODABLE}),
    Kind(
        name="a PNG with a text that is a bomb, and no pixels",
        damage=shown(png(9, 9, (b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))))),
        rejected={1: UNDECODABLE},
    ),
    Kind(
        name="a PNG with a byte flipped",
        damage=shown(flipped(picture(1, size=(60, 50), form="PNG"), 0.5)),
        rejected={1: UNDECODABLE},
    ),
    Kind(name="a GIF cut short", damage=shown(picture(1, form="GIF")[:-700]), rejected={1: UNDECODABLE}),
    Kind(name="a line of 300 pixels", damage=shown(picture(1, size=(300, 1))), rejected={1: "more than 200 times longer"}),
    Kind(name="32 bits a pixel", damage=shown(saved(Image.new("F", (9, 9)), "TIFF")), rejected={1: "32 bits a pixel"}),
]

KINDS = {
    f"{part}: {kind.name}": kind
    for part, kinds in {"zip": ZIPS, "link": LINKS, "parquet": TABLES, "json": JSONS, "picture": PICTURES}.items()
    for kind in kinds
}
"""By names that say which file is broken."""
