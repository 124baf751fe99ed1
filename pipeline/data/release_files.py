"""Downloaded files: which are passed over, and what to say of one that cannot be used as a whole.

The cause that users meet most often is named.
"""

from collections.abc import Iterator
from pathlib import Path

from pipeline.errors import DataError

_HEAD_BYTES = 256
_LFS_POINTER = b"version https://git-lfs"
_WEB_PAGE = (b"<!doctype html", b"<html")

_FOREIGN = frozenset({"__MACOSX", "Thumbs.db", "desktop.ini"})
"""What macOS and Windows put beside files of others; their further ones (`._name`, `.DS_Store`) are hidden files."""


def visible(folder: Path, pattern: str) -> Iterator[Path]:
    """What a folder holds under a pattern, without hidden files and those that an operating system put there."""
    return (path for path in folder.glob(pattern) if not path.name.startswith(".") and path.name not in _FOREIGN)


def unusable(path: Path, complaint: str) -> DataError:
    """The error for a file of which `complaint` says what is wrong; a pointer of Git LFS and a web page are called that."""
    return DataError(f"{path}: {_cause(path) or complaint + '; download it again'}")


def _cause(path: Path) -> str:
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD_BYTES).lstrip().lower()
    except OSError:
        return ""
    if head.startswith(_LFS_POINTER):
        return "is a pointer of Git LFS, not the file itself; run git lfs pull in its folder"
    if head.startswith(_WEB_PAGE):
        return "is a web page, not the file itself; download it again, signed in where the site asks for it"
    return ""


def one_line(error: BaseException) -> str:
    """The first line of a library's message, or its kind where it has none."""
    return str(error).split("\n", 1)[0].strip(" .") or type(error).__name__
