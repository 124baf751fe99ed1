"""What evaluation needs of a model. Scores depend on nothing else, so a test can put a fake in its place."""

from collections.abc import Sequence
from typing import Protocol

from pipeline.asked_as import AskedAs
from pipeline.cache_size import CacheSize
from pipeline.encode.encoder import Encoder, Progress, silent
from pipeline.sample import Side
from pipeline.templates import Templates

__all__ = ["Model", "Progress", "silent"]


class Model(Encoder, Protocol):
    """Embeds sides and answers questions about them."""

    @property
    def fingerprint(self) -> str:
        """Names the weights and settings: equal fingerprints give equal results."""

    @property
    def templates(self) -> Templates:
        """How it reads the sides of a dataset's pairs."""

    @property
    def conditions(self) -> dict[str, str | int]:
        """What answers are given under besides weights and words: pixel limits, number type, system line."""

    def cache_size(self, contexts: Sequence[Side]) -> CacheSize:
        """How much of the contexts compressed answers keep, one context for each question."""

    def asked_as(self, how: AskedAs) -> "Model":
        """The model asked in another way than it was trained to be."""

    def answer(
        self, contexts: Sequence[Side], questions: Sequence[str], *, compressed: bool, max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to `questions[i]` about `contexts[i]`, natively or from the compression tokens alone."""
