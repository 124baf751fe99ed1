"""How much is read and answered at the same time: bounded by decoded pixels and by tokens, so that memory is whatever comes."""

from collections.abc import Iterator, Sequence

from pipeline.sample import Side
from pipeline.side_reader import SideReader

DECODED_PIXELS = 256 * 1280 * 28 * 28
"""Pixels, as they are shown, of pictures that are decoded at the same time: 256 of Qwen2-VL's 1,280 tokens, 0.8 GB as bytes."""

DECODED_SIDES = 1024
"""Sides that are read at the same time, where they have few pictures or none."""

CHUNK_TOKENS = 8192
"""Tokens of a packed chunk, and of the memory that is answered from together; a longer row is alone."""

ANSWERED_ROWS = 64
"""Rows that are answered together."""


def decoded_together(reader: SideReader, sides: Sequence[Side]) -> Iterator[range]:
    """Places of sides in runs whose pictures have at most `DECODED_PIXELS`; a side of more is alone. Raises as `reading`."""
    start, room = 0, DECODED_PIXELS
    for place, side in enumerate(sides):
        pixels = sum(height * width for height, width in reader.shown(side))
        if place > start and (pixels > room or place - start == DECODED_SIDES):
            yield range(start, place)
            start, room = place, DECODED_PIXELS
        room -= pixels
    if sides:
        yield range(start, len(sides))


def answered_together(kept: int, questions: Sequence[Sequence[int]]) -> Iterator[range]:
    """Places of questions in runs of at most `ANSWERED_ROWS`, whose memories, padded to the longest, have at most `CHUNK_TOKENS`.

    `kept` are the tokens that each memory holds before its question; a question of more is alone.
    """
    start, longest = 0, 0
    for place, question in enumerate(questions):
        longest = max(longest, kept + len(question))
        rows = place - start + 1
        if rows > 1 and (rows > ANSWERED_ROWS or rows * longest > CHUNK_TOKENS):
            yield range(start, place)
            start, longest = place, kept + len(question)
    if questions:
        yield range(start, len(questions))
