"""One name for what the sides of an evaluation hold."""

from eval.encode import content_digest
from pipeline.sample import Side
from tests.eval.fakes import png


def test_digest_follows_content_and_order() -> None:
    first, second = Side(text="ab", images=(b"c",)), Side(text="a", images=(b"bc",))
    digests = {content_digest(sides) for sides in ([first, second], [second, first], [first], [Side(text="abc")])}
    assert len(digests) == 4


def test_every_picture_of_a_side_counts() -> None:
    first, second, third = (png((number, 0, 0)) for number in range(3))
    sides = [Side(text="x", images=images) for images in ((first,), (first, second), (first, third), (second, first))]
    assert len({content_digest([side]) for side in sides}) == 4
