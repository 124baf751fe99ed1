"""The encoding benchmark runs, compares the same embeddings, and does not time what differs."""

import mmap
import time
from pathlib import Path

import click
import numpy as np
import pytest
from click.testing import CliRunner

from benchmarks import encode, encode_growth

SMALL = ["--hidden", "32", "--most", "4", "--repeats", "1", "--count", "300", "--photographs", "2"]


@pytest.mark.slow
def test_ratio_and_growth_are_printed(real_mini: Path) -> None:
    done = CliRunner().invoke(encode.main, ["--data", str(real_mini), *SMALL])
    assert done.exit_code == 0, done.output
    assert "36 sides" in done.output and "embeddings agree to " in done.output
    assert all(
        float(done.output.split(f"| {name} | ")[1].split()[0]) > 0 for name in ("ours", "common practice", "300 | nothing kept")
    )
    assert "practice / ours: " in done.output


@pytest.mark.parametrize("wrong", [1e-3, np.nan])
def test_what_differs_is_not_timed(wrong: float) -> None:
    assert encode.check_equal(np.zeros((2, 3)), np.full((2, 3), 1e-6)) == 1e-6
    with pytest.raises(click.ClickException, match="does not embed as we do"):
        encode.check_equal(np.zeros((2, 3)), np.full((2, 3), wrong))


def test_growth_measures_the_layer_alone() -> None:
    first, again = encode_growth.growth(500)
    block = 500 * encode_growth.WIDTH * 4
    assert first.cost > 0 and first.held > block, "what waits to be written is held"
    assert again.cost > 0 and min(first.anonymous, first.mapped, again.anonymous, again.mapped) >= 0


def test_resident_memory_is_the_kernels_and_its_peak_is_seen() -> None:
    before = encode_growth.resident_bytes()
    assert set(before) == {"RssAnon", "RssFile"}
    with encode_growth._watched() as most, mmap.mmap(-1, 8 << 20, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS) as held:
        held.write(b"x" * len(held))
        time.sleep(10 * encode_growth.SAMPLE_SECONDS)
    assert most["RssAnon"] > 7 << 20
