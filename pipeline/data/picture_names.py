"""Names of pictures as archives and folders spell them, found again by the name that a row gives.

One picture may be called by many names: with backslashes (a zip made on Windows), with `./` in front, with accents in one
character or in two (macOS takes them apart), or with the bytes of UTF-8 read as the old code page of zip files. All have one
normal form.
"""

import unicodedata
from collections.abc import Collection
from functools import cached_property
from urllib.parse import unquote


class NameIndex:
    """The names of an archive or a folder. What is already normal is looked up as it is, so that a sound corpus costs nothing."""

    def __init__(self, names: Collection[str]) -> None:
        """`names` as they stand there; a set or mapping."""
        self._names = names

    def spelt(self, name: str) -> list[str]:
        """The name itself where it is there, else all names of its normal form. A directory of an archive is no picture."""
        if name in self._names:
            return [name]
        form = normal(name)
        return [form] if form in self._names else self._irregular.get(form, [])

    def near(self, name: str) -> str | None:
        """A name that a row may have meant but does not say: in other case, with spaces or `%20`, of another kind of file."""
        return self._by_likeness.get(_likeness(name))

    @cached_property
    def _irregular(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for name in self._names:
            if name.endswith("/") or (name.isascii() and "\\" not in name and "./" not in name and "//" not in name):
                continue
            for form in {normal(name), normal(_undone_cp437(name))} - {name}:
                found.setdefault(form, []).append(name)
        return found

    @cached_property
    def _by_likeness(self) -> dict[str, str]:
        found: dict[str, str] = {}
        for name in self._names:
            if not name.rpartition("/")[2].startswith("."):
                # The first by alphabet: a folder lists its files in any order, and reasons should repeat.
                like = _likeness(name)
                found[like] = min(name, found.get(like, name))
        return found


def normal(name: str) -> str:
    """The form in which names are compared: slashes, no empty or `.` parts, accents in one character."""
    parts = (part for part in name.replace("\\", "/").split("/") if part not in ("", "."))
    return unicodedata.normalize("NFC", "/".join(parts))


def _undone_cp437(name: str) -> str:
    """A name that was UTF-8 and was read as code page 437, as zip files without a mark are; other names as they are."""
    try:
        return name.encode("cp437").decode("utf-8")
    except UnicodeError:
        return name


def _likeness(name: str) -> str:
    """What alike names share: the path in small letters, without its suffix."""
    folder, slash, file = unquote(normal(name)).replace("\ufeff", "").strip().casefold().rpartition("/")
    return folder + slash + (file.rpartition(".")[0] or file)
