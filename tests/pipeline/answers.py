"""The slow, plain definition of an answer: one whole forward pass under the mask for every token, no cache, no batch."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from pipeline.batch import pack
from pipeline.inference import EmbeddingModel
from pipeline.model.attention import SpanPlan
from pipeline.model.generation import Decoding, Greedy
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import native_layout


@dataclass(frozen=True)
class Recorder:
    """Chooses as `inner` does and keeps each row's logits, by the row's name."""

    inner: Decoding = field(default_factory=Greedy)
    logits: dict[int, list[torch.Tensor]] = field(default_factory=dict)

    def choose(self, logits: torch.Tensor, names: Sequence[int], step: int) -> torch.Tensor:
        for name, row in zip(names, logits, strict=True):
            assert len(self.logits.setdefault(name, [])) == step
            self.logits[name].append(row.clone())
        return self.inner.choose(logits, names, step)

    def answers(self) -> Iterator[torch.Tensor]:
        """Logits (n, V) of each row, in the order in which rows were first seen."""
        return map(torch.stack, self.logits.values())


def next_logits(model: EmbeddingModel, side: Side, question: str, answer: Sequence[int], *, mode: str) -> torch.Tensor:
    """Logits (V,) of the token after `answer`, by a whole forward pass; mode is "native", "compressed" or "open".

    "open" has compression tokens and hides nothing from the question: z = 0 of the paper.
    """
    builder = model.builder
    if mode == "native":
        builder = replace(builder, layout=native_layout(builder.layout))
    row = replace(model.reader, builder=builder).row(side, [Turn(question=question)], slot=-1)
    sequence = row.sequence
    ids = np.concatenate([sequence.input_ids, np.array(answer, dtype=np.int64)])
    roles = np.concatenate([sequence.roles, np.full(len(answer), Role.ANSWER, dtype=np.int8)])
    longer = replace(sequence, input_ids=ids, roles=roles)
    batch = pack(
        [replace(row, sequence=longer, compressed=mode == "compressed")],
        model.recipe.phase.layout,
        model.recipe.pooling.positions,
    )
    with torch.no_grad():
        states = model.embedder.backbone.hidden(model.embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
        logits = model.embedder.backbone.logits(states[-1]).float()
    logits[list(model.builder.vocabulary.chorus)] = float("-inf")
    return logits


def forward_greedy(model: EmbeddingModel, side: Side, question: str, *, mode: str, length: int) -> tuple[list[int], torch.Tensor]:
    """Greedy tokens, and the logits (n, V) that each was chosen by, the end token's included."""
    answer: list[int] = []
    logits = []
    while len(answer) < length:
        logits.append(next_logits(model, side, question, answer, mode=mode))
        if int(logits[-1].argmax()) == model.builder.vocabulary.im_end:
            break
        answer.append(int(logits[-1].argmax()))
    return answer, torch.stack(logits)
