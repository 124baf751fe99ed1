"""The tar of a shard as it is written, and the digest of one: every byte is hashed once, a picture's for the index as well.

The digest is the SHA-256 of the tar in which the content of each picture is replaced by its own SHA-256. Headers, texts, padding
and the blocks at the end stand in it as they are, so it tells any two tars apart that a plain SHA-256 would.
"""

import hashlib
import io
import re
import tarfile
from copy import copy
from pathlib import Path
from typing import BinaryIO

from webdataset.writer import TarWriter

BLOCK = tarfile.BLOCKSIZE
_TEXTS = ".json"
_PIECE, _ALL = 2**20, 2**62
_OCTAL = re.compile(rb"[0-7]{11}")

_NAME, _SIZE, _SUM = slice(0, 100), slice(124, 135), slice(148, 154)
"""Where a header has what differs from member to member: the name, the size and the sum of the header in octal digits."""


class ShardTar:
    """A tar that webdataset's writer fills. The same members give the same bytes.

    `size` are the bytes written; `hexdigest` is the digest of the module, whole once the tar is closed.
    """

    def __init__(self, file: BinaryIO) -> None:
        # Owner and time are fixed, or the bytes would depend on who writes and when.
        self._writer = TarWriter(file, user="", group="", mtime=0, encoder=False)
        self._members = _Members(file)
        self._writer.tarstream = self._members

    @property
    def size(self) -> int:
        """Bytes so far."""
        return self._members.size

    @property
    def hexdigest(self) -> str:
        """The digest of what was written so far, 64 hexadecimal digits."""
        return self._members.digest.hexdigest()

    def add(self, name: str, suffix: str, content: bytes) -> tuple[int, bytes]:
        """Append `<name>.<suffix>`: where its content begins, and for a picture its SHA-256."""
        self._writer.write({"__key__": name, suffix: content})
        return self._members.offset, self._members.picture

    def close(self) -> None:
        """End the archive."""
        self._writer.close()


class _Members:
    """What webdataset's writer needs of a tarfile.TarFile, and its bytes in the ustar format.

    A TarFile copies contents in small pieces, makes the header of each member field by field and keeps what it has written.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._header = _Header()
        self.digest, self.size = hashlib.sha256(), 0
        self.offset, self.picture = 0, b""

    def addfile(self, member: tarfile.TarInfo, stream: io.BytesIO) -> None:
        """Append a member with its content."""
        content = stream.getvalue()
        header, padding = self._header(member), bytes(-len(content) % BLOCK)
        self.picture = b"" if member.name.endswith(_TEXTS) else hashlib.sha256(content).digest()
        self.digest.update(b"".join((header, self.picture or content, padding)))
        self.offset = self.size + len(header)
        self.size = self.offset + len(content) + len(padding)
        self._file.write(header)
        self._file.write(content)
        self._file.write(padding)

    def close(self) -> None:
        """Two empty blocks, then up to a whole record, as tarfile does."""
        end = 2 * BLOCK
        end += -(self.size + end) % tarfile.RECORDSIZE
        self.digest.update(bytes(end))
        self.size += end
        self._file.write(bytes(end))


class _Header:
    """Headers of members that differ in name and size alone: all else is taken from the first."""

    def __init__(self) -> None:
        self._blank = b""
        self._sum = 0

    def __call__(self, member: tarfile.TarInfo) -> bytes:
        """The header in the ustar format, 512 bytes. Raises ValueError for a name that it cannot hold."""
        if not self._blank:
            self._begin(member)
        name, size = member.name.encode(), b"%011o" % member.size
        if len(name) > _NAME.stop:
            return member.tobuf(tarfile.USTAR_FORMAT)
        total = b"%06o" % (self._sum + sum(name) + sum(size))
        middle, rest = self._blank[_SIZE.stop : _SUM.start], self._blank[_SUM.stop :]
        return b"".join((name.ljust(_NAME.stop, b"\0"), self._blank[_NAME.stop : _SIZE.start], size, middle, total, rest))

    def _begin(self, member: tarfile.TarInfo) -> None:
        blank = copy(member)
        blank.name, blank.size = "", 0
        self._blank = blank.tobuf(tarfile.USTAR_FORMAT)
        self._sum = int(self._blank[_SUM], 8) - sum(self._blank[_SIZE])


def tar_digest(path: Path) -> str:
    """The digest of a tar of any size, 64 hexadecimal digits. Raises OSError for a file that cannot be read.

    What a header says is hashed before it is believed, so damage of any byte gives another digest and never an error.
    """
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while header := file.read(BLOCK):
            digest.update(header)
            name, size = header[_NAME].rstrip(b"\0").decode("latin-1"), header[_SIZE]
            if not (name and _OCTAL.fullmatch(size)):
                # The blocks at the end, or no header at all: what is left counts as it stands.
                _hash(file, _ALL, digest)
                break
            length = int(size, 8)
            if name.endswith(_TEXTS):
                _hash(file, length, digest)
            else:
                picture = hashlib.sha256()
                _hash(file, length, picture)
                digest.update(picture.digest())
            _hash(file, -length % BLOCK, digest)
    return digest.hexdigest()


def _hash(file: BinaryIO, size: int, digest: "hashlib._Hash") -> None:
    """Take so many bytes of a file into a digest, or all that are left."""
    while size and (piece := file.read(min(size, _PIECE))):
        digest.update(piece)
        size -= len(piece)
