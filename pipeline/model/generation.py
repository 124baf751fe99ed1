"""Answers token by token: natively, or from the compression tokens alone; greedy or sampled.

Compressed: the context is read once, the keys and values of SYSTEM and COMPRESSION are kept, everything else is dropped, and
the question continues from the next M-RoPE position (CREM, section 3.3). This is the mask of Eq. 2 carried out for real.
"""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import torch
from transformers import Cache, DynamicLayer

from pipeline.batch import Batch
from pipeline.errors import ConfigError
from pipeline.model.attention import SpanPlan
from pipeline.model.embedder import Embedder


class Decoding(Protocol):
    """How the next token of each row is chosen."""

    def choose(self, logits: torch.Tensor, names: Sequence[int], step: int) -> torch.Tensor:
        """Token ids (B,) from logits (B, V) float32 of the rows' token number `step`; `names` (B,) tell rows apart."""


@dataclass(frozen=True, slots=True)
class Greedy:
    """The likeliest token; of equal ones the first."""

    def choose(self, logits: torch.Tensor, names: Sequence[int], step: int) -> torch.Tensor:
        """Token ids (B,) from logits (B, V)."""
        return logits.argmax(dim=1)


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampled:
    """A token drawn from the smallest set of likeliest tokens whose probability reaches `top_p`.

    The draw depends on the seed, the row's name and the number of the token alone, so an answer is the same whatever stands
    beside it. Raises ConfigError for a temperature that is not above 0, or a `top_p` outside (0, 1].
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if not 0.0 < self.temperature < float("inf"):
            raise ConfigError(f"temperature: {self.temperature} is not above 0; for the likeliest token decode greedily")
        if not 0.0 < self.top_p <= 1.0:
            raise ConfigError(f"top_p: {self.top_p} is not above 0 and at most 1")

    def choose(self, logits: torch.Tensor, names: Sequence[int], step: int) -> torch.Tensor:
        """Token ids (B,) from logits (B, V): where the running sum of probabilities, likeliest first, passes the row's draw."""
        # In float64 the sum over a large vocabulary stays exact enough for the last token to be as likely as it should.
        likely, ids = torch.softmax(logits.double() / self.temperature, dim=1).sort(dim=1, descending=True, stable=True)
        reached = likely.cumsum(dim=1)
        reached = torch.where(reached - likely < self.top_p, reached, 0.0).cummax(dim=1).values
        draws = torch.tensor([[self._draw(name, step)] for name in names], dtype=torch.float64, device=logits.device)
        place = (reached <= draws * reached[:, -1:]).sum(dim=1, keepdim=True)
        return ids.gather(1, place)[:, 0]

    def _draw(self, name: int, step: int) -> float:
        """A number in [0, 1)."""
        digest = hashlib.sha256(f"{self.seed}/{name}/{step}".encode()).digest()
        return (int.from_bytes(digest[:8], "little") >> 11) / 2.0**53


GREEDY = Greedy()


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """When decoding stops and what it may not say: the `end` token, at most `max_new_tokens`, never the `banned` ids.

    A banned id may lie behind the head's last row, where nothing could choose it.
    """

    end: int
    banned: Sequence[int]
    max_new_tokens: int


@dataclass(frozen=True, slots=True, eq=False)
class Memory:
    """What is kept of B rows: per layer keys and values (B, H_kv, L, d).

    `seen` (B, L) says which keys are real, `position` (B,) is the M-RoPE position of the next token.
    """

    keys: tuple[torch.Tensor, ...]
    values: tuple[torch.Tensor, ...]
    seen: torch.Tensor
    position: torch.Tensor

    def cache(self, room: int) -> Cache:
        """A transformers cache over copies, so that the memory can be asked again, with room for so many more tokens."""
        return Cache(layers=[_RoomyLayer(keys, values, room) for keys, values in zip(self.keys, self.values, strict=True)])


class _RoomyLayer(DynamicLayer):  # type: ignore[misc]
    """Keys and values of one layer in buffers with room at their end: a token is written in place, nothing is copied anew."""

    def __init__(self, keys: torch.Tensor, values: torch.Tensor, room: int) -> None:
        super().__init__()
        self.buffers = tuple(torch.nn.functional.pad(part, (0, 0, 0, room)) for part in (keys, values))
        self.is_initialized = True
        self._show(keys.shape[2])

    def update(self, key_states: torch.Tensor, value_states: torch.Tensor, *_: Any, **__: Any) -> tuple[torch.Tensor, ...]:
        """Write the new tokens (B, H_kv, n, d) behind those there are; all keys and values so far."""
        start, end = self.keys.shape[2], self.keys.shape[2] + key_states.shape[2]
        for buffer, states in zip(self.buffers, (key_states, value_states), strict=True):
            buffer[:, :, start:end] = states
        self._show(end)
        return self.keys, self.values

    def batch_select_indices(self, indices: torch.Tensor) -> None:
        """Keep only the rows at `indices`."""
        self.buffers = tuple(buffer[indices] for buffer in self.buffers)
        self._show(self.keys.shape[2])

    def _show(self, length: int) -> None:
        self.keys, self.values = (buffer[:, :, :length] for buffer in self.buffers)


@torch.no_grad()
def remember(embedder: Embedder, batch: Batch, kept: Sequence[torch.Tensor]) -> tuple[Memory, torch.Tensor]:
    """Read packed rows and keep the keys and values at `kept` (positions in the packed row, ascending, one tensor a row).

    Returns the memory and the hidden states (T, D) of all tokens. A row's next position follows its last kept token.
    """
    states, cache = embedder.backbone.remember(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
    # Padding points at a row's last token; `seen` hides it.
    table = torch.nn.utils.rnn.pad_sequence(list(kept), batch_first=True, padding_value=-1).to(states.device)
    last = torch.stack([places[-1] for places in kept]).to(states.device)
    seen = table >= 0
    table = torch.where(seen, table, last[:, None])
    memory = Memory(
        keys=tuple(layer.keys[0][:, table].transpose(0, 1) for layer in cache.layers),
        values=tuple(layer.values[0][:, table].transpose(0, 1) for layer in cache.layers),
        seen=seen,
        position=batch.position_ids[:, last].max(dim=0).values + 1,
    )
    return memory, states


@torch.no_grad()
def proceed(embedder: Embedder, memory: Memory, questions: Sequence[Sequence[int]]) -> tuple[Memory, torch.Tensor]:
    """Read questions (token ids, one list a row) on top of a memory; returns the longer memory and the last states (B, D)."""
    device = memory.position.device
    lengths = torch.tensor([len(question) for question in questions], device=device)
    longest = int(lengths.max())
    ids = torch.tensor([[*question, *[0] * (longest - len(question))] for question in questions], device=device)
    steps = torch.arange(longest, device=device)
    earlier = memory.seen[:, None].expand(-1, longest, -1)
    causal = (steps[:, None] >= steps).expand(len(questions), -1, -1)
    cache = memory.cache(longest)
    states = embedder.backbone.proceed(ids, memory.position[:, None] + steps, torch.cat([earlier, causal], dim=2)[:, None], cache)
    longer = Memory(
        keys=tuple(layer.keys for layer in cache.layers),
        values=tuple(layer.values for layer in cache.layers),
        seen=torch.cat([memory.seen, steps < lengths[:, None]], dim=1),
        position=memory.position + lengths,
    )
    return longer, states[torch.arange(len(questions), device=device), lengths - 1]


@torch.no_grad()
def decode(
    embedder: Embedder, memory: Memory, states: torch.Tensor, ending: Ending, *, decoding: Decoding, names: Sequence[int]
) -> list[list[int]]:
    """Tokens of each row after the state (B, D) of its last token, up to the end token (not included).

    `names` (B,) tell rows apart where tokens are drawn. Rows that have ended leave the batch when they are half of it.
    """
    cache, position = memory.cache(ending.max_new_tokens), memory.position
    length = memory.seen.shape[1]
    seen = torch.nn.functional.pad(memory.seen, (0, ending.max_new_tokens), value=True)
    tokens = torch.full((len(states), ending.max_new_tokens), ending.end, device=states.device)
    rows = torch.arange(len(states), device=states.device)
    is_open = torch.ones_like(rows, dtype=torch.bool)
    for step in range(ending.max_new_tokens):
        if step:
            visible = seen[:, None, None, : length + step]
            before = tokens[rows, step - 1, None]
            states = embedder.backbone.proceed(before, (position + step - 1)[:, None], visible, cache)[:, 0]
        logits = embedder.backbone.logits(states).float()
        logits[:, [token for token in ending.banned if token < logits.shape[1]]] = float("-inf")
        chosen = decoding.choose(logits, [names[row] for row in rows.tolist()], step)
        tokens[rows, step] = chosen
        is_open = is_open & (chosen != ending.end)
        if 2 * int(is_open.sum()) <= len(rows):
            kept = torch.nonzero(is_open).flatten()
            if not len(kept):
                break
            cache.batch_select_indices(kept)
            rows, seen, position, is_open = (part[kept] for part in (rows, seen, position, is_open))
    return [_until(row, ending.end) for row in tokens.tolist()]


def _until(tokens: list[int], end: int) -> list[int]:
    """The tokens before the first end token."""
    return tokens[: tokens.index(end)] if end in tokens else tokens


def answer_name(item: int, question: str) -> int:
    """What tells an answer's random draws apart from those of others: its content, never its place in a batch."""
    return int.from_bytes(hashlib.sha256(f"{item}/{question}".encode()).digest()[:7], "little")
