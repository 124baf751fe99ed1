"""The rows that the attention benchmark reads: CREM-shaped, of a given number of tokens in all."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from pipeline.recipes.crem import LAYOUT
from pipeline.roles import Role
from pipeline.spans import Spans, causal_spans

NUM_SYSTEM, NUM_CHORUS = 21, 16
"""Tokens of the template's head, and compression tokens (paper: 16)."""
CONTEXT_SHARE = 0.75
SHORTEST, LONGEST = 96, 1024
"""Range of the lengths of packed rows: from a label with its instruction to a picture of some 700 visual tokens; a row is
never more than half of the tokens."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Rows:
    """Rows packed one after another, without a common head: `roles` of each (T_row,), and which are compressed (z = 1)."""

    name: str
    roles: Sequence[np.ndarray]
    compressed: Sequence[bool]

    @property
    def places(self) -> list[np.ndarray]:
        """Packed positions of each row's tokens."""
        ends = np.cumsum([len(row) for row in self.roles])
        return [np.arange(end - len(row), end) for row, end in zip(self.roles, ends, strict=True)]

    @property
    def spans(self) -> Spans:
        """The rows' attention as causal sequences."""
        return causal_spans(list(zip(self.roles, self.compressed, strict=True)), self.places, LAYOUT)

    def owner(self) -> np.ndarray:
        """Which row each packed token is of, (T,)."""
        return np.repeat(np.arange(len(self.roles)), [len(row) for row in self.roles])

    def blind(self) -> np.ndarray:
        """Packed tokens that may not see CONTEXT: questions and answers of compressed rows, (T,) bool."""
        flags = [(row >= Role.QUESTION) & cut for row, cut in zip(self.roles, self.compressed, strict=True)]
        return np.concatenate(flags)

    def context(self) -> np.ndarray:
        """Packed tokens of CONTEXT, (T,) bool."""
        return np.concatenate([row == Role.CONTEXT for row in self.roles])

    def histogram(self) -> str:
        """Rows by length, in steps of a factor of two."""
        lengths = np.array([len(row) for row in self.roles])
        edges = 2 ** np.arange(6, int(np.log2(lengths.max())) + 2)
        counts = [(low, int(((lengths >= low) & (lengths < 2 * low)).sum())) for low in edges]
        bars = ", ".join(f"{low}-{2 * low - 1}: {count}" for low, count in counts if count)
        return f"{len(lengths)} rows, {sum(self.compressed)} of them compressed; by length {bars}"


def row_of(length: int) -> np.ndarray:
    """Roles of one row: SYSTEM, 75 % CONTEXT (less in a short row), COMPRESSION, the rest halved between QUESTION and ANSWER."""
    context = min(round(CONTEXT_SHARE * length), length - NUM_SYSTEM - NUM_CHORUS - 2)
    rest = length - NUM_SYSTEM - context - NUM_CHORUS
    return np.repeat(np.arange(len(Role)), [NUM_SYSTEM, context, NUM_CHORUS, rest - rest // 2, rest // 2])


def single(num_tokens: int) -> Rows:
    """One compressed row."""
    return Rows(name="one row", roles=[row_of(num_tokens)], compressed=[True])


def packed(num_tokens: int) -> Rows:
    """Rows of lengths that are uniform on a logarithmic scale, the last one cut to fit; every second one is compressed."""
    rng, longest = np.random.default_rng(0), min(LONGEST, num_tokens // 2)
    lengths: list[int] = []
    while sum(lengths) < num_tokens:
        length = int(np.exp(rng.uniform(np.log(SHORTEST), np.log(longest))))
        left = num_tokens - sum(lengths)
        lengths.append(length if left - length >= SHORTEST else left)
    return Rows(
        name="packed rows",
        roles=[row_of(length) for length in lengths],
        compressed=[number % 2 == 0 for number in range(len(lengths))],
    )
