"""Exact nearest candidates of queries, by inner product: blocks against blocks, so that memory does not grow with their number.

A candidate's rank among a query's candidates is 1 for the greatest product; of equal products the candidate of the lower number
comes first. Excluded candidates have no rank. Blocks are the same whoever works on them, so the same machine gives the same bits.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]

QUERY_BLOCK, CANDIDATE_BLOCK = 512, 8192
NOBODY = -1
"""Stands among nearest candidates where a query has fewer."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Exclusions:
    """Candidates without a rank, by query: those of query i are `candidates[starts[i]:starts[i + 1]]`."""

    starts: Ints
    candidates: Ints

    @classmethod
    def of(cls, excluded: Sequence[Sequence[int]]) -> "Exclusions":
        """From a list for each query."""
        starts = np.concatenate([[0], np.cumsum([len(each) for each in excluded])]).astype(np.int64)
        return cls(starts=starts, candidates=np.array([number for each in excluded for number in each], dtype=np.int64))


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Nearest:
    """Of each query of a block (B, K): candidates in the order of their ranks (NOBODY: there are no more), and products."""

    candidates: Ints
    similarities: Floats


def query_blocks(num_queries: int) -> list[slice]:
    """The blocks that queries are ranked in; each is a piece of work of its own."""
    return [slice(start, min(start + QUERY_BLOCK, num_queries)) for start in range(0, num_queries, QUERY_BLOCK)]


def nearest(
    queries: Floats, candidates: Floats, excluded: Exclusions, block: slice, most: int, *, device: str = "cpu"
) -> Nearest:
    """The first `most` ranks of a block of queries (N, D) among candidates (M, D), which may be memory-mapped.

    Time grows with N M D, memory with the block and `most` alone.
    """
    own = _tensor(queries[block], device)
    values = torch.zeros(len(own), 0, device=device)
    numbers = torch.zeros(len(own), 0, dtype=torch.int64, device=device)
    for start in range(0, len(candidates), CANDIDATE_BLOCK):
        scores = own @ _tensor(candidates[start : start + CANDIDATE_BLOCK], device).T
        scores[_hidden(excluded, block, range(start, start + scores.shape[1]), device)] = -torch.inf
        places = _first(scores, most)
        values = torch.cat([values, scores.gather(1, places)], dim=1)
        numbers = torch.cat([numbers, places + start], dim=1)
        order = _first(values, most)
        values, numbers = values.gather(1, order), numbers.gather(1, order)
    return Nearest(candidates=numbers.where(~values.isneginf(), NOBODY).cpu().numpy(), similarities=values.cpu().numpy())


def _tensor(rows: Floats, device: str) -> torch.Tensor:
    return torch.from_numpy(np.array(rows, dtype=np.float32)).to(device)


def _hidden(excluded: Exclusions, block: slice, part: range, device: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Places, in a block of scores, of the candidates of `part` that have no rank."""
    counts = np.diff(excluded.starts[block.start : block.stop + 1])
    own = excluded.candidates[excluded.starts[block.start] : excluded.starts[block.stop]] - part.start
    rows, there = np.repeat(np.arange(len(counts)), counts), (own >= 0) & (own < len(part))
    return torch.from_numpy(rows[there]).to(device), torch.from_numpy(own[there]).to(device)


def _first(scores: torch.Tensor, most: int) -> torch.Tensor:
    """Places (B, K) of the greatest scores of each row in their order; of equal ones the first comes first."""
    if scores.shape[1] <= most:
        return scores.sort(dim=1, descending=True, stable=True).indices
    # The order of topk among equal values is not defined: the places settle which of those at its edge are taken.
    least = scores.topk(most, dim=1, sorted=True).values[:, -1:]
    above, level = scores > least, scores == least
    is_taken = above | (level & (level.cumsum(dim=1) <= most - above.sum(dim=1, keepdim=True)))
    places = is_taken.nonzero()[:, 1].reshape(len(scores), most)
    order = scores.gather(1, places).sort(dim=1, descending=True, stable=True).indices
    return places.gather(1, order)
