"""What evaluation needs of a model. Scores depend on nothing else, so a test can put a fake in its place."""

from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np

from pipeline.sample import Side

Progress = Callable[[str, int, int], None]
"""Told what is being worked on, how much of it is done, and out of how much."""


class Model(Protocol):
    """Embeds sides and answers questions about them."""

    @property
    def fingerprint(self) -> str:
        """Names the weights and settings: equal fingerprints give equal results."""

    def embed(self, sides: Sequence[Side]) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm, in the order of `sides`."""

    def answer(
        self, contexts: Sequence[Side], questions: Sequence[str], *, compressed: bool, max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to `questions[i]` about `contexts[i]`, natively or from the compression tokens alone."""


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
