"""Encoded pictures by the paths that rows give, straight from a zip or from a folder; nothing is unpacked.

A path comes from a downloaded file, so it is not trusted: one that leaves its archive or folder is refused.
"""

import io
import lzma
import os
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Protocol

from PIL import Image

from pipeline.data.picture_header import read_header
from pipeline.data.picture_names import NameIndex
from pipeline.data.reject import RowError
from pipeline.data.release_files import one_line, unusable
from pipeline.data.texts import checked_text
from pipeline.errors import DataError

MAX_PICTURE_BYTES = 128 * 2**20
"""A picture file larger than this is refused unread: a zip member may claim any size."""

KEPT_PICTURES = 16
"""Captions and questions about one picture stand next to each other, so the last few are kept."""

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Formats that shards hold. MPO is what Pillow calls a JPEG with a second picture behind it."""

MAX_ASPECT = 200
"""The longer side over the shorter one: the image processor of Qwen2-VL refuses more."""

MAX_PATH, MAX_SHOWN = 4096, 200
_FOREIGN = re.compile(r"^/|^[A-Za-z]:|[\\\x00-\x1f\x7f]")
"""Absolute paths, those of Windows, and characters that no name of a picture has."""

_ARCHIVE_ERRORS = (
    *(zipfile.BadZipFile, zlib.error, lzma.LZMAError, struct.error, OSError, EOFError),
    *(ValueError, LookupError, OverflowError, RuntimeError, MemoryError),
)


def untouched(encoded: bytes) -> bytes:
    """Pass a picture on as it is: the preparation that does nothing."""
    return encoded


class MissingError(DataError):
    """There is no zip and no folder where pictures should lie."""


class PictureSource(Protocol):
    """Where the pictures of a dataset lie."""

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError."""

    def has(self, path: str) -> bool:
        """Whether there is a file that a row names, without reading it. False for a path that is refused, too."""


class ZipPictures:
    """Members of one zip archive, named with or without a leading `images/`, and in any spelling of the same name.

    A member that is a link, and a name that stands for two different members, are refused.
    """

    def __init__(self, archive: Path) -> None:
        """Raises DataError when the file is no zip archive."""
        self.archive = archive
        try:
            self._zip = zipfile.ZipFile(archive)
        except _ARCHIVE_ERRORS as error:
            raise unusable(archive, f"not a readable zip archive ({one_line(error)})") from error
        self._doubled = _doubled(self._zip.infolist())
        self._names = NameIndex(self._zip.NameToInfo)

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError naming archive and path, and a member of a like name."""
        for name in _spellings(path):
            if found := self._names.spelt(name):
                return self._read([self._zip.getinfo(each) for each in found])
        raise RowError(f"{self.archive.name} has no member {path}{_hint(self._names, path)}")

    def has(self, path: str) -> bool:
        """Whether there is such a member."""
        return is_plain(path) and any(self._names.spelt(name) for name in _spellings(path))

    def _read(self, members: list[zipfile.ZipInfo]) -> bytes:
        member = members[0]
        if member.filename in self._doubled or _doubled(members, by_name=False):
            raise RowError(f"{self.archive.name} has two different members {member.filename}")
        if stat.S_ISLNK(member.external_attr >> 16):
            raise RowError(f"{self.archive.name}: member {member.filename} is a symbolic link")
        try:
            with self._zip.open(member) as file:
                encoded = file.read(MAX_PICTURE_BYTES + 1)
        except _ARCHIVE_ERRORS as error:
            raise RowError(f"{self.archive.name}: member {member.filename} is unreadable ({one_line(error)})") from error
        return _limited(encoded, member.filename)


class FolderPictures:
    """Files below a folder, named with or without a leading `images/`, and in any spelling of the same name.

    Links that its owner made are followed.
    A zip may lie in the place of a folder: `coco/train2017/1.jpg` is looked for in `coco/train2017.zip` and `coco.zip`, too.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._zips: dict[str, ZipPictures | None] = {}
        self._listings: dict[Path, NameIndex] = {}

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError naming folder and path, DataError for a zip that is none."""
        for name in _spellings(path):
            if (encoded := self._opened(self.folder / name, path)) is not None:
                return encoded
        for archive, member in self._zipped(path):
            return archive.read(member)
        found = self._spelt(path)
        if len(found) > 1:
            raise RowError(f"{self.folder} has {len(found)} files of the name {path}")
        if found and (encoded := self._opened(found[0], path)) is not None:
            return encoded
        beside = self._listing(self.folder / _spellings(path)[0].rpartition("/")[0])
        raise RowError(f"{self.folder} has no file {path}{_hint(beside, path.rpartition('/')[2])}")

    def has(self, path: str) -> bool:
        """Whether there is such a file or member."""
        if not is_plain(path):
            return False
        if any((self.folder / name).is_file() for name in _spellings(path)) or any(True for _ in self._zipped(path)):
            return True
        return any(place.is_file() for place in self._spelt(path))

    def _opened(self, place: Path, path: str) -> bytes | None:
        """The content of a file, None where there is none."""
        try:
            # A pipe or a device would block or never end.
            if not stat.S_ISREG(place.stat().st_mode):
                return None
            with place.open("rb") as stream:
                return _limited(stream.read(MAX_PICTURE_BYTES + 1), path)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise RowError(f"{path} is unreadable in {self.folder} ({error.strerror})") from error

    def _spelt(self, path: str) -> list[Path]:
        """Paths below the folder whose names are the path's in another spelling."""
        return next((found for name in _spellings(path) if (found := [*self._below(self.folder, name.split("/"))])), [])

    def _below(self, folder: Path, parts: list[str]) -> Iterator[Path]:
        """What a folder has under parts of a path; a name with backslashes may stand for several of them."""
        for depth in range(len(parts), 0, -1):
            for name in self._listing(folder).spelt("/".join(parts[:depth])):
                if depth == len(parts):
                    yield folder / name
                else:
                    yield from self._below(folder / name, parts[depth:])

    def _listing(self, folder: Path) -> NameIndex:
        if folder not in self._listings:
            try:
                names = frozenset(os.listdir(folder))
            except OSError:  # no folder, or one that nobody may look into
                names = frozenset()
            self._listings[folder] = NameIndex(names)
        return self._listings[folder]

    def _zipped(self, path: str) -> Iterator[tuple[ZipPictures, str]]:
        """Zips in the place of a folder of the path, each with the member by which it has the picture."""
        for parts in (name.split("/") for name in _spellings(path)):
            for depth in range(len(parts) - 1, 0, -1):
                archive = self._zip("/".join(parts[:depth]))
                members = ["/".join(parts[start:]) for start in (depth, depth - 1, 0)]
                yield from ((archive, member) for member in members if archive and archive.has(member))

    def _zip(self, folder: str) -> ZipPictures | None:
        if folder not in self._zips:
            place = self.folder / f"{folder}.zip"
            self._zips[folder] = ZipPictures(place) if place.is_file() else None
        return self._zips[folder]


def find_pictures(*places: Path) -> PictureSource:
    """The first of some places that exists: a zip archive or a folder. Raises MissingError when there is none."""
    for place in places:
        if place.is_file():
            return ZipPictures(place)
        if place.is_dir():
            return FolderPictures(place)
    raise MissingError(f"{places[0]}: missing, and rows name pictures in it; download it, or put the unpacked folder beside it")


class Pictures:
    """Prepared pictures of one dataset: found when first needed, each prepared once for rows that follow each other."""

    def __init__(self, *places: Path, prepare: Callable[[bytes], bytes] = untouched) -> None:
        """`places` as for `find_pictures`; `prepare` checks or changes the encoded bytes and may raise RowError."""
        self._places, self._prepare = places, prepare
        self._source: PictureSource | None = None
        self.read = lru_cache(maxsize=KEPT_PICTURES)(self._read)

    def of_row(self, picture: str | bytes) -> bytes:
        """A picture as a row has it: by its path, or as it stands there. Raises RowError."""
        return self.read(picture) if isinstance(picture, str) else self.prepared(picture, "a picture in the table")

    def prepared(self, encoded: bytes, name: str) -> bytes:
        """A picture that stands in the row itself. Raises RowError naming it."""
        limited = _limited(encoded, name)
        try:
            return self._prepare(limited)
        except RowError as error:
            raise RowError(f"{name}: {error}") from error

    def forget(self) -> None:
        """Drop the kept pictures, so that what follows is the same whether or not anything was read before."""
        self.read.cache_clear()

    def _read(self, path: str) -> bytes:
        if self._source is None:
            self._source = find_pictures(*self._places)
        return self.prepared(self._source.read(path), path)


def measure(encoded: bytes) -> tuple[str, int, int]:
    """Suffix, width and height of a JPEG or PNG file, from its header alone. Raises RowError for anything else."""
    header = read_header(encoded)
    if header:
        return header.suffix, header.width, header.height
    try:
        with Image.open(io.BytesIO(encoded), formats=("JPEG", "PNG")) as picture:
            return SUFFIXES[picture.format or ""], picture.width, picture.height
    except Exception as error:  # Pillow's parsers raise many kinds on damaged headers; all mean the same here.
        raise RowError(f"not a JPEG or PNG file ({type(error).__name__})") from error


def _hint(names: NameIndex, path: str) -> str:
    """What to add where a path is not there and a like name is."""
    near = next((near for name in _spellings(path) if (near := names.near(name))), None)
    return f"; it has {near[:MAX_SHOWN]!r}" if near else ""


def _doubled(members: list[zipfile.ZipInfo], *, by_name: bool = True) -> frozenset[str]:
    """Names that stand for members of different content; twice the same member does no harm."""
    known: dict[str, tuple[int, int]] = {}
    signs = ((member.filename if by_name else "", (member.CRC, member.file_size)) for member in members)
    return frozenset(name for name, sign in signs if known.setdefault(name, sign) != sign)


def _limited(encoded: bytes, name: str) -> bytes:
    if len(encoded) > MAX_PICTURE_BYTES:
        raise RowError(f"{name} is larger than {MAX_PICTURE_BYTES // 2**20} MiB")
    return encoded


def is_plain(path: str) -> bool:
    """Whether a path can only lead to a file below a folder."""
    return len(path) <= MAX_PATH and not _FOREIGN.search(path) and ".." not in path.split("/")


def _spellings(path: str) -> tuple[str, ...]:
    """A row's path as it may be spelt in an archive. Raises RowError for a path that could leave its folder."""
    if not is_plain(path):
        raise RowError(f"path {path[:MAX_SHOWN]!r} is not a plain relative path")
    checked_text(path, "its path")
    plain = "/".join(part for part in path.split("/") if part not in ("", ".")) or "."
    return plain, plain.removeprefix("images/") if plain.startswith("images/") else f"images/{plain}"
