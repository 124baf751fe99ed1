"""The first candidates of each query ranked anew by a reranker; ties and all other candidates keep their order behind them."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Protocol

import numpy as np

from eval.gold_ranks import GoldRanks, best_of_its_tie, counts
from eval.metrics import TIE_TOLERANCE, pool_scores
from eval.results import Setting
from eval.retrieval_example import RetrievalExample
from eval.retrieval_set import SEED, DatasetResult, RetrievalSet, file_name
from eval.subject import Subject, newest_checkpoint
from pipeline.data.mmeb_eval import EvalSet
from pipeline.sample import Side
from pipeline.templates import Templates


class Scorer(Protocol):
    """What ranks anew (pipeline.reranker)."""

    @property
    def fingerprint(self) -> str:
        """Names weights and words."""

    @property
    def templates(self) -> Templates:
        """How it reads the sides of a dataset's pairs."""

    def scores(self, pairs: Sequence[tuple[Side, Side]]) -> np.ndarray:
        """How well each candidate answers its query, (N,) float32, higher for better."""


def reranked_place(scores: np.ndarray, top: int, rescored: Callable[[list[int]], np.ndarray]) -> tuple[int, int]:
    """Of one query: how many candidates stand before the right one, and how many are tied with it, itself among them.

    `scores` (P,) float32 are those of its pool, the right one first; `rescored` tells the reranker's of some places. The right
    one stands behind those that it ties with: which of a tie are among the first `top`, no rule decides in its favour.
    """
    row = scores[None]
    better, tied = counts(row, best_of_its_tie(row, row[:, :1]))[:, 0].tolist()
    place = better + tied - 1
    if place >= top:
        before = max(better, top)
        return before, better + tied - before
    order = 1 + np.argsort(-scores[1:], kind="stable")
    first = np.insert(order, place, 0)[:top]
    again = rescored(first.tolist())
    gap = again - again[place]
    is_level = np.abs(gap) <= TIE_TOLERANCE
    return int((gap > TIE_TOLERANCE).sum() + is_level[:better].sum()), int(is_level[better : place + 1].sum())


@dataclass(frozen=True, slots=True, kw_only=True)
class RerankedSet(RetrievalSet):
    """A set whose first `top` candidates of each query a reranker ranks anew."""

    reranker: Scorer
    top: int

    @classmethod
    def of(cls, each: RetrievalSet, reranker: Scorer, top: int) -> "RerankedSet":
        """A set, with a reranker."""
        own = {field.name: getattr(each, field.name) for field in fields(RetrievalSet)}
        return cls(**own, reranker=reranker, top=top)

    @property
    def merged_name(self) -> str:
        """A file beside that of the ranking alone."""
        return file_name(blank=self.blank, protocol=self.protocol.name).replace(".json", "-reranked.json")

    @property
    def settings(self) -> dict[str, Setting]:
        """Those of a set, who ranks anew, and how many."""
        own: dict[str, Setting] = {"blank": self.blank, "protocol": self.protocol.name, "seed": SEED}
        return {**own, "reranker": self.reranker.fingerprint, "top": self.top}

    def _examples(self, eval_set: EvalSet, queries: np.ndarray, candidates: np.ndarray) -> tuple[RetrievalExample, ...]:
        """None: those of the set itself stand in its own result."""
        return ()

    def _ranks(self, eval_set: EvalSet, queries: np.ndarray, candidates: np.ndarray) -> GoldRanks:
        """Each rank scores a share of the queries."""
        pools = [self._pool(pool, len(candidates)) for pool in eval_set.pools]
        ranks, templates = self.how.ranks, self.reranker.templates
        own = {}
        for number in range(ranks.rank, len(queries), ranks.count):
            pool = pools[number]

            def rescored(places: list[int], number: int = number, pool: Sequence[int] = pool) -> np.ndarray:
                query = templates.query(eval_set.queries[number], self.dataset)
                found = [templates.candidate(eval_set.candidates[pool[place]], self.dataset) for place in places]
                return self.reranker.scores([(query, candidate) for candidate in found])

            own[number] = reranked_place(pool_scores(queries[number], candidates, pool), self.top, rescored)
        places = {number: place for part in ranks.gather(own) for number, place in part.items()}
        better, tied = zip(*(places[number] for number in range(len(queries))), strict=True)
        return GoldRanks(better=better, tied=tied, pool=tuple(map(len, pools)))

    def _pool(self, pool: Sequence[int], num_candidates: int) -> Sequence[int]:
        """A query's own candidates, or all of the set, the right one first."""
        if self.protocol.pools != "set":
            return pool
        return [pool[0], *(place for place in range(num_candidates) if place != pool[0])]


def reranked_sets(sets: Sequence[RetrievalSet], chosen: Subject, place: Path, top: int) -> list[RerankedSet]:
    """The sets with the reranker of a checkpoint, on the device and in the number type of the model that embeds.

    Raises ConfigError for a model that was not trained to rerank.
    """
    from pipeline.reranker import Reranker  # brings torch in

    reranker = Reranker.of(replace(chosen, folder=newest_checkpoint(place), recipe=None, preset=None, base=None).load())
    return [RerankedSet.of(each, reranker, top) for each in sets]


@dataclass(frozen=True, slots=True, kw_only=True)
class BothRanks:
    """Of each query: candidates before the right one and tied with it, by embeddings and after the reranker, and its pool."""

    better: tuple[int, ...]
    tied: tuple[int, ...]
    reranked_better: tuple[int, ...]
    reranked_tied: tuple[int, ...]
    pool: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class BothOfSet:
    """A set's ranks."""

    name: str
    ranks: BothRanks


def both_ranks(before: Iterable[DatasetResult], after: Iterable[DatasetResult]) -> list[BothOfSet]:
    """Ranks of the same sets by embeddings and after the reranker."""
    return [
        BothOfSet(
            name=one.name,
            ranks=BothRanks(
                better=one.ranks.better,
                tied=one.ranks.tied,
                reranked_better=other.ranks.better,
                reranked_tied=other.ranks.tied,
                pool=one.ranks.pool,
            ),
        )
        for one, other in zip(before, after, strict=True)
    ]
