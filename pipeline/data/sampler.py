"""Data order as a pure function: which rows the global batch of a step reads.

Nothing here depends on ranks or workers, so a run resumed at step n on any number of ranks reads what the unbroken run would
have read. A dataset is read epoch by epoch in seeded permutations; a step never straddles two epochs of a dataset (the tail
that is too short for the step is dropped and comes back, reshuffled, in the next epoch), so no row repeats inside a batch.
"""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from pipeline.errors import ConfigError

RowNumbers = Sequence[int] | npt.NDArray[np.int64]


def generator(*parts: object) -> np.random.Generator:
    """A random generator that depends on nothing but the given words and numbers."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return np.random.Generator(np.random.PCG64(int.from_bytes(digest[:16], "little")))


def coin(probability: float, *parts: object) -> bool:
    """One Bernoulli draw that depends on nothing but the given words and numbers."""
    digest = hashlib.sha256("/".join(map(str, parts)).encode()).digest()
    return int.from_bytes(digest[:8], "little") < probability * 2.0**64


def seed_of(*parts: object) -> int:
    """A number of 56 bits that depends on nothing but the given words and numbers."""
    return int.from_bytes(hashlib.sha256("/".join(map(str, parts)).encode()).digest()[:7], "little")


@dataclass(frozen=True, slots=True)
class Draw:
    """Rows of the corpus that one step reads: `pairs` in one-dataset runs, and `outside` conversations."""

    pairs: tuple[int, ...]
    outside: tuple[int, ...]


class Stream:
    """Endless batches over some datasets: `runs` runs of `run_length` rows a step, each run from one dataset."""

    def __init__(
        self, rows: Mapping[str, RowNumbers], shares: Mapping[str, float], *, runs: int, run_length: int, seed: int
    ) -> None:
        """`rows` are row numbers by dataset, `shares` relative weights. Raises ConfigError when a step cannot be filled."""
        self.names = sorted(name for name in rows if len(rows[name]) and shares.get(name, 0.0) > 0.0)
        self.rows = {name: np.asarray(rows[name], dtype=np.int64) for name in self.names}
        self.runs, self.run_length, self.seed = runs, run_length, seed
        self.room = np.array([len(self.rows[name]) // run_length for name in self.names])
        if self.room.sum() < runs:
            raise ConfigError(
                f"mixture: {runs} runs of {run_length} different rows a step do not fit the data "
                f"({sum(map(len, self.rows.values()))} rows in {len(self.names)} datasets); lower pairs, outside or sub_batch"
            )
        share = np.array([shares[name] for name in self.names], dtype=np.float64)
        self.share = np.where(self.room > 0, share, 0.0)
        self._cursors: list[np.ndarray] = [np.zeros((len(self.names), 2), dtype=np.int64)]
        self._orders: dict[int, tuple[int, npt.NDArray[np.int64]]] = {}

    def parts(self) -> dict[str, float]:
        """What part of the rows each dataset gives on average, as long as none runs out within a step."""
        return dict(zip(self.names, (self.share / self.share.sum()).tolist(), strict=True)) if self.share.any() else {}

    def at(self, step: int) -> list[int]:
        """Row numbers of a step, run after run."""
        cursors, counts = self._cursor(step), self._counts(step)
        taken: dict[int, list[int]] = {}
        for index in np.flatnonzero(counts):
            epoch, offset = _placed(cursors[index], counts[index] * self.run_length, len(self.rows[self.names[index]]))
            order = self._order(int(index), epoch)
            taken[int(index)] = order[offset : offset + counts[index] * self.run_length].tolist()
        runs = [part[i : i + self.run_length] for part in taken.values() for i in range(0, len(part), self.run_length)]
        return [row for position in generator(self.seed, "runs", step).permutation(len(runs)) for row in runs[position]]

    def _counts(self, step: int) -> np.ndarray:
        """How many runs each dataset gives to a step: drawn by share, never more than its rows allow."""
        draws, counts = generator(self.seed, "datasets", step).random(self.runs), np.zeros(len(self.names), dtype=np.int64)
        while len(draws):
            is_open = counts < self.room
            share = np.where(is_open, self.share, 0.0)
            chosen = _chosen(share if share.any() else is_open.astype(np.float64), draws)
            # The shares hold until a dataset is full.
            run = counts + (chosen[:, None] == np.arange(len(self.names))).cumsum(axis=0)
            full = np.flatnonzero(run[np.arange(len(chosen)), chosen] == self.room[chosen])
            number = full[0] + 1 if len(full) else len(draws)
            counts, draws = run[number - 1], draws[number:]
        return counts

    def _order(self, index: int, epoch: int) -> npt.NDArray[np.int64]:
        """The rows of a dataset as an epoch reads them; the last epoch's stay in memory, since a permutation takes all rows."""
        held, order = self._orders.get(index, (-1, None))
        if order is None or held != epoch:
            order = generator(self.seed, "epoch", self.names[index], epoch).permutation(self.rows[self.names[index]])
            self._orders[index] = epoch, order
        return order

    def _cursor(self, step: int) -> np.ndarray:
        """(epoch, offset) of each dataset before a step: a walk over counts, no data is touched; steps walked once are kept."""
        while len(self._cursors) <= step:
            counts = self._counts(len(self._cursors) - 1)
            before, after = self._cursors[-1], self._cursors[-1].copy()
            for index in np.flatnonzero(counts):
                need = counts[index] * self.run_length
                epoch, offset = _placed(before[index], need, len(self.rows[self.names[index]]))
                after[index] = epoch, offset + need
            self._cursors.append(after)
        return self._cursors[step]


def _chosen(share: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Datasets (n,) drawn by share from numbers (n,) in [0, 1): what `Generator.choice` would take, one after another."""
    bounds = (share / share.sum()).cumsum()
    chosen: np.ndarray = (bounds / bounds[-1]).searchsorted(draws, side="right")
    return chosen


def _placed(cursor: np.ndarray, need: int, size: int) -> tuple[int, int]:
    """Where a take of `need` rows begins: here, or at the next epoch when this one has too few left."""
    epoch, offset = int(cursor[0]), int(cursor[1])
    return (epoch, offset) if offset + need <= size else (epoch + 1, 0)


def deal(costs: Sequence[float], num_ranks: int) -> list[list[int]]:
    """Items dealt to ranks by cost: dearest first, each to the rank with the least so far. Returns item numbers of each rank."""
    loads, hands = [0.0] * num_ranks, [[] for _ in range(num_ranks)]  # type: ignore[var-annotated]
    for item in sorted(range(len(costs)), key=lambda item: (-costs[item], item)):
        rank = min(range(num_ranks), key=lambda rank: (loads[rank], rank))
        loads[rank] += costs[item]
        hands[rank].append(item)
    return [sorted(hand) for hand in hands]
