"""What is decoded and answered together stays inside its bounds, leaves nothing out and keeps the order."""

from itertools import pairwise
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline import answer_batches
from pipeline.sample import Side
from pipeline.side_reader import SideReader


class Reader:
    """A picture is shown at one row of as many pixels as its file has bytes."""

    def shown(self, side: Side) -> tuple[tuple[int, int], ...]:
        return tuple((1, len(picture)) for picture in side.images)


def parts_of(sizes: list[list[int]], pixels: int, sides: int) -> list[range]:
    given = [Side(images=tuple(b"x" * size for size in own)) for own in sizes]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_batches, "DECODED_PIXELS", pixels)
        patch.setattr(answer_batches, "DECODED_SIDES", sides)
        return list(answer_batches.decoded_together(cast(SideReader, Reader()), given))


@given(st.lists(st.lists(st.integers(0, 9), max_size=3), max_size=12), st.integers(1, 12), st.integers(1, 5))
def test_pixels_bound_what_is_decoded_together(sizes: list[list[int]], pixels: int, sides: int) -> None:
    parts = parts_of(sizes, pixels, sides)
    assert [place for part in parts for place in part] == list(range(len(sizes)))
    for part in parts:
        assert len(part) == 1 or (sum(sum(sizes[place]) for place in part) <= pixels and len(part) <= sides)
    for part, after in pairwise(parts):
        more = sum(sum(sizes[place]) for place in [*part, after[0]])
        assert more > pixels or len(part) == sides, "no run could have been longer"


@given(st.integers(0, 5), st.lists(st.integers(1, 9), max_size=12), st.integers(1, 40), st.integers(1, 5))
def test_tokens_bound_what_is_answered_together(kept: int, lengths: list[int], tokens: int, rows: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(answer_batches, "CHUNK_TOKENS", tokens)
        patch.setattr(answer_batches, "ANSWERED_ROWS", rows)
        parts = list(answer_batches.answered_together(kept, [[0] * length for length in lengths]))
    assert [place for part in parts for place in part] == list(range(len(lengths)))
    for part in parts:
        padded = len(part) * (kept + max(lengths[place] for place in part))
        assert len(part) == 1 or (padded <= tokens and len(part) <= rows)


def test_large_pictures_are_few_at_a_time() -> None:
    """16,384 visual tokens a picture, as VLMEvalKit's limits allow, are 38 MB decoded: twenty of them, not 256."""
    most = 16384 * 28 * 28
    assert answer_batches.DECODED_PIXELS // most == 20
