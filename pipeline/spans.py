"""The compression-aware mask as plain causal attentions: which tokens each attention reads, which of its outputs are kept.

A dense mask would cost T^2 memory and a slow kernel. Roles that see the same keys form a group, and a group's queries see
exactly the earlier tokens of one gathered sequence; so the mask of Eq. 2 is two causal attentions.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pipeline.roles import Layout, Role


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Spans:
    """The attention of a packed row as plain causal sequences.

    `gather` (G,) int64 lists the packed positions of the causal sequences one after another, `starts` (M + 1,) int64 where
    each begins, `take` (T,) int64 which of the G outputs is the one of packed position t. A sequence whose later roles see
    fewer keys enters more than once; the rows computed again are dropped by `take`.
    """

    gather: torch.Tensor
    starts: torch.Tensor
    take: torch.Tensor


def causal_spans(rows: Sequence[tuple[np.ndarray, bool]], layout: Layout) -> Spans:
    """Split the compression-aware mask of each (roles, compressed) row into plain causal attentions over gathered keys.

    Roles that see the same keys form a group; a group's causal sequence is every token it may see up to its last own token.
    This is exact because a query of the group sees precisely the earlier tokens of its sequence.
    """
    gather: list[np.ndarray] = []
    take = np.empty(sum(len(roles) for roles, _ in rows), dtype=np.int64)
    offset = produced = 0
    for roles, compressed in rows:
        for own, visible in _role_groups(layout, roles, compressed):
            mine = np.isin(roles, own)
            last = int(np.flatnonzero(mine)[-1]) + 1
            sequence = np.flatnonzero(np.isin(roles[:last], visible))
            kept = np.flatnonzero(mine[sequence])
            take[offset + sequence[kept]] = produced + kept
            gather.append(sequence + offset)
            produced += len(sequence)
        offset += len(roles)
    starts = np.concatenate([[0], np.cumsum([len(part) for part in gather])]).astype(np.int64)
    flat = np.concatenate(gather) if gather else np.zeros(0, np.int64)
    return Spans(gather=torch.from_numpy(flat), starts=torch.from_numpy(starts), take=torch.from_numpy(take))


def _role_groups(layout: Layout, roles: np.ndarray, compressed: bool) -> list[tuple[list[int], list[int]]]:
    """(own roles, visible roles) of each group of roles in the row that see the same roles; one group when nothing is cut."""
    present = [role for role in layout.order if bool((roles == role).any())]
    groups: dict[frozenset[Role], list[int]] = {}
    for role in present:
        visible = layout.visible(role, compressed=compressed) & frozenset(present)
        groups.setdefault(visible, []).append(int(role))
    return [(own, [int(role) for role in visible]) for visible, own in groups.items()]
