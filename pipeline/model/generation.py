"""Answers by greedy decoding: natively, or from the compression tokens alone.

Compressed: the context is read once, the keys and values of SYSTEM and COMPRESSION are kept, everything else is dropped, and
the question continues from the next M-RoPE position (CREM, section 3.3). This is the mask of Eq. 2 carried out for real.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from transformers import DynamicCache

from pipeline.batch import Batch
from pipeline.model.attention import SpanPlan
from pipeline.model.embedder import Embedder


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is kept of B rows: per layer keys and values (B, H_kv, L, d).

    `seen` (B, L) says which keys are real, `position` (B,) is the M-RoPE position of the next token.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    seen: torch.Tensor
    position: torch.Tensor

    def cache(self) -> DynamicCache:
        """A transformers cache over copies, so that the memory can be asked again."""
        cache = DynamicCache()
        for layer, (keys, values) in enumerate(zip(self.keys, self.values, strict=True)):
            cache.update(keys.clone(), values.clone(), layer)
        return cache


@torch.no_grad()
def remember(embedder: Embedder, batch: Batch, kept: Sequence[torch.Tensor]) -> tuple[Memory, torch.Tensor]:
    """Read packed rows and keep the keys and values at `kept` (positions in the packed row, one tensor a row).

    Returns the memory and the hidden state (B, D) of each row's last kept token.
    """
    states, cache = embedder.backbone.remember(embedder.input_embeddings(batch), batch.position_ids, SpanPlan.of(batch.spans))
    longest = max(len(places) for places in kept)
    # Padding points at a row's last token; `seen` hides it.
    table = torch.stack([torch.cat([places, places[-1:].expand(longest - len(places))]) for places in kept])
    seen = torch.arange(longest) < torch.tensor([len(places) for places in kept])[:, None]
    last = torch.tensor([int(places[-1]) for places in kept])
    memory = Memory(
        keys=tuple(layer.keys[0][:, table].transpose(0, 1) for layer in cache.layers),
        values=tuple(layer.values[0][:, table].transpose(0, 1) for layer in cache.layers),
        seen=seen,
        position=batch.position_ids[:, last].max(dim=0).values + 1,
    )
    return memory, states[last]


@torch.no_grad()
def proceed(embedder: Embedder, memory: Memory, questions: Sequence[Sequence[int]]) -> tuple[Memory, torch.Tensor]:
    """Read questions (token ids, one list a row) on top of a memory; returns the longer memory and the last states (B, D)."""
    lengths = torch.tensor([len(question) for question in questions])
    longest = int(lengths.max())
    ids = torch.tensor([[*question, *[0] * (longest - len(question))] for question in questions])
    steps = torch.arange(longest)
    real = steps < lengths[:, None]
    earlier = memory.seen[:, None].expand(-1, longest, -1)
    causal = (steps[:, None] >= steps).expand(len(questions), -1, -1)
    cache = memory.cache()
    states = embedder.backbone.proceed(ids, memory.position[:, None] + steps, torch.cat([earlier, causal], dim=2)[:, None], cache)
    longer = Memory(
        keys=tuple(layer.keys for layer in cache.layers),
        values=tuple(layer.values for layer in cache.layers),
        seen=torch.cat([memory.seen, real], dim=1),
        position=memory.position + lengths,
    )
    return longer, states[torch.arange(len(questions)), lengths - 1]


@torch.no_grad()
def decode(
    embedder: Embedder, memory: Memory, states: torch.Tensor, *, end: int, banned: Sequence[int], max_new_tokens: int
) -> list[list[int]]:
    """Greedy tokens of each row after the state (B, D) of its last token, up to `end` (not included).

    `banned` ids (the compression tokens) are never chosen.
    """
    cache, seen, position = memory.cache(), memory.seen, memory.position
    answers: list[list[int]] = [[] for _ in states]
    open_rows = torch.ones(len(states), dtype=torch.bool)
    for _ in range(max_new_tokens):
        logits = embedder.backbone.logits(states).float()
        logits[:, list(banned)] = float("-inf")
        chosen = logits.argmax(dim=1)
        open_rows &= chosen != end
        if not bool(open_rows.any()):
            break
        for row in torch.nonzero(open_rows).flatten().tolist():
            answers[row].append(int(chosen[row]))
        seen = torch.cat([seen, torch.ones(len(states), 1, dtype=torch.bool)], dim=1)
        states = embedder.backbone.proceed(chosen[:, None], position[:, None], seen[:, None, None], cache)[:, 0]
        position = position + 1
    return answers
