"""The benchmark of the search: its made-up pairs are mined as real ones, and its ratios are worked by hand."""

import pytest

from benchmarks import mining
from benchmarks.mining import Case, Took


def test_a_search_writes_as_many_references_as_asked_for_of_each_query() -> None:
    took = mining.search(Case(20, 60, 8))
    assert took.references == 20 * 20 and took.seconds > 0, "of 59 ranks 20 for each of 20 queries"
    vectors = mining.CASES[0]
    assert vectors.products == 512 * 10_000 * 32


def test_ratios_are_to_the_first_line() -> None:
    cases = (Case(10, 100, 4), Case(10, 1000, 4))
    took = (Took(seconds=1.0, peak_bytes=10_000_000, references=1), Took(seconds=5.0, peak_bytes=15_000_000, references=1))
    *_, first, second = mining.lines(cases, took)
    assert first.split("|")[4:8] == [" 1.00 ", " 1.00 ", " 10 ", " 1.00 "]
    assert second.split("|")[4:8] == [" 5.00 ", " 0.50 ", " 15 ", " 1.50 "]
    assert [float(cell) for cell in second.split("|")[4:8]] == pytest.approx([5, 0.5, 15, 1.5])
