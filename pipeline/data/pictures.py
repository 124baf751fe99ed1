"""Encoded pictures by the paths that rows give, straight from a zip or from a folder; nothing is unpacked.

A path comes from a downloaded file, so it is not trusted: one that leaves its archive or folder is refused.
"""

import io
import re
import stat
import struct
import zipfile
import zlib
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path, PurePosixPath
from typing import Protocol

from PIL import Image

from pipeline.data.picture_header import read_header
from pipeline.data.reject import RowError
from pipeline.errors import DataError

MAX_PICTURE_BYTES = 128 * 2**20
"""A picture file larger than this is refused unread: a zip member may claim any size."""

KEPT_PICTURES = 16
"""Captions and questions about one picture stand next to each other, so the last few are kept."""

SUFFIXES = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Formats that shards hold. MPO is what Pillow calls a JPEG with a second picture behind it."""

_ARCHIVE_ERRORS = (zipfile.BadZipFile, zlib.error, struct.error, OSError, EOFError, ValueError, RuntimeError)


def untouched(encoded: bytes) -> bytes:
    """Pass a picture on as it is: the preparation that does nothing."""
    return encoded


class PictureSource(Protocol):
    """Where the pictures of a dataset lie."""

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError."""


class ZipPictures:
    """Members of one zip archive, named with or without a leading `images/`."""

    def __init__(self, archive: Path) -> None:
        """Raises DataError when the file is no zip archive."""
        self.archive = archive
        try:
            self._zip = zipfile.ZipFile(archive)
        except _ARCHIVE_ERRORS as error:
            raise DataError(f"{archive}: not a readable zip archive ({error}); download it again") from error

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError naming archive and path."""
        for name in _spellings(path):
            try:
                member = self._zip.getinfo(name)
            except KeyError:
                continue
            return self._read(member)
        raise RowError(f"{self.archive.name} has no member {path}")

    def _read(self, member: zipfile.ZipInfo) -> bytes:
        try:
            with self._zip.open(member) as file:
                encoded = file.read(MAX_PICTURE_BYTES + 1)
        except _ARCHIVE_ERRORS as error:
            raise RowError(f"{self.archive.name}: member {member.filename} is unreadable ({error})") from error
        return _limited(encoded, member.filename)


class FolderPictures:
    """Files below a folder, named with or without a leading `images/`. Links that its owner made are followed."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def read(self, path: str) -> bytes:
        """The encoded file that a row names. Raises RowError naming folder and path."""
        for name in _spellings(path):
            file = self.folder / name
            try:
                # A pipe or a device would block or never end.
                if not stat.S_ISREG(file.stat().st_mode):
                    continue
                with file.open("rb") as stream:
                    return _limited(stream.read(MAX_PICTURE_BYTES + 1), path)
            except (FileNotFoundError, NotADirectoryError):
                continue
            except OSError as error:
                raise RowError(f"{path} is unreadable in {self.folder} ({error.strerror})") from error
        raise RowError(f"{self.folder} has no file {path}")


def find_pictures(*places: Path) -> PictureSource:
    """The first of some places that exists: a zip archive or a folder. Raises DataError when there is none."""
    for place in places:
        if place.is_file():
            return ZipPictures(place)
        if place.is_dir():
            return FolderPictures(place)
    raise DataError(f"{places[0]}: missing, and rows name pictures in it; download it, or put the unpacked folder beside it")


class Pictures:
    """Prepared pictures of one dataset: found when first needed, each prepared once for rows that follow each other."""

    def __init__(self, *places: Path, prepare: Callable[[bytes], bytes] = untouched) -> None:
        """`places` as for `find_pictures`; `prepare` checks or changes the encoded bytes and may raise RowError."""
        self._places, self._prepare = places, prepare
        self._source: PictureSource | None = None
        self.read = lru_cache(maxsize=KEPT_PICTURES)(self._read)

    def forget(self) -> None:
        """Drop the kept pictures, so that what follows is the same whether or not anything was read before."""
        self.read.cache_clear()

    def _read(self, path: str) -> bytes:
        if self._source is None:
            self._source = find_pictures(*self._places)
        encoded = self._source.read(path)
        try:
            return self._prepare(encoded)
        except RowError as error:
            raise RowError(f"{path}: {error}") from error


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


def _limited(encoded: bytes, name: str) -> bytes:
    if len(encoded) > MAX_PICTURE_BYTES:
        raise RowError(f"{name} is larger than {MAX_PICTURE_BYTES // 2**20} MiB")
    return encoded


def _spellings(path: str) -> tuple[str, ...]:
    """A row's path as it may be spelt in an archive. Raises RowError for a path that could leave its folder."""
    if "\0" in path or "\\" in path or path.startswith("/") or re.match(r"[A-Za-z]:", path) or ".." in path.split("/"):
        raise RowError(f"path {path!r} is not a plain relative path")
    plain = str(PurePosixPath(path))
    return plain, plain.removeprefix("images/") if plain.startswith("images/") else f"images/{plain}"
