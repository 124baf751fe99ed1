"""Files that are whole or absent, fingerprints of what went in, and the manifest that says a stage is done.

A stage writes its files aside, renames them, and writes `manifest.json` last: a folder with a manifest is complete.
"""

import dataclasses
import hashlib
import json
import os
import shutil
import tempfile
import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path

from pipeline.errors import DataError

MANIFEST_NAME = "manifest.json"
_CHUNK_BYTES = 1 << 20
_UMASK_LOCK = threading.Lock()


def canonical_json(value: object) -> str:
    """One text for one value: sorted keys, no spaces; dataclasses, enums, tuples, sets and paths become plain JSON.

    Raises:
        TypeError: the value holds something without a stable text form (a function, an array).
    """
    return json.dumps(_plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def fingerprint(value: object) -> str:
    """The sha256 (hex) of a value's canonical JSON: equal settings have equal fingerprints in every process."""
    return hashlib.sha256(_encoded(value)).hexdigest()


def file_digest(path: Path) -> str:
    """The sha256 (hex) of a file's bytes, read in pieces."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def tree_digest(folder: Path) -> str:
    """The sha256 (hex) over sorted (relative path, size, sha256) of all files below a folder, its manifest left out."""
    digest = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.is_file()):
        name = path.relative_to(folder).as_posix()
        if name != MANIFEST_NAME:
            digest.update(_encoded([name, path.stat().st_size, file_digest(path)]))
    return digest.hexdigest()


def _encoded(value: object) -> bytes:
    """Canonical JSON as bytes, of file names that are no UTF-8 too: Python reads their bytes as lone surrogates."""
    return canonical_json(value).encode("utf-8", "surrogatepass")


def write_atomic(path: Path, data: bytes | str) -> None:
    """Write a file that is either whole or absent: aside, fsync, rename, fsync of the folder. Text is UTF-8."""
    path.parent.mkdir(parents=True, exist_ok=True)
    handle, aside = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".aside", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data.encode() if isinstance(data, str) else data)
            file.flush()
            os.fchmod(file.fileno(), 0o666 & ~_umask())
            os.fsync(file.fileno())
        os.replace(aside, path)
    except BaseException:
        Path(aside).unlink(missing_ok=True)
        raise
    _sync_folder(path.parent)


@contextmanager
def atomic_folder(target: Path) -> Iterator[Path]:
    """A fresh folder beside `target` that takes its place when the block ends well, and is deleted when it does not."""
    target = Path(os.path.abspath(target))
    target.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(target)
    aside = Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".aside", dir=target.parent))
    aside.chmod(0o777 & ~_umask())
    try:
        yield aside
        _swap(aside, target)
    except BaseException:
        shutil.rmtree(aside, ignore_errors=True)
        raise


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """What a finished stage says of itself; written last, so that its presence means the folder is whole.

    `inputs` and `outputs` map names to fingerprints, `counts` names to numbers of things, `run_id` is the tracker's run.
    """

    stage: str
    fingerprint: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    outputs: Mapping[str, str] = field(default_factory=dict)
    counts: Mapping[str, int] = field(default_factory=dict)
    run_id: str = ""

    def write(self, folder: Path) -> None:
        """Write `manifest.json` into the folder, whole or not at all."""
        write_atomic(folder / MANIFEST_NAME, json.dumps(_plain(self), indent=1, sort_keys=True) + "\n")

    @staticmethod
    def read(folder: Path) -> "Manifest | None":
        """The manifest of a folder; None where there is none.

        Raises:
            DataError: the file is there but is no manifest.
        """
        path = folder / MANIFEST_NAME
        try:
            return Manifest(**json.loads(path.read_text(encoding="utf-8")))
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (ValueError, TypeError) as error:
            raise DataError(f"{path}: not a manifest ({error}); remove the file so that the stage runs again") from error


def _plain(value: object) -> object:
    """The value in JSON's own types. Dataclasses carry their type's name: two types with equal fields stay apart."""
    if isinstance(value, Enum):
        return value.name
    if value is None or isinstance(value, bool | int | float | str):
        return value
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return _plain_dataclass(value)
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    if isinstance(value, Mapping):
        return {str(_plain(key)): _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    if isinstance(value, set | frozenset):
        return sorted((_plain(item) for item in value), key=canonical_json)
    if isinstance(value, bytes):
        return hashlib.sha256(value).hexdigest()
    raise TypeError(f"{type(value).__name__} has no canonical JSON form")


def _plain_dataclass(value: object) -> dict[str, object]:
    """The fields by name; a `type` entry is added except for the manifest itself, whose file holds only its fields."""
    names = [item.name for item in dataclasses.fields(value)]  # type: ignore[arg-type]
    plain = {name: _plain(getattr(value, name)) for name in names}
    return plain if isinstance(value, Manifest) else {"type": type(value).__name__, **plain}


def _umask() -> int:
    """The process's umask; reading it means setting it for a moment, and checkpoints are written in a thread."""
    with _UMASK_LOCK:
        mask = os.umask(0o022)
        os.umask(mask)
    return mask


def _sync_folder(folder: Path) -> None:
    """Make a rename durable: a power cut after this keeps the new name."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _remove_leftovers(target: Path) -> None:
    """Delete what earlier, killed runs left beside the target, putting back a target that was moved away but not replaced."""
    retired = target.with_name(f".{target.name}.retired")
    if retired.exists() and not target.exists():
        os.replace(retired, target)
    shutil.rmtree(retired, ignore_errors=True)
    for leftover in target.parent.glob(f".{target.name}.*.aside"):
        shutil.rmtree(leftover, ignore_errors=True)


def _swap(aside: Path, target: Path) -> None:
    """Put the finished folder in the target's place; a kill between the two renames is mended by the next run."""
    for path in aside.rglob("*"):
        if path.is_file():
            _sync_file(path)
    retired = target.with_name(f".{target.name}.retired")
    if target.exists():
        os.replace(target, retired)
    os.replace(aside, target)
    _sync_folder(target.parent)
    shutil.rmtree(retired, ignore_errors=True)


def _sync_file(path: Path) -> None:
    """Flush one file's bytes to the disk."""
    with path.open("rb") as file:
        os.fsync(file.fileno())
