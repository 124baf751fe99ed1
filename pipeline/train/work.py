"""What one rank does in a step: packed chunks, and the little it must know of the global batch."""

from collections.abc import Sequence
from dataclasses import dataclass

import torch

from pipeline.batch import Batch


@dataclass(frozen=True, slots=True, eq=False)
class Chunk:
    """`full` rows for the second pass; `prefix` (the embedded rows, ended at their pooled tokens), if any, for the first."""

    full: Batch
    prefix: Batch | None


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class StepWork:
    """What one rank does in a step.

    `num_pairs` Q describes the global batch, `items` (2 Q,) int64 what its slots represent (queries, then candidates; 0 where
    another rank has the row); `units` (2,) are this rank's share of the language loss's divisors; `idle` is a small chunk that
    a rank repeats, times zero, while others still have work.
    """

    chunks: Sequence[Chunk]
    idle: Batch
    num_pairs: int
    items: torch.Tensor
    units: torch.Tensor
    num_tokens: int
    num_cut: int
