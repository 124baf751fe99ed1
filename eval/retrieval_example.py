"""A few queries of an evaluation set as a report shows them: words cut short, pictures as thumbnails, the best candidates."""

from dataclasses import dataclass

import numpy as np

from eval.metrics import pool_scores
from eval.pictures import thumbnail
from pipeline.data.mmeb_eval import EvalSet
from pipeline.sample import IMAGE_MARKER, Side

NUM_EXAMPLES = 4
TOP = 3
_MAX_CHARACTERS = 400


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownSide:
    """A side as the report shows it: its words without markers, and thumbnails as data URIs."""

    text: str
    pictures: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCandidate:
    """A candidate of an example with its score and its place in the ranking (from 1; a tie counts against it)."""

    side: ShownSide
    score: float
    rank: int
    is_right: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class RetrievalExample:
    """A query with its best candidates and, when it is not among them, the right one."""

    query: ShownSide
    candidates: tuple[ShownCandidate, ...]


def examples(eval_set: EvalSet, queries: np.ndarray, candidates: np.ndarray) -> tuple[RetrievalExample, ...]:
    """A few queries spread over the whole set, since neighbours often share a picture. Embeddings are (Q, D) and (C, D)."""
    count = len(queries)
    numbers = sorted({number * count // NUM_EXAMPLES for number in range(NUM_EXAMPLES)})
    return tuple(_example(eval_set, number, queries, candidates) for number in numbers)


def _example(eval_set: EvalSet, number: int, queries: np.ndarray, candidates: np.ndarray) -> RetrievalExample:
    pool = eval_set.pools[number]
    scores = pool_scores(queries[number], candidates, pool)
    # Stable on the reversed pool: the right candidate, listed first, comes last among equals.
    order = (len(pool) - 1 - np.argsort(-scores[::-1], kind="stable")).tolist()
    ranks = {place: rank for rank, place in enumerate(order, start=1)}
    places = [*order[:TOP], *([0] if ranks[0] > TOP else [])]
    return RetrievalExample(
        query=shown(eval_set.queries[number]),
        candidates=tuple(
            ShownCandidate(
                side=shown(eval_set.candidates[pool[place]]),
                score=round(float(scores[place]), 4),
                rank=ranks[place],
                is_right=place == 0,
            )
            for place in places
        ),
    )


def shown(side: Side) -> ShownSide:
    """A side as pages show it."""
    words = " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())
    return ShownSide(text=words[:_MAX_CHARACTERS], pictures=tuple(map(thumbnail, side.images)))
