"""Arrays that grow with the number of sides: memory-mapped from files without a name, which go with the process however it ends.

What is mapped counts as resident where there is room, and is written out and dropped where others need it.
"""

import os
import tempfile
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import numpy.typing as npt

from pipeline.errors import PipelineError

SMALL_BYTES = 1 << 18
"""Arrays up to this size stay in memory: a file of its own takes as long as some hundred sides."""

PART_ROWS = 1 << 14
"""Rows that are in memory at a time."""


def scratch(
    folder: Path | None, shape: int | tuple[int, ...], dtype: npt.DTypeLike, *, in_memory: int = SMALL_BYTES
) -> np.ndarray:
    """Zeros in a file in a folder (None: that of temporary files), or, up to so many bytes, in memory.

    Raises PipelineError where there is no room for them.
    """
    size = np.dtype(dtype).itemsize * int(np.prod(shape))
    if size <= in_memory:
        return np.zeros(shape, dtype=dtype)
    with tempfile.TemporaryFile(dir=folder) as file:
        try:
            os.posix_fallocate(file.fileno(), 0, size)  # a page that finds no room later would kill the process
            return np.memmap(file, dtype=dtype, mode="r+", shape=shape)
        except OSError as error:
            what = f"a mapped file of {size / 2**20:.0f} MiB ({error.strerror})"
            raise PipelineError(f"{folder or tempfile.gettempdir()}: no room for {what}; make some") from error


def parts(count: int) -> Iterator[slice]:
    """So many rows, `PART_ROWS` at a time."""
    return (slice(start, min(start + PART_ROWS, count)) for start in range(0, count, PART_ROWS))


def filled(array: np.ndarray, values: Iterable[int]) -> np.ndarray:
    """The front of an array (N,), filled with at most N values."""
    count = 0
    for count, value in enumerate(values, start=1):
        array[count - 1] = value
    return array[:count]
