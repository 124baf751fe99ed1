"""The compression-aware mask as plain causal attentions: which tokens each attention reads, which of its outputs are kept.

A dense mask would cost T^2 memory and a slow kernel. Roles that see the same keys form a group, and a group's queries see
exactly the earlier tokens of one gathered sequence; so the mask of Eq. 2 is two causal attentions.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch

from pipeline.roles import Layout, Role

UNREAD = len(Role)
"""Stands among a row's roles for COMPRESSION tokens that no QUESTION and no ANSWER of the row reads, compressed or not."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans:
    """The attention of a packed row as plain causal sequences.

    `gather` (G,) int64 lists the packed positions of the causal sequences one after another, `cu_seqlens` (M + 1,) int64 their
    cumulative lengths, `take` (T,) int64 which of the G outputs is the one of packed position t. A sequence whose later roles see
    fewer keys enters more than once; the rows computed again are dropped by `take`.
    """

    gather: torch.Tensor
    cu_seqlens: torch.Tensor
    take: torch.Tensor


def causal_spans(rows: Sequence[tuple[np.ndarray, bool]], places: Sequence[np.ndarray], layout: Layout) -> Spans:
    """Split the compression-aware mask of each (roles, compressed) row into plain causal attentions over gathered keys.

    `places` are the packed positions of each row's tokens; rows may share their first SYSTEM tokens. Roles may have UNREAD for
    some of the compression tokens. Roles that see the same keys form a group; a group's causal sequence is every token it may see
    up to its last own token. This is exact because a query of the group sees precisely the earlier tokens of its sequence.
    """
    gather: list[np.ndarray] = []
    take = np.empty(max(int(place[-1]) for place in places) + 1, dtype=np.int64)
    produced = 0
    for (roles, compressed), place in zip(rows, places, strict=True):
        present = np.bincount(roles, minlength=len(Role) + 1) > 0
        for own, visible in _role_groups(layout, tuple(present.tolist()), compressed):
            mine = own[roles]
            last = int(np.flatnonzero(mine)[-1]) + 1
            sequence = np.flatnonzero(visible[roles[:last]])
            kept = np.flatnonzero(mine[sequence])
            take[place[sequence[kept]]] = produced + kept
            gather.append(place[sequence])
            produced += len(sequence)
    cu_seqlens = np.concatenate([[0], np.cumsum([len(part) for part in gather])]).astype(np.int64)
    flat = torch.from_numpy(np.concatenate(gather))
    return Spans(gather=flat, cu_seqlens=torch.from_numpy(cu_seqlens), take=torch.from_numpy(take))


@lru_cache(maxsize=256)
def _role_groups(layout: Layout, present: tuple[bool, ...], compressed: bool) -> list[tuple[np.ndarray, np.ndarray]]:
    """Tables (own, visible), bool by role, of each group of present roles that see the same roles; one when nothing is cut."""
    groups: dict[frozenset[int], list[int]] = {}
    there = [role for role in (*Role, UNREAD) if present[role]]
    for role in there:
        groups.setdefault(_visible(layout, role, compressed) & frozenset(there), []).append(role)
    return [(_table(own), _table(visible)) for visible, own in groups.items()]


def _visible(layout: Layout, role: int, compressed: bool) -> frozenset[int]:
    """What a role sees. UNREAD tokens see and are seen as COMPRESSION is, but by what stands behind them."""
    seen = layout.visible(Role.COMPRESSION if role == UNREAD else Role(role), compressed=compressed)
    reads_them = Role.COMPRESSION in seen and role not in (Role.QUESTION, Role.ANSWER)
    return seen | {UNREAD} if reads_them else seen


def _table(roles: Iterable[int]) -> np.ndarray:
    table = np.zeros(len(Role) + 1, dtype=bool)
    table[[int(role) for role in roles]] = True
    return table
