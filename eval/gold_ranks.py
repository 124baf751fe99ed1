"""Where each query's right candidate stands: among how many better and tied ones. In blocks, so that memory does not grow."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from eval.metrics import TIE_TOLERANCE, pool_scores
from eval.ranking import Ranking, measures
from pipeline.data.atomic_write import atomic_file

BLOCK_SCORES = 1 << 24


@dataclass(frozen=True, slots=True, kw_only=True)
class GoldRanks:
    """Of each query: candidates better than the right one, those tied with it (itself among them), and those in the pool."""

    better: tuple[int, ...] = ()
    tied: tuple[int, ...] = ()
    pool: tuple[int, ...] = ()

    def measures(self) -> dict[str, np.ndarray]:
        """Each metric of every query (Q,) float64. With one right candidate, recall is the hit."""
        known: dict[tuple[int, int], dict[str, float]] = {}
        places = list(zip(self.better, self.tied, strict=True))
        for place in places:
            if place not in known:
                known[place] = measures(Ranking.of_one(*place))
        return {name: np.array([known[place][name] for place in places]) for name in known[places[0]]}

    def chance(self) -> dict[str, float]:
        """Each metric of guessing: of a model that ties everything."""
        guessed = GoldRanks(better=(0,) * len(self.pool), tied=self.pool, pool=self.pool).measures()
        return {name: float(values.mean()) for name, values in guessed.items()}


def ranks_in_rows(queries: np.ndarray, candidates: np.ndarray, pools: Sequence[Sequence[int]]) -> GoldRanks:
    """Ranks in each query's own pool, whose first candidate is the right one. Embeddings are (Q, D) and (C, D)."""
    found = []
    for query, pool in zip(queries, pools, strict=True):
        scores = pool_scores(query, candidates, pool)[None]
        found.append(counts(scores, best_of_its_tie(scores, scores[:, :1]))[:, 0])
    better, tied = np.stack(found, axis=1).tolist()
    return GoldRanks(better=tuple(better), tied=tuple(tied), pool=tuple(map(len, pools)))


def ranks_in_set(queries: np.ndarray, candidates: np.ndarray, golds: Sequence[int]) -> GoldRanks:
    """Ranks among all candidates (C, D), of which `golds` (Q,) are the right ones."""
    pairs = zip(queries, golds, strict=True)
    right = np.array([pool_scores(query, candidates, [gold])[0] for query, gold in pairs], dtype=np.float32)[:, None]
    step = max(1, BLOCK_SCORES // len(queries))
    blocks = [slice(start, start + step) for start in range(0, len(candidates), step)]
    top = np.max([best_of_its_tie(queries @ candidates[block].T, right) for block in blocks], axis=0)
    better, tied = np.sum([counts(queries @ candidates[block].T, top) for block in blocks], axis=0).tolist()
    return GoldRanks(better=tuple(better), tied=tuple(tied), pool=(len(candidates),) * len(queries))


def best_of_its_tie(scores: np.ndarray, right: np.ndarray) -> np.ndarray:
    """The highest of scores (Q, C) that the right one's (Q, 1) ties with or beats, (Q, 1): where its group of ties begins."""
    tied = np.where(scores - np.float32(TIE_TOLERANCE) <= right, scores, -np.inf)
    return tied.max(axis=1, keepdims=True)


def counts(scores: np.ndarray, top: np.ndarray) -> np.ndarray:
    """How many of scores (Q, C) are better than `top` (Q, 1), and how many tied with it: (2, Q) int64."""
    tied = (scores <= top) & (scores >= top - np.float32(TIE_TOLERANCE))
    return np.stack([(scores > top).sum(axis=1), tied.sum(axis=1)])


class Ranks(Protocol):
    """A dataclass of numbers, one for each query."""

    __dataclass_fields__: ClassVar[dict[str, Any]]

    @property
    def pool(self) -> tuple[int, ...]:
        """Candidates of each query."""


class Ranked(Protocol):
    """A set with its ranks."""

    @property
    def name(self) -> str:
        """Of the set."""

    @property
    def ranks(self) -> "Ranks":
        """One for each query."""


def write_ranks(sets: Iterable[Ranked], path: Path) -> None:
    """Write ranks as parquet, a row for each query: its set and number there, and what its ranks say of it."""
    tables = [
        pa.table(
            {
                "dataset": pa.array([each.name] * len(each.ranks.pool), pa.string()),
                "query": pa.array(range(len(each.ranks.pool)), pa.int32()),
                **{part.name: pa.array(getattr(each.ranks, part.name), pa.int32()) for part in fields(each.ranks)},
            }
        )
        for each in sets
    ]
    with atomic_file(path) as aside:
        pq.write_table(pa.concat_tables(tables), aside)
