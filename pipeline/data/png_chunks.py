"""PNG files by their chunks: the pixels are held to their checksums, and what says nothing of them may be broken.

The rule is that of libpng and of every viewer: a chunk that is needed (IHDR, PLTE, IDAT) must be sound, and another one that is
not is left out. So are texts and colour profiles that unpack to more than Pillow takes. A missing end is put back.
"""

import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass

from pipeline.data.reject import RowError

SIGNATURE = b"\x89PNG\r\n\x1a\n"

MAX_TEXT_BYTES = 2**20
"""A text or colour profile that unpacks to so much is left out; Pillow gives up there."""

MAX_TEXTS_BYTES = 2**26
"""The same for all texts of a file together, after which none is unpacked any more."""

_END = b"IEND"
_END_CHUNK = struct.pack(">I", 0) + _END + struct.pack(">I", zlib.crc32(_END))
_HEAD = struct.Struct(">I4s")
_TEXTS = frozenset({b"tEXt", b"zTXt", b"iTXt", b"iCCP"})


@dataclass(frozen=True, slots=True)
class _Chunk:
    """A chunk as it stands in the file: `whole` with length, name and checksum; `body` alone."""

    name: bytes
    whole: memoryview
    body: memoryview

    @property
    def is_needed(self) -> bool:
        """Whether the pixels cannot be read without it: the fifth bit of its name says so."""
        return not self.name[0] & 0x20

    @property
    def is_sound(self) -> bool:
        """Whether it is all there and its checksum is right."""
        stored = int.from_bytes(self.whole[-4:], "big")
        return len(self.whole) == len(self.body) + 12 and zlib.crc32(self.whole[4:-4]) == stored


def mended(encoded: bytes) -> bytes:
    """The same bytes where all of a PNG file is sound, else the file without what is broken and not needed for its pixels.

    Raises RowError where a needed chunk is cut or its checksum is wrong. Whether the pixels are all there only decoding tells.
    """
    kept, has_flaws, has_end, room = [SIGNATURE], False, False, MAX_TEXTS_BYTES
    for chunk in _chunks(encoded):
        if chunk.name == _END:
            has_end = chunk.is_sound
            break
        if chunk.is_needed and not chunk.is_sound:
            raise RowError(f"the picture cannot be decoded (its PNG chunk {chunk.name.decode('ascii')} is cut or damaged)")
        size = _text_bytes(chunk, room)
        room -= size
        if chunk.is_sound and size < MAX_TEXT_BYTES and (room >= 0 or not size):
            kept.append(bytes(chunk.whole))
        else:
            has_flaws = True
    return b"".join([*kept, _END_CHUNK]) if has_flaws or not has_end else encoded


def _chunks(encoded: bytes) -> Iterator[_Chunk]:
    """The chunks in order, up to the end or to what is none. The last may be cut."""
    view, place = memoryview(encoded), len(SIGNATURE)
    while place + _HEAD.size <= len(view):
        length, name = _HEAD.unpack_from(view, place)
        if not name.isalpha():
            return
        body = view[place + 8 : place + 8 + length]
        yield _Chunk(name, view[place : place + length + 12], body)
        place += length + 12


def _text_bytes(chunk: _Chunk, room: int) -> int:
    """How many bytes a text or profile unpacks to, at most as many as are too much; 0 for other chunks.

    Without room nothing is unpacked: a file of many small bombs costs no more than one.
    """
    if chunk.name not in _TEXTS:
        return 0
    if room < 0:
        return MAX_TEXT_BYTES
    packed = _packed(chunk.name, bytes(chunk.body))
    if packed is None:
        return len(chunk.body)
    try:
        return len(zlib.decompressobj().decompress(packed, MAX_TEXT_BYTES))
    except zlib.error:
        return MAX_TEXT_BYTES


def _packed(name: bytes, body: bytes) -> bytes | None:
    """The compressed part of a text chunk, None where it is not compressed."""
    _, _, rest = body.partition(b"\0")
    if name in (b"zTXt", b"iCCP"):
        return rest[1:]
    if name == b"iTXt" and rest[:1] == b"\1":
        return rest[2:].partition(b"\0")[2].partition(b"\0")[2]
    return None
