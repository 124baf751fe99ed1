"""Which hard negatives a pair has, of its own row and by reference."""

import numpy as np
import pytest

from pipeline.data.references import References
from pipeline.errors import ConfigError
from pipeline.negatives import InFile, Mined
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.hard_negatives import HardNegatives
from pipeline.train.dataloader.lengths import Lengths

NEEDED = [[9, 9, 100, 101, 100], [9, 9], [9, 101], [9, 9]]
"""Tokens of each row's query, positive and own negatives."""


def corpus(references: References | None = None) -> Corpus:
    starts = np.cumsum([0, *map(len, NEEDED)])
    flat = np.array([count for row in NEEDED for count in row])
    lengths = Lengths(starts=starts, tokens=flat, needed=flat, visual=0 * flat, problems={})
    return Corpus(index=None, qa=None, lengths=lengths, references=references)  # type: ignore[arg-type]


@pytest.mark.parametrize(("most", "found"), [(0, ()), (1, ((0, 2),)), (2, ((0, 2), (0, 4))), (3, ((0, 2), (0, 4)))])
def test_own_negatives_that_do_not_fit_are_passed_over(most: int, found: tuple[tuple[int, int], ...]) -> None:
    one = HardNegatives(corpus(), InFile(most=most), 100, ())
    assert one.of(0) == found and one.of(1) == ()


def test_references_come_by_rank_without_what_does_not_fit_or_is_held_out() -> None:
    """Row 0 has the positives of rows 2 (too long), 3 (held out) and 1, and a query; row 1 has none; row 2 that of row 3."""
    references = References(starts=np.array([0, 4, 4, 5, 5]), rows=np.array([2, 3, 1, 3, 3]), sides=np.array([1, 1, 1, 0, 1]))
    one = HardNegatives(corpus(references), Mined(most=2), 100, ())
    assert one.of(0) == ((3, 1), (1, 1)) and one.of(1) == () and one.of(2) == ((3, 1),)
    without = HardNegatives(corpus(references), Mined(most=2), 100, (3,))
    assert without.of(0) == ((1, 1),) and without.of(2) == ()


def test_references_that_are_asked_for_must_be_there() -> None:
    with pytest.raises(ConfigError, match="takes mined ones, and there are none; run crem mine first"):
        HardNegatives(corpus(), Mined(), 100, ())
