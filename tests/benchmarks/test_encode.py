"""The encoding benchmark runs, compares the same embeddings, and does not time what differs."""

from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import encode

SMALL = ["--hidden", "32", "--most", "4", "--repeats", "1", "--count", "300", "--photographs", "2"]


@pytest.mark.slow
def test_ratio_and_growth_are_printed(real_mini: Path) -> None:
    done = CliRunner().invoke(encode.main, ["--data", str(real_mini), *SMALL])
    assert done.exit_code == 0, done.output
    assert "36 sides" in done.output and "embeddings agree to " in done.output
    assert all(float(done.output.split(f"| {name} | ")[1].split()[0]) > 0 for name in ("ours", "common practice", "300"))
    assert "practice / ours: " in done.output


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_what_differs_is_not_timed(wrong: float) -> None:
    assert encode.check_equal(np.zeros((2, 3)), np.full((2, 3), 1e-6)) == 1e-6
    with pytest.raises(click.ClickException, match="does not embed as we do"):
        encode.check_equal(np.zeros((2, 3)), np.full((2, 3), wrong))


def test_growth_measures_the_layer_alone() -> None:
    cost, peak = encode.growth(500)
    assert cost > 0 and peak > 500 * encode.WIDTH * 4, "what waits to be written is held"
