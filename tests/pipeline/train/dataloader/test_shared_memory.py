"""Steps on their way are bounded by their bytes, keep their order, and find out beforehand where there is no room for them."""

import multiprocessing
import os
import signal
import time
from collections.abc import Iterator
from contextlib import closing
from itertools import islice
from pathlib import Path

import pytest
import torch
from torch.utils.data import Dataset

from pipeline.errors import ConfigError
from pipeline.train import loop
from pipeline.train.dataloader import collate_buffer, shared_memory, step_dataset
from pipeline.train.dataloader.collate_buffer import load_ahead, wrap
from pipeline.train.dataloader.shared_memory import MIB, InFlight, Need, limit_of
from pipeline.train.node import Node
from pipeline.train.run_options import RunOptions, TrainingPaths
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import make
from tests.pipeline.train.test_loop import Notes, corpus_in_memory, train  # noqa: F401

SIZE = 1600
NODE = Node(name="here", num_ranks=2, cores=8, host_bytes=1, hosts=("here",) * 2)


class Sheets(Dataset[torch.Tensor]):
    """Items of 1,600 bytes; the first is made last."""

    def __getitem__(self, number: int) -> torch.Tensor:
        time.sleep(0.5 if number == 100 else 0)
        return torch.full((SIZE // 8,), number)


class Seen(InFlight):
    """Notes the most bytes that were ever on their way."""

    def __init__(self, limit: int) -> None:
        super().__init__(limit)
        self.most = multiprocessing.Value("q", 0)
        seen.append(self)

    def enter(self, turn: int, size: int) -> bool:
        found = super().enter(turn, size)
        self.most.value = max(self.most.value, self._counts[1])
        return found


seen: list[Seen] = []


@pytest.fixture
def impatient() -> Iterator[None]:
    """Who waits for longer than half a minute waits for ever."""

    def give_up(*_: object) -> None:
        raise AssertionError("nothing came")

    before = signal.signal(signal.SIGALRM, give_up)
    signal.alarm(30)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize(("limit", "most"), [(0, [1]), (SIZE, [1]), (int(3.5 * SIZE), [3]), (10**9, [8, 9])])
def test_bytes_on_their_way_stay_under_the_limit_and_items_in_order(
    monkeypatch: pytest.MonkeyPatch, limit: int, most: list[int]
) -> None:
    """Two processes that read four items ahead each, and a training that is slower than they."""
    monkeypatch.setattr(collate_buffer, "InFlight", Seen)
    found = []
    with closing(load_ahead(Sheets(), range(100, 116), 2, limit=limit)) as items:  # type: ignore[type-var]
        for item in items:
            time.sleep(0.06)
            found.append(item)
    assert [int(item[0]) for item in found] == list(range(100, 116)) and all(len(set(item.tolist())) == 1 for item in found)
    assert seen[-1].most.value in [number * SIZE for number in most]
    assert seen[-1]._counts[1] == 0, "all of it is used up"


def test_a_run_that_ends_early_does_not_wait_for_those_that_wait() -> None:
    items = load_ahead(Sheets(), range(50), 2, limit=SIZE)
    assert [int(item[0]) for item in islice(items, 2)] == [0, 1]
    begun = time.monotonic()
    items.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begun < 4, "torch ends a process that does not leave after five seconds"


def test_a_loader_whose_training_is_gone_goes_too() -> None:
    in_flight = InFlight(SIZE)
    in_flight._parent = os.getppid()
    assert in_flight.enter(0, SIZE), "its turn, and there is room"
    in_flight._parent = -1
    assert not in_flight.enter(1, SIZE)


def test_a_rank_s_limit_is_its_share_of_what_is_free_less_the_step_in_use(monkeypatch: pytest.MonkeyPatch) -> None:
    others = [Need(name="here", free=90 * MIB, size=20 * MIB), Need(name="there", free=30 * MIB, size=20 * MIB)]
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 100 * MIB)
    monkeypatch.setattr(shared_memory, "of_all_ranks", lambda own: [*own, *others])
    assert limit_of(NODE, 10 * MIB) == (45 - 10) * MIB, "90 MiB for two ranks"
    assert limit_of(NODE, 35 * MIB) == 10 * MIB
    with pytest.raises(
        ConfigError, match=r"/dev/shm of here: 90 MiB are free, and its 2 rank\(s\) need about 92 for two"
    ) as error:
        limit_of(NODE, 36 * MIB)
    assert all(word in str(error.value) for word in ("--shm-size=1g", "--ipc=host", "Slurm", "--workers 0"))
    others[1] = Need(name="there", free=10 * MIB, size=20 * MIB)
    with pytest.raises(ConfigError, match=r"/dev/shm of there: 10 MiB"):
        limit_of(NODE, 10 * MIB)


@pytest.mark.parametrize("step", [0, 3])
def test_a_step_s_bytes_are_known_before_it_is_read(monkeypatch: pytest.MonkeyPatch, model_folder: Path, step: int) -> None:
    """Those of pixels exactly; of everything else not too few."""
    _, dataset = make(model_folder, small_recipe())
    work = dataset.work(dataset.draw(step), step)
    assert 1 < dataset.step_bytes(step) / wrap(work).block.nbytes < 1.5
    monkeypatch.setattr(step_dataset, "TOKEN_BYTES", 0)
    assert dataset.step_bytes(step) == sum(stack.nbytes for chunk in work.chunks for stack in chunk.full.pixels) > 0


def test_a_run_without_room_ends_before_its_first_step(
    tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shared_memory, "free_bytes", lambda: 1000)
    monkeypatch.setattr(loop, "train_step", lambda *_: pytest.fail("a step was taken"))
    paths = TrainingPaths(shards=tmp_path, qa=None, model=model_folder, out=tmp_path)
    with pytest.raises(ConfigError, match=r"0 MiB are free, and its 1 rank\(s\) need"):
        train(paths, small_recipe(), Notes(), progress=lambda *_: None, options=RunOptions(num_workers=1))
