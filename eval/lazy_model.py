"""A model that is loaded when it is first asked: an evaluation that finds all results again needs no weights."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from eval.model_protocol import Model
from pipeline.asked_as import AskedAs
from pipeline.cache_size import CacheSize
from pipeline.encode.encoder import Reader
from pipeline.sample import Side
from pipeline.templates import Templates


class LazyModel:
    """A model by the fingerprint that it is known to have (empty: not known, so that asking for it loads the model)."""

    def __init__(self, load: Callable[[], Model], fingerprint: str = "") -> None:
        self._load, self._known = load, fingerprint
        self._model: Model | None = None

    @property
    def is_known(self) -> bool:
        """Whether its fingerprint can be told without loading it."""
        return bool(self._known)

    @property
    def fingerprint(self) -> str:
        """Names the weights and settings."""
        self._known = self._known or self._loaded().fingerprint
        return self._known

    @property
    def encoder_fingerprint(self) -> str:
        """Names all that an embedding depends on besides the side and how it is read."""
        return self._loaded().encoder_fingerprint

    @property
    def reader(self) -> Reader:
        """What makes batches of sides."""
        return self._loaded().reader

    def embed_batch(self, batch: Any) -> np.ndarray:
        """Embeddings (N, D) float32 of unit norm."""
        return self._loaded().embed_batch(batch)

    @property
    def templates(self) -> Templates:
        """How it reads the sides of a dataset's pairs."""
        return self._loaded().templates

    @property
    def conditions(self) -> dict[str, str | int]:
        """What answers are given under besides weights and words."""
        return self._loaded().conditions

    def cache_size(self, contexts: Sequence[Side]) -> CacheSize:
        """How much of the contexts compressed answers keep."""
        return self._loaded().cache_size(contexts)

    def asked_as(self, how: AskedAs) -> Model:
        """The model asked in another way than it was trained to be."""
        return self._loaded().asked_as(how)

    def answer(
        self, contexts: Sequence[Side], questions: Sequence[str], *, compressed: bool, max_new_tokens: int = 32
    ) -> list[str]:
        """Greedy answers to `questions[i]` about `contexts[i]`."""
        return self._loaded().answer(contexts, questions, compressed=compressed, max_new_tokens=max_new_tokens)

    def release(self) -> None:
        """Let the weights go: the next model needs the room."""
        self._model = None

    def _loaded(self) -> Model:
        self._model = self._model or self._load()
        return self._model
