"""Which hard negatives a pair has in a phase: those of its own row, or references that were mined."""

from collections.abc import Iterator

import numpy as np

from pipeline.errors import ConfigError
from pipeline.negatives import Negatives
from pipeline.train.dataloader.corpus import Corpus


class HardNegatives:
    """The first of a pair's negatives that fit, in their order; rows that are held out are nobody's negatives in training."""

    def __init__(self, corpus: Corpus, negatives: Negatives, max_length: int, held_out: tuple[int, ...]) -> None:
        """Raises ConfigError where references are asked for and none are there."""
        if negatives.mined is not None and corpus.references is None:
            raise ConfigError("negatives: the phase takes mined ones, and there are none; run crem mine first")
        self.corpus, self.most, self.max_length = corpus, negatives.most, max_length
        self.held_out = frozenset(held_out)

    def of(self, row: int) -> tuple[tuple[int, int], ...]:
        """Row and side_index of each, at most `most` of them."""
        found = self._own(row) if self.corpus.references is None else self._referenced(row)
        return tuple(reference for reference, _ in zip(found, range(self.most), strict=False))

    def _own(self, row: int) -> Iterator[tuple[int, int]]:
        lengths = self.corpus.lengths
        needed = lengths.needed[lengths.starts[row] + 2 : lengths.starts[row + 1]]
        yield from ((row, side_index + 2) for side_index in np.flatnonzero(needed <= self.max_length).tolist())

    def _referenced(self, row: int) -> Iterator[tuple[int, int]]:
        assert self.corpus.references is not None
        for other, side_index in self.corpus.references.of(row):
            if other not in self.held_out and self.corpus.lengths.context(other, side_index) <= self.max_length:
                yield other, side_index
