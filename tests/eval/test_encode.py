"""Sides come back in their own order, each embedded once."""

import numpy as np
import pytest

from eval.encode import content_digest, embed_sides
from pipeline.errors import DataError
from pipeline.sample import Side, Turn
from tests.eval.fakes import FakeModel, digest_vector, png


def test_embeddings_stand_in_the_order_of_their_sides() -> None:
    words = ["a long text that comes first", "short", "", "a long text that comes first", "middling text"] * 40
    sides = [
        Side(text=f"{word} {number % 90}", images=(png((number, 0, 0)),) if number % 3 else ())
        for number, word in enumerate(words)
    ]
    model = FakeModel()
    embeddings = embed_sides(model, sides, what="test")
    assert np.array_equal(embeddings, np.stack([digest_vector(side) for side in sides]).astype(np.float32))
    assert len(model.embedded) == len(set(sides))


def test_what_is_said_counts_not_how_it_is_cut() -> None:
    model = FakeModel()
    sides = [Side(instruction="Find: ", text="x"), Side(text="Find: x"), Side(text="Find: x", turns=(Turn(question="q"),))]
    embeddings = embed_sides(model, sides, what="test")
    assert len(model.embedded) == 1
    assert np.array_equal(embeddings[0], embeddings[2])


def test_every_picture_of_a_side_counts() -> None:
    first, second, third = (png((number, 0, 0)) for number in range(3))
    sides = [Side(text="x", images=images) for images in ((first,), (first, second), (first, third), (second, first))]
    embeddings = embed_sides(FakeModel(), sides, what="test")
    assert np.array_equal(embeddings, np.stack([digest_vector(side) for side in sides]).astype(np.float32))
    assert len({content_digest([side]) for side in sides}) == 4


def test_progress_ends_at_the_number_of_distinct_sides() -> None:
    told: list[tuple[str, int, int]] = []
    embed_sides(
        FakeModel(), [Side(text=str(number % 100)) for number in range(150)], what="set", progress=lambda *step: told.append(step)
    )
    assert told == [("set", 64, 100), ("set", 100, 100)]


def test_a_broken_picture_is_named() -> None:
    with pytest.raises(DataError, match="not a JPEG or PNG"):
        embed_sides(FakeModel(), [Side(images=(b"nothing",))], what="test")


def test_digest_follows_content_and_order() -> None:
    first, second = Side(text="ab", images=(b"c",)), Side(text="a", images=(b"bc",))
    digests = {content_digest(sides) for sides in ([first, second], [second, first], [first], [Side(text="abc")])}
    assert len(digests) == 4


def test_a_side_that_takes_long_is_said_and_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    model, sides = FakeModel(), [Side(text="word " * 20_000), Side(text="short")]
    embed_sides(model, sides, what="Birds")
    assert caplog.messages == ["Birds: nothing is cut, and 1 sides have up to about 25000 tokens"]
    assert {side.text for side in model.embedded} == {side.text for side in sides}
    caplog.clear()
    embed_sides(model, sides[1:], what="Birds")
    assert caplog.messages == []
