"""What travels between processes in one block arrives as it was sent, and costs one descriptor."""

import os
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from torch.utils.data import DataLoader, Dataset

from pipeline.errors import DataError
from pipeline.recipe import Recipe
from pipeline.train.parcel import Parcels, unwrap, wrap
from tests.pipeline.train.test_figures import work_of


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
        loader = DataLoader(Parcels(Sheets()), batch_size=None, sampler=range(8), num_workers=1, prefetch_factor=4, timeout=60)
        for number, parcel in enumerate(loader):
            assert [int(tensor[0]) for tensor in unwrap(parcel)] == [number * 1000 + place for place in range(400)]
