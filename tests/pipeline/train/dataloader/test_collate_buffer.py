"""What travels between processes in one block arrives as it was sent, and costs one descriptor."""

import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from unittest import mock

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.errors import ConfigError, DataError
from pipeline.lock import hold
from pipeline.recipe import Recipe
from pipeline.train.dataloader import shared_memory
from pipeline.train.dataloader.collate_buffer import BufferedDataset, load_ahead, unwrap, wrap
from pipeline.train.dataloader.shared_memory import InFlight
from tests.faults import is_running, killed_with_a_lock
from tests.pipeline.train.test_step_metrics import work_of

ROOM = 2**30


class Sheets(Dataset[tuple[torch.Tensor, ...]]):
    """Items of very many small tensors."""

    def __getitem__(self, number: int) -> tuple[torch.Tensor, ...]:
        return tuple(torch.full((3,), number * 1000 + place) for place in range(400))


@contextmanager
def few_descriptors(spare: int) -> Iterator[None]:
    """No more open files than now and a few, for this process and those that it starts."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + spare, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def same(found: object, expected: object) -> bool:
    if isinstance(expected, torch.Tensor):
        return isinstance(found, torch.Tensor) and found.dtype == expected.dtype and torch.equal(found, expected)
    if hasattr(expected, "__slots__"):
        return type(found) is type(expected) and all(
            same(getattr(found, name), getattr(expected, name)) for name in type(expected).__slots__
        )
    if isinstance(expected, tuple | list):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))  # type: ignore[arg-type]
    return found == expected


def test_a_loader_that_outlives_its_rank_keeps_no_folder_locked(tmp_path: Path) -> None:
    """It lives on for seconds; the next start of the training must not wait for it."""

    def begin() -> object:
        works = load_ahead(Sheets(), range(100), 1, limit=ROOM)
        return works, next(works)

    loader = killed_with_a_lock(tmp_path / ".train.lock", begin)
    with (tmp_path / ".train.lock").open("w") as lock:
        hold(lock, busy="the loader holds it")
    assert is_running(loader)
    os.kill(loader, signal.SIGKILL)


def test_a_step_s_work_arrives_as_it_was_sent(model_folder: Path, recipe: Recipe) -> None:
    work, _, _ = work_of(model_folder, recipe)
    assert len(work.chunks) > 1 and any(chunk.full.pixels for chunk in work.chunks)
    assert same(unwrap(wrap(work)), work)
    assert not same(unwrap(wrap(work)), work_of(model_folder, recipe)[0].chunks[0])


@pytest.mark.parametrize("dtype", [torch.bool, torch.uint8, torch.int32, torch.float64, torch.complex128, torch.bfloat16])
def test_any_type_and_shape_may_follow_any_other(dtype: torch.dtype) -> None:
    tensors = [torch.ones(5, dtype=torch.uint8), torch.arange(6).reshape(2, 3).to(dtype), torch.tensor(1).to(dtype)]
    tensors += [torch.zeros((0, 3), dtype=dtype), torch.arange(12).reshape(3, 4).t().to(dtype)]
    assert same(unwrap(wrap(tensors)), tensors)
    assert unwrap(wrap("nothing to pack")) == "nothing to pack"


def test_an_error_arrives_as_itself() -> None:
    error = DataError("row 3 is no row")
    assert unwrap(wrap(error)) is error


def test_many_tensors_read_ahead_need_few_descriptors() -> None:
    with few_descriptors(spare=60):
        buffered = BufferedDataset(Sheets(), range(8), InFlight(ROOM))
        loader = DataLoader(buffered, batch_size=None, sampler=range(8), num_workers=1, prefetch_factor=4, timeout=60)
        for number, buffer in enumerate(loader):
            assert [int(tensor[0]) for tensor in unwrap(buffer)] == [number * 1000 + place for place in range(400)]


class Deadly(Dataset[torch.Tensor]):
    """Its items kill the process that makes them, as a full file system of shared memory does."""

    def __getitem__(self, number: int) -> torch.Tensor:
        os.kill(os.getpid(), signal.SIGBUS)
        return torch.zeros(1)


def test_a_step_that_finds_no_room_says_so_instead_of_waiting() -> None:
    """A loader's process may not write more than 1,000 bytes into a file, shared memory included."""
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, before[1]))
    try:
        item = next(load_ahead(Sheets(), range(2), num_workers=1, limit=ROOM))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert isinstance(item, ConfigError) and "/dev/shm: no room for a step of 0 MiB" in str(item)
    assert "--shm-size" in str(item) and "\n" not in str(item)


def test_shared_memory_is_looked_at_before_it_is_written() -> None:
    full = os.statvfs_result((4096, 4096, 10, 1, 1, 0, 0, 0, 0, 255))
    with mock.patch.object(shared_memory.os, "statvfs", return_value=full):
        item = next(load_ahead(Sheets(), range(1), num_workers=1, limit=ROOM))
        assert same(next(load_ahead(Sheets(), range(1), num_workers=0, limit=ROOM)), Sheets()[0]), "nothing is sent"
    assert isinstance(item, ConfigError) and "0 MiB are free" in str(item)


def test_a_loader_process_that_died_is_one_line() -> None:
    with pytest.raises(ConfigError, match=r"a loader process died .*--shm-size") as caught:
        next(load_ahead(Deadly(), range(1), num_workers=1, limit=ROOM))
    assert "\n" not in str(caught.value)


def test_what_is_sent_between_processes_arrives_in_order() -> None:
    found = list(load_ahead(Sheets(), range(3, 9), num_workers=2, limit=ROOM))
    assert all(same(item, Sheets()[number]) for item, number in zip(found, range(3, 9), strict=True))
