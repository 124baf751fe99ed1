"""Which slots of a global batch the contrastive loss takes, and whose candidates they are."""

import pytest
import torch

from pipeline.train.global_batch import candidates


@pytest.mark.parametrize(
    ("items", "num_pairs", "owners", "slots", "taken_owners"),
    [
        ([5, 6, 7, 8], 2, [], [0, 1, 2, 3], [0, 1]),
        ([0, 6, 7, 8], 2, [], [1, 3], [0]),
        ([5, 6, 7, 0], 2, [], [0, 2], [0]),
        ([5, 6, 7, 8, 9, 0, 4], 2, [0, 1, 1], [0, 1, 2, 3, 4, 6], [0, 1, 0, 1]),
        ([0, 6, 7, 8, 9, 3, 4], 2, [0, 1, 1], [1, 3, 4, 5, 6], [0, -1, 0, 0]),
        ([0, 6, 7, 0, 9], 2, [1], [], []),
        ([], 0, [], [], []),
    ],
)
def test_a_pair_counts_with_both_its_sides(
    items: list[int], num_pairs: int, owners: list[int], slots: list[int], taken_owners: list[int]
) -> None:
    """Slots are queries, positives in the same order, then hard negatives; item 0 is what nobody could read."""
    found = candidates(torch.tensor(items, dtype=torch.int64), torch.tensor(owners, dtype=torch.int64), num_pairs)
    assert found.slots.tolist() == slots and found.owners.tolist() == taken_owners
    assert found.items.tolist() == [items[slot] for slot in slots if slot >= num_pairs]
    assert found.num_queries == sum(slot < num_pairs for slot in slots)
