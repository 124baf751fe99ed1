"""What of a global batch the contrastive loss takes, where some of its sides could not be read."""

from dataclasses import dataclass

import torch

NOBODY = -1
"""The owner of a hard negative whose own query could not be read."""


@dataclass(frozen=True, slots=True, eq=False)
class Candidates:
    """`slots` (2 Q' + H',) int64 of the global batch that are taken: queries, positives in the same order, hard negatives.

    `items` and `owners` (Q' + H',) int64 are those of the candidates: what they represent, and whose they are (ContrastiveLoss).
    """

    slots: torch.Tensor
    items: torch.Tensor
    owners: torch.Tensor

    @property
    def num_queries(self) -> int:
        """Pairs of which both sides could be read."""
        return len(self.slots) - len(self.items)


def candidates(items: torch.Tensor, owners: torch.Tensor, num_pairs: int) -> Candidates:
    """From the items (2 Q + H,) of all slots, 0 where a row could not be read, and the owners (H,) of the hard negatives.

    Pairs are taken of which both sides could be read, and hard negatives that could; nothing where no pair is left.
    """
    there = items != 0
    whole = there[:num_pairs] & there[num_pairs : 2 * num_pairs]
    is_taken = there[2 * num_pairs :] & whole.any()
    slots = torch.cat([whole.repeat(2), is_taken]).nonzero()[:, 0]
    places = torch.where(whole, whole.cumsum(dim=0) - 1, NOBODY)
    own = torch.arange(int(whole.sum()), device=items.device)
    return Candidates(slots, items[slots][len(own) :], torch.cat([own, places[owners.to(items.device)[is_taken]]]))
