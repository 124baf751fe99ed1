"""A packed micro-batch: sequences one after another in one row, no padding, the SYSTEM tokens that they share once.

All randomness that shapes data was spent before a Batch exists, so both passes of gradient caching see the same tensors.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, NamedTuple

import numpy as np
import torch

from pipeline.roles import Layout, Role
from pipeline.sequence import TokenSequence
from pipeline.spans import Spans, causal_spans

OWN, OUTSIDE = 0, 1
NUM_LOSS_GROUPS = 2
"""Loss groups: scored rows that have a mean of their own: questions about a pair's own side, and outside conversations. Of a
reranker the first are questions about one candidate, the second about a list."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Row:
    """One sequence of a global batch.

    `pixels` are the resized pictures, uint8 (3, H, W) each; `compressed` is the coin z of Eq. 4; `slot` is the place of the
    row's embedding in the global batch (-1: none) and `item` a digest of what it represents; `loss_group` says whose mean its
    scored tokens enter (OWN or OUTSIDE), `asked` whether it was meant to have some. `noise` numbers the first SYSTEM token, equal
    for all rows of a step, and the row's first token; dropout masks come from the tokens' numbers.
    """

    key: str
    sequence: TokenSequence
    pixels: tuple[np.ndarray, ...] = ()
    compressed: bool = False
    slot: int = -1
    item: int = 0
    loss_group: int = OWN
    asked: bool = False
    noise: tuple[int, int] = (0, 0)

    @property
    def num_scored(self) -> int:
        """Tokens that the language loss scores."""
        return len(self.sequence.scored_tokens())

    @property
    def has_compression(self) -> bool:
        """Whether the row has compression tokens (a native row has none)."""
        return bool((self.sequence.roles == Role.COMPRESSION).any())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """`input_ids` (T,), `position_ids` (axes, T), `grid_thw` (I, 3), `pixels` a stack (I_s, 3, H, W) uint8 a run of equal sizes.

    `image_index` are the positions of the visual tokens, in the order in which the tower yields them;
    `pool_index` (E, K) are the positions that each embedding pools, `slots` (E,) their places in the global batch;
    `score_index` (S,) are positions whose next token `score_target` (S,) is scored; `score_row_tokens` (S,) is how many tokens
    its row scores, `score_loss_group` (S,) the row's loss group. `token_noise` (T,) numbers the tokens for their dropout masks.
    `features` (V, levels * D), where the tower made them before, stand in for `pixels`. `reference` are the spans of the same
    tokens where nothing is hidden, for a language loss that compares with that.
    """

    input_ids: torch.Tensor
    position_ids: torch.Tensor
    pixels: tuple[torch.Tensor, ...]
    grid_thw: torch.Tensor
    image_index: torch.Tensor
    spans: Spans
    pool_index: torch.Tensor
    slots: torch.Tensor
    score_index: torch.Tensor
    score_target: torch.Tensor
    score_row_tokens: torch.Tensor
    score_loss_group: torch.Tensor
    token_noise: torch.Tensor
    features: torch.Tensor | None = None
    reference: Spans | None = None

    def to(self, device: torch.device) -> "Batch":
        """The same batch on another device.

        The copy is waited for: loaders send ordinary memory, from which a GPU cannot read by itself. Pinned memory would hold
        each step a second time, to save some milliseconds of its seconds: a picture of 1,280 tokens is 3 MB.
        """
        moved = {f.name: _move(getattr(self, f.name), device) for f in fields(self)}
        return replace(self, **moved)


class Outputs(NamedTuple):
    """`embeddings` (E, D), or (E, k, D) at k numbers of tokens, of unit norm, and `token_losses` (S,), both float32.

    A tuple: DeepSpeed's hooks find no tensor in a class of our own.
    """

    embeddings: torch.Tensor
    token_losses: torch.Tensor


def _move(value: Any, device: torch.device) -> Any:
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, tuple):
        return tuple(part.to(device) for part in value)
    if isinstance(value, Spans):
        return Spans(**{f.name: getattr(value, f.name).to(device) for f in fields(value)})
    return value


def pack(rows: Sequence[Row], layout: Layout, pooled: "PoolPositions", *, has_reference: bool = False) -> Batch:
    """Pack rows into one batch. `pooled` names the positions that the recipe's pooling reads in a row.

    The SYSTEM tokens that all rows begin with are packed once: nothing before them differs, so their states do not either.
    """
    shared, places = shared_system(rows), row_places(rows)
    embedded = [(row, place) for row, place in zip(rows, places, strict=True) if row.slot >= 0]
    pool = [place[pooled(row.sequence.roles)] for row, place in embedded]
    scored = _scored(rows, places)
    images = [place[row.sequence.image_tokens()] for row, place in zip(rows, places, strict=True)]
    first = rows[0].sequence
    ids = [first.input_ids[:shared], *(row.sequence.input_ids[shared:] for row in rows)]
    position_ids = [first.positions()[:, :shared], *(row.sequence.positions()[:, shared:] for row in rows)]
    return Batch(
        input_ids=torch.from_numpy(np.concatenate(ids)),
        position_ids=torch.from_numpy(np.concatenate(position_ids, axis=1)),
        pixels=stacks([picture for row in rows for picture in row.pixels]),
        grid_thw=torch.from_numpy(np.concatenate([row.sequence.grid_thw for row in rows])),
        image_index=torch.from_numpy(np.concatenate(images)),
        spans=causal_spans([(row.sequence.attention_roles(), row.compressed) for row in rows], places, layout),
        pool_index=torch.from_numpy(np.stack(pool)) if pool else torch.zeros((0, 1), dtype=torch.int64),
        slots=torch.tensor([row.slot for row, _ in embedded], dtype=torch.int64),
        score_index=scored[0],
        score_target=scored[1],
        score_row_tokens=scored[2],
        score_loss_group=scored[3],
        token_noise=torch.from_numpy(np.concatenate([_noise(rows[0])[:shared], *(_noise(row)[shared:] for row in rows)])),
        reference=uncompressed_spans(rows, layout) if has_reference else None,
    )


def uncompressed_spans(rows: Sequence[Row], layout: Layout) -> Spans:
    """What the packed tokens of rows see where nothing is hidden."""
    return causal_spans([(row.sequence.attention_roles(), False) for row in rows], row_places(rows), layout)


def _noise(row: Row) -> np.ndarray:
    """Numbers of a row's tokens (T_row,) int64; the first SYSTEM tokens have those of all rows, since they may be packed once."""
    shared = int((np.cumsum(row.sequence.roles != Role.SYSTEM) == 0).sum())
    step, own = row.noise
    return np.concatenate([step + np.arange(shared), own + np.arange(shared, len(row.sequence))])


def shared_system(rows: Sequence[Row]) -> int:
    """Number of SYSTEM tokens that every row begins with."""
    first = rows[0].sequence
    length = int((np.cumsum(first.roles != Role.SYSTEM) == 0).sum())
    same = all(np.array_equal(row.sequence.input_ids[:length], first.input_ids[:length]) for row in rows)
    return length if same else 0


def row_places(rows: Sequence[Row]) -> list[np.ndarray]:
    """Packed position of every token of each row, (T_row,) int64: the shared SYSTEM tokens first, then row after row."""
    shared = offset = shared_system(rows)
    places = []
    for row in rows:
        own = len(row.sequence) - shared
        places.append(np.concatenate([np.arange(shared), np.arange(offset, offset + own)]))
        offset += own
    return places


class PoolPositions:
    """Positions of a row that pooling reads: all tokens of a role, or the last one of it."""

    def __init__(self, role: Role, *, last: bool = False) -> None:
        self.role, self.last = role, last

    def __call__(self, roles: np.ndarray) -> np.ndarray:
        found = np.flatnonzero(roles == self.role)
        return found[-1:] if self.last else found


def truncate(rows: Sequence[Row], role: Role) -> list[Row]:
    """The rows that carry an embedding, each ended at its last token of `role`: the first pass of gradient caching."""
    return [replace(row, sequence=row.sequence.until(role)) for row in rows if row.slot >= 0]


def chunk_by_tokens(rows: Sequence[Row], budget: int) -> list[list[Row]]:
    """Rows in order of length, cut into chunks of at most `budget` tokens (a longer row is a chunk of its own)."""
    chunks: list[list[Row]] = []
    room = 0
    for row in sorted(rows, key=lambda row: (len(row.sequence), row.key, row.slot)):
        if not chunks or len(row.sequence) > room:
            chunks.append([])
            room = budget
        chunks[-1].append(row)
        room -= len(row.sequence)
    return chunks


def stacks(pictures: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Stack runs of equally large neighbours, so that a run is normalised and cut into patches by one call."""
    stacks: list[list[np.ndarray]] = []
    for picture in pictures:
        if stacks and stacks[-1][0].shape == picture.shape:
            stacks[-1].append(picture)
        else:
            stacks.append([picture])
    return tuple(torch.from_numpy(np.stack(stack)) for stack in stacks)


def _scored(rows: Sequence[Row], places: Sequence[np.ndarray]) -> tuple[torch.Tensor, ...]:
    """Positions before a scored token, the tokens, the number of scored tokens in their row, its loss group: (S,) int64 each."""
    parts: list[np.ndarray] = [np.zeros((4, 0), dtype=np.int64)]
    for row, place in zip(rows, places, strict=True):
        tokens = row.sequence.scored_tokens()
        targets = row.sequence.input_ids[tokens]
        of_row = [np.full_like(tokens, len(tokens)), np.full_like(tokens, row.loss_group)]
        parts.append(np.stack([place[tokens - 1], targets, *of_row]))
    return tuple(torch.from_numpy(part) for part in np.concatenate(parts, axis=1))
