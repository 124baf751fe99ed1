"""What grows with the number of sides is on disk, leaves nothing behind, and is no fuller in memory for many than for few."""

import errno
import os
import tracemalloc
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from pipeline.encode import scratch as scratch_module
from pipeline.encode import share
from pipeline.encode.encode import encode
from pipeline.encode.scratch import scratch
from pipeline.encode.share import Encoding
from pipeline.errors import PipelineError
from pipeline.sample import Side
from tests.eval.fakes import FakeModel

FEW, MANY = 1_000, 8_000


class Texts:
    """Distinct ones, in parts, each once more at the end of its part."""

    def __init__(self, count: int) -> None:
        self.count = count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int, /) -> Side:
        return Side(text=f"{number - number % 10 if number % 10 == 9 else number}")


class Numbers(FakeModel):
    def embed_batch(self, sides: Sequence[Side]) -> np.ndarray:
        return np.array([[int(side.text), -int(side.text)] for side in sides], dtype=np.float32)


def held(count: int, how: Encoding) -> int:
    """The most that is allocated at once for so many sides."""
    tracemalloc.start()
    vectors = encode(Numbers(), Texts(count), what="a", how=how)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert isinstance(vectors, np.memmap)
    assert vectors[:, 0].tolist() == [int(Texts(count)[number].text) for number in range(count)]
    return peak


def test_many_sides_hold_no_more_than_few(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing kept, and all kept. A key alone has 32 bytes; the names of blocks, small here, have five a side."""
    monkeypatch.setattr("pipeline.encode.encode.IN_MEMORY_BYTES", 0)
    monkeypatch.setattr(scratch_module, "PART_ROWS", 500)
    monkeypatch.setattr(share, "BLOCK_ROWS", 500)
    monkeypatch.setitem(scratch.__kwdefaults__, "in_memory", 0)
    for what in ("nothing kept", "all kept"):
        few, many = (held(count, Encoding(cache=tmp_path / str(count))) for count in (FEW, MANY))
        assert many - few < 8 * (MANY - FEW), (what, few, many)


def test_a_large_array_is_in_a_file_that_no_name_leads_to(tmp_path: Path) -> None:
    """So that it ends with the process, whatever ends that."""
    small, large = (scratch(tmp_path, count, np.int32) for count in (10, 100_000))
    assert not isinstance(small, np.memmap) and isinstance(large, np.memmap)
    large[-1] = 3
    assert large.sum() == 3 and list(tmp_path.iterdir()) == []


def test_a_full_disk_is_said_before_anything_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*given: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    complaint = rf"{tmp_path}: no room for a mapped file of 8 MiB \(No space left on device\); make some"
    with pytest.raises(PipelineError, match=complaint):
        scratch(tmp_path, (1 << 20, 2), np.float32)
