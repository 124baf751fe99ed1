"""Files that appear whole or not at all: written under another name, made durable, then renamed."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def file_aside(target: Path) -> Iterator[Path]:
    """A path beside `target` to write to; renamed onto it at the end, removed on an error."""
    aside = target.with_name(f".{target.name}.part")
    try:
        yield aside
        with aside.open("rb") as file:
            os.fsync(file.fileno())
        aside.replace(target)
    finally:
        aside.unlink(missing_ok=True)
