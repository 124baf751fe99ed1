"""How ranks agree, with threads in the place of ranks and one store between them."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from unittest import mock

from torch.distributed import HashStore

from pipeline.train import collectives
from pipeline.train.collectives import rank_0_first


def test_rank_0_goes_first_every_time() -> None:
    store, here, said = HashStore(), threading.local(), list[str]()

    def rank(number: int) -> None:
        here.rank = number
        for turn in range(3):
            with rank_0_first():
                time.sleep(0.1 if number == 0 else 0.0)
                said.append(f"{number} in {turn}")

    class Turns:
        """A count for each rank: ranks are processes, and each has its own."""

        def __next__(self) -> int:
            here.turn = getattr(here, "turn", -1) + 1
            return int(here.turn)

    with (
        mock.patch.object(collectives, "_TURNS", Turns()),
        mock.patch.object(collectives, "_get_default_store", return_value=store),
        mock.patch.object(collectives.dist, "get_rank", side_effect=lambda: here.rank),
        ThreadPoolExecutor(3) as pool,
    ):
        list(pool.map(rank, (2, 1, 0)))
    for turn in range(3):
        first, *others = [line for line in said if line.endswith(f"in {turn}")]
        assert first == f"0 in {turn}" and len(others) == 2
