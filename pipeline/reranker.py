"""A model that says how likely a candidate answers a query: yes against no, read from the logits of the next token.

Magic-MM-Embedding ranks the first candidates of its embedder anew by it ("pointwise").
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from pipeline import answer_batches
from pipeline.batch import Row, chunk_by_tokens, row_places
from pipeline.errors import ConfigError
from pipeline.inference import EmbeddingModel
from pipeline.manifest import fingerprint
from pipeline.model.attention import SpanPlan
from pipeline.sample import Side, Turn
from pipeline.targets import NO, YES, Relevance
from pipeline.templates import Templates


@dataclass(frozen=True, slots=True, kw_only=True)
class Reranker:
    """A model with the words that it was trained to be asked with, and the first token of either answer."""

    model: EmbeddingModel
    words: Relevance
    yes: int
    no: int

    @classmethod
    def of(cls, model: object) -> "Reranker":
        """Raises ConfigError for a model that was not trained to compare, or whose answers begin with the same token."""
        assert isinstance(model, EmbeddingModel), "a checkpoint or an export of ours"
        words, encode = model.recipe.phase.target, model.builder.vocabulary.encode
        if not isinstance(words, Relevance):
            raise ConfigError(
                f"--rerank: recipe {model.recipe.name} was not trained to rerank; name a checkpoint of one "
                "that was, such as magic_2b_reranker"
            )
        yes, no = encode(YES)[0], encode(NO)[0]
        if yes == no:
            raise ConfigError(f"--rerank: its tokenizer begins {YES} and {NO} with the same token, so their logits are one")
        return cls(model=model, words=words, yes=yes, no=no)

    @property
    def fingerprint(self) -> str:
        """Depends on weights, number type and recipe."""
        return fingerprint(["reranker", self.model.fingerprint])

    @property
    def templates(self) -> Templates:
        """How it reads the sides of a dataset's pairs."""
        return self.model.templates

    @torch.no_grad()
    def scores(self, pairs: Sequence[tuple[Side, Side]]) -> np.ndarray:
        """The log odds of yes against no (N,) float32 of each query and candidate, the same whatever stands beside it.

        They order as P(yes) does, of which float32 makes one number, and a tie, of all that the model is sure about.
        """
        sides = [self.words.compared(query, [candidate]) for query, candidate in pairs]
        turns = (Turn(question=self.words.question(1)),)
        reader, out = self.model.reader, np.zeros(len(pairs), dtype=np.float32)
        for part in answer_batches.decoded_together(reader, sides):
            rows = [reader.row(sides[place], turns, slot=place) for place in part]
            for chunk in chunk_by_tokens(rows, answer_batches.CHUNK_TOKENS):
                out[[row.slot for row in chunk]] = self._scores(chunk)
        return out

    def _scores(self, rows: Sequence[Row]) -> np.ndarray:
        """Of rows that end with the assistant's header: the logit of yes less that of no."""
        embedder = self.model.embedder
        batch = self.model.reader.pack([replace(row, slot=-1) for row in rows]).to(self.model.device)
        states = embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
        logits = embedder.backbone.logits(states[[int(place[-1]) for place in row_places(rows)]]).float()
        scores: np.ndarray = (logits[:, self.yes] - logits[:, self.no]).cpu().numpy()
        return scores
