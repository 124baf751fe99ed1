"""Files that appear whole or not at all: written under another name, made durable, then renamed."""

import glob
import os
import secrets
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

SUFFIX = "part"


@contextmanager
def file_aside(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; renamed onto it at the end, removed on an error.

    What a killed writer of the same target left is swept away. The name is drawn anew each time, so that a writer that was
    thought dead can never write into this one's file: its own rename fails instead.
    """
    for leftover in target.parent.glob(f".{glob.escape(target.name)}.*.{SUFFIX}"):
        leftover.unlink(missing_ok=True)
    aside = target.with_name(f".{target.name}.{secrets.token_hex(4)}.{SUFFIX}")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
