"""Packing: the common head once, chunks by token budget, nothing lost."""

from dataclasses import replace

import numpy as np
import torch

from pipeline.batch import Row, chunk_by_tokens, pack, row_places, shared_system
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder, TokenSequence
from tests.pipeline.corpus import random_row


def test_the_common_head_is_packed_once_and_every_token_has_its_place(builder: SequenceBuilder, recipe: Recipe) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(builder, rng, slot=slot) for slot in range(5)]
    head = len(builder.system_ids())
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    assert shared_system(rows) == head
    assert len(batch.input_ids) == head + sum(len(row.sequence) - head for row in rows)
    for row, place in zip(rows, row_places(rows), strict=True):
        assert (batch.input_ids[torch.from_numpy(place)].numpy() == row.sequence.input_ids).all()
        assert (batch.position_ids[:, torch.from_numpy(place)].numpy() == row.sequence.positions()).all()


def test_rows_with_different_heads_share_nothing(builder: SequenceBuilder) -> None:
    one, other = (random_row(builder, np.random.default_rng(seed)) for seed in (0, 1))
    changed = other.sequence.input_ids.copy()
    changed[1] += 1
    assert shared_system([one, replace(other, sequence=replace(other.sequence, input_ids=changed))]) == 0


def test_chunks_keep_every_row_and_the_budget(builder: SequenceBuilder) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(builder, rng, slot=slot) for slot in range(40)]
    chunks = chunk_by_tokens(rows, 300)
    assert sorted(row.slot for chunk in chunks for row in chunk) == list(range(40))
    assert all(len(chunk) == 1 or sum(len(row.sequence) for row in chunk) <= 300 for chunk in chunks)
    lengths = [len(row.sequence) for chunk in chunks for row in chunk]
    assert lengths == sorted(lengths)


def test_chunks_by_hand() -> None:
    """A budget of 300: three hundreds fill it to the last token; a row over it is a chunk of its own."""

    def row(length: int) -> Row:
        roles = np.zeros(length, dtype=np.int8)
        return Row(key=str(length), sequence=TokenSequence(np.zeros(length), roles, np.zeros((0, 3)), np.zeros(0)))

    chunks = chunk_by_tokens([row(length) for length in (101, 100, 700, 100, 100, 199, 1)], 300)
    assert [[len(row.sequence) for row in chunk] for chunk in chunks] == [[1, 100, 100], [100, 101], [199], [700]]
    assert [len(chunk) for chunk in chunk_by_tokens([row(100)] * 6, 300)] == [3, 3]
