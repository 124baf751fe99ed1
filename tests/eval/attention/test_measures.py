"""Share, coverage and entropy of attention weights, by hand."""

import numpy as np
import pytest

from eval.attention.measures import coverage, coverage_together, entropy, half, share


def test_figures_worked_by_hand() -> None:
    """Of 4 visual tokens: one gets all; all the same; 4, 2, 1 and 1 eighths, of which half the picture's attention is 0.4."""
    weights = np.array([[0, 0, 0.3, 0], [0.2] * 4, [0.1, 0.4, 0.2, 0.1]])
    np.testing.assert_allclose(share(weights), [0.3, 0.8, 0.8])
    np.testing.assert_allclose(coverage(weights), [1 / 4, 1 / 2, 1 / 4])
    bits = 0.5 * 1 + 0.25 * 2 + 2 * 0.125 * 3
    np.testing.assert_allclose(entropy(weights), [0, 1, bits / 2], atol=1e-12)
    assert half(weights).tolist() == [[False, False, True, False], [True, True, False, False], [False, True, False, False]]
    assert coverage_together(weights) == pytest.approx(3 / 4), "tokens 2, 0 and 1, and 1 again"
    assert coverage_together(np.stack([weights[:1]] * 2, axis=1)).tolist() == [1 / 4], "two that look at the same place"


def test_figures_have_a_value_where_there_is_nothing_to_compare() -> None:
    """One visual token, and a picture that gets nothing."""
    assert (entropy([0.5]), coverage([0.5]), share([0.5])) == (0, 1, 0.5)
    assert (entropy([0.0, 0.0]), coverage([0.0, 0.0]), share([0.0, 0.0])) == (0, 0, 0)
