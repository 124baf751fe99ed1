"""Swapping: everybody gets somebody else's."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from eval.derangement import derangement
from pipeline.errors import DataError


@given(st.lists(st.sampled_from("abcdefgh"), min_size=2, max_size=60))
def test_no_item_keeps_its_own_or_an_equal_one(contents: list[str]) -> None:
    largest = max(contents.count(content) for content in contents)
    if 2 * largest > len(contents):
        with pytest.raises(DataError, match="cannot be swapped"):
            derangement(contents, what="test")
        return
    swapped = derangement(contents, what="test")
    assert sorted(swapped) == list(range(len(contents)))
    assert all(contents[other] != content for content, other in zip(contents, swapped, strict=True))


def test_it_is_fixed() -> None:
    contents = [f"text {number}" for number in range(20)]
    assert derangement(contents, what="test") == derangement(list(contents), what="test")


@pytest.mark.parametrize("contents", [[], ["alone"], ["same", "same"]])
def test_too_little_to_swap(contents: list[str]) -> None:
    with pytest.raises(DataError, match="use more varied data"):
        derangement(contents, what="test")
