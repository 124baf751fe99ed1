"""What encoding needs of a model. Nothing here knows what the embeddings are for: scores and mining never touch a model."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np

from pipeline.errors import DataError
from pipeline.sample import Side

Progress = Callable[[str, int, int], None]
"""Told what is being worked on, how much of it is done, and out of how much."""


class Sides(Protocol):
    """Sides by number: a list, or what reads each from disk when it is asked for."""

    def __len__(self) -> int:
        """How many."""

    def __getitem__(self, number: int, /) -> Side:
        """One of them; asked for from other processes too."""


@dataclass(frozen=True, slots=True)
class Reading:
    """What a model will read of a side: its tokens, and the height and width at which each picture is shown.

    `apart` are words of it that stand apart from the others, as in a system turn of its own.
    """

    tokens: int
    shown: tuple[tuple[int, int], ...] = ()
    apart: str = ""


class Reader(Protocol):
    """Makes batches of sides. It has no weights, and works in processes beside the model."""

    def reading(self, side: Side) -> Reading:
        """What the model will read of a side, told without decoding a picture. Raises DataError where it cannot read it."""

    def batch(self, sides: Sequence[Side]) -> Any:
        """Pictures decoded and resized, texts as tokens, on the CPU: dataclasses, tuples and lists of tensors and plain values.

        Raises DataError where a picture cannot be decoded.
        """


class Encoder(Protocol):
    """Embeds batches that its reader made."""

    @property
    def encoder_fingerprint(self) -> str:
        """Names all that an embedding depends on besides the side and its `Reading`: weights, prompt, tokenizer, number type."""

    @property
    def reader(self) -> Reader:
        """What makes its batches."""

    def embed_batch(self, batch: Any) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm, in the order of the sides."""


def check_embeddings(embeddings: np.ndarray, what: str) -> np.ndarray:
    """The embeddings (N, D) as float32. Raises DataError, naming `what` and the row, when one of them is not finite."""
    embeddings = np.ascontiguousarray(embeddings, dtype=np.float32)
    bad = np.flatnonzero(~np.isfinite(embeddings).all(axis=1))
    if len(bad):
        raise DataError(f"{what}: {len(bad)} embeddings are not finite, the first is {bad[0]}; the model is broken, retrain it")
    return embeddings


def silent(what: str, done: int, total: int) -> None:
    """Progress that nobody watches."""
