"""What a dataset's queries are ranked against: its distinct positives, and of each query those that are no negatives of it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from data_prep.negatives.nearest import Exclusions, Ints
from pipeline.data.shards import ShardIndex
from pipeline.sample import IMAGE_MARKER, Side
from pipeline.templates import Templates
from pipeline.train.dataloader.step_dataset import side_digest

POSITIVE = 1
"""The place of a positive among `Sample.sides`."""

_UNWORDED = Templates()

Seen = Callable[[int], None]
"""Called with the number of rows read so far."""


def embedded_digest(side: Side) -> int:
    """Equal for sides that have the same embedding: the words as they stand, and the pictures."""
    return side_digest(Side(text=side.instruction + side.text, images=side.images))


def bare_digest(side: Side) -> int:
    """Equal for sides that are the same thing, however they are asked for: own words without markers, and the pictures."""
    return side_digest(Side(text=" ".join(IMAGE_MARKER.sub(" ", side.text).split()), images=side.images))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Pairs:
    """The pairs of a dataset, N of them: `rows` (N,) of the corpus, and digests (N,) of both sides, embedded and bare."""

    rows: Ints
    query: Ints
    query_bare: Ints
    positive: Ints
    positive_bare: Ints

    @classmethod
    def read(cls, index: ShardIndex, dataset: str, seen: Seen, templates: Templates = _UNWORDED) -> "Pairs":
        """Read every row once, its sides worded by `templates`. Raises DataError for damaged shards."""
        rows = index.datasets[dataset]
        digests = np.fromiter(_digests(index, rows, seen, templates), dtype=(np.int64, 4), count=len(rows))
        return cls(rows=np.array(rows, dtype=np.int64), **dict(zip(_DIGESTS, digests.T.copy(), strict=True)))


_DIGESTS = ("query", "query_bare", "positive", "positive_bare")


def _digests(index: ShardIndex, rows: range, seen: Seen, templates: Templates) -> Iterator[tuple[int, int, int, int]]:
    for number, row in enumerate(rows):
        sample = templates.sample(index.read(row))
        assert sample.positive is not None, "a dataset of pairs"
        query, positive = sample.query, sample.positive
        yield embedded_digest(query), bare_digest(query), embedded_digest(positive), bare_digest(positive)
        seen(number + 1)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Candidates:
    """The distinct queries Q and candidates M of a dataset, each by the first corpus row that has it.

    `query_of` (N,) says which query a pair has. `excluded` are of each query its positives (those of all pairs with that query),
    what equals one of them, and what equals the query itself.
    """

    query_rows: Ints
    candidate_rows: Ints
    query_of: Ints
    excluded: Exclusions

    @classmethod
    def of(cls, pairs: Pairs) -> "Candidates":
        """Those of a dataset's pairs."""
        query_first, query_of = _distinct(pairs.query)
        candidate_first, _ = _distinct(pairs.positive)
        excluded = _excluded(pairs, query_of, query_first, pairs.positive_bare[candidate_first])
        return cls(
            query_rows=pairs.rows[query_first],
            candidate_rows=pairs.rows[candidate_first],
            query_of=query_of,
            excluded=excluded,
        )


def _distinct(digests: Ints) -> tuple[Ints, Ints]:
    """Places (U,) of the first of each value, rising, and for each place (N,) which of these it equals."""
    _, first, which = np.unique(digests, return_index=True, return_inverse=True)
    order = np.argsort(first)
    number = np.empty_like(order)
    number[order] = np.arange(len(order))
    return first[order].astype(np.int64), number[which].astype(np.int64)


def _excluded(pairs: Pairs, query_of: Ints, query_first: Ints, candidate_bare: Ints) -> Exclusions:
    """Candidates (numbers) that are no negatives of each query."""
    owners = np.concatenate([query_of, np.arange(len(query_first))])
    bares = np.concatenate([pairs.positive_bare, pairs.query_bare[query_first]])
    owners, bares = np.unique(np.stack([owners, bares]), axis=1)
    order = np.argsort(candidate_bare, kind="stable")
    first = np.searchsorted(candidate_bare, bares, sorter=order)
    counts = np.searchsorted(candidate_bare, bares, side="right", sorter=order) - first
    places = np.repeat(first - np.concatenate([[0], np.cumsum(counts)[:-1]]), counts) + np.arange(counts.sum())
    starts = np.concatenate([[0], np.cumsum(np.bincount(owners, weights=counts, minlength=len(query_first)))])
    return Exclusions(starts=starts.astype(np.int64), candidates=order[places].astype(np.int64))
