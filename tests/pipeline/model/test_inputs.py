"""Pixels: resizing rule and patches against transformers' own picture processor, bit for bit."""

import io

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from transformers import Qwen2VLImageProcessorPil

from pipeline.data.picture_preparer import PicturePreparer
from pipeline.errors import DataError
from pipeline.model.families.qwen_vl import CLIP_MEAN, CLIP_STD
from pipeline.model.inputs import PatchCutter, PixelLimits, View, load_pixels

DEEP_GREYS = {0: 0, 32768: 128, 60000: 233, 65535: 255}
"""Of 16 bits to 8: 65,535 is 255, so a step is 257 wide."""


@settings(max_examples=30, deadline=None)
@given(width=st.integers(1, 400), height=st.integers(1, 400), most=st.integers(4, 80), seed=st.integers(0, 9))
def test_pixels_and_grid_are_the_processors(width: int, height: int, most: int, seed: int) -> None:
    if max(width, height) > 200 * min(width, height):
        return
    limits = PixelLimits(min_tokens=4, max_tokens=most)
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    processor = Qwen2VLImageProcessorPil(size={"shortest_edge": 4 * 784, "longest_edge": most * 784})
    expected = processor(picture, return_tensors="pt")
    pixels = load_pixels(file.getvalue(), limits, where="test")
    patches = PatchCutter(mean=CLIP_MEAN, std=CLIP_STD)(torch.from_numpy(pixels)[None])
    assert tuple(expected["image_grid_thw"][0].tolist()) == limits.grid(height, width)
    assert torch.equal(expected["pixel_values"], patches)


def test_a_crop_narrower_than_a_token_keeps_its_aspect() -> None:
    """22 x 45 pixels: enlarged to 4 tokens or more (1.78 times, each side rounded up), to 256 by 14.2 times. Never 56 x 56."""
    assert PixelLimits(min_tokens=4, max_tokens=1280).resized(45, 22) == (3 * 28, 2 * 28)
    assert PixelLimits(min_tokens=256, max_tokens=1280).resized(45, 22) == (23 * 28, 12 * 28)


def test_a_photo_is_turned_before_it_is_resized() -> None:
    """Orientation 6: what is stored on its left stands at the top. 84 x 28 stored pixels are 28 x 84 that are seen."""
    colours = np.repeat(np.array([[[255, 0, 0], [0, 255, 0], [0, 0, 255]]], dtype=np.uint8), 28, axis=0).repeat(28, axis=1)
    exif, file = Image.Exif(), io.BytesIO()
    exif[0x0112] = 6
    Image.fromarray(colours).save(file, "PNG", exif=exif)
    pixels = load_pixels(file.getvalue(), PixelLimits(min_tokens=1), where="test")
    assert pixels.shape == (3, 84, 28)
    assert [pixels[:, row, 14].tolist() for row in (14, 42, 70)] == [[255, 0, 0], [0, 255, 0], [0, 0, 255]]


def test_what_cannot_be_decoded_or_is_too_long_is_one_clear_error() -> None:
    with pytest.raises(DataError, match="shard 3 row 7: picture cannot be decoded"):
        load_pixels(b"not a picture", PixelLimits(), where="shard 3 row 7")
    with pytest.raises(DataError, match="200 times"):
        PixelLimits().resized(10, 2001)
    assert PixelLimits().resized(10, 2000) == (28, 29 * 28), "200 times is the most"


@pytest.mark.parametrize("block", [b"garbagegarbage", bytes(40), b"II", b"II*\0"])
def test_a_damaged_exif_block_does_not_matter(block: bytes) -> None:
    """With a density in the file, as photos have, Pillow looks at the block only when it is asked to turn the picture."""
    colours = np.full((28, 56, 3), 90, dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours).save(file, "JPEG", dpi=(72, 72), exif=b"Exif\0\0" + block)
    assert (load_pixels(file.getvalue(), PixelLimits(min_tokens=1), where="test") == 90).all()


def test_a_picture_is_read_as_its_shard_would_hold_it() -> None:
    """What is transparent is white, and 16 bits of grey are scaled, in the benchmark as in training."""
    clear = Image.new("RGBA", (56, 28), (0, 0, 0, 0))
    greys = [(Image.fromarray(np.full((28, 56), level, dtype=np.uint16)), shown) for level, shown in DEEP_GREYS.items()]
    for picture, expected in ((clear, 255), *greys):
        file = io.BytesIO()
        picture.save(file, "PNG")
        encoded = file.getvalue()
        pixels = load_pixels(encoded, PixelLimits(min_tokens=1), where="test")
        assert (pixels == expected).all()
        prepared = PicturePreparer(max_pixels=10**6)(encoded)
        assert (load_pixels(prepared, PixelLimits(min_tokens=1), where="test") == pixels).all()


def test_a_view_is_that_part_of_the_picture_at_the_whole_one_s_size() -> None:
    """Four quarters of one colour each: the lower left one alone is seen, at the size of the whole."""
    colours = np.array([[[255, 0, 0], [0, 255, 0]], [[0, 0, 255], [9, 9, 9]]], dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(colours.repeat(56, axis=0).repeat(84, axis=1)).save(file, "PNG")
    seen = load_pixels(file.getvalue(), PixelLimits(), where="test", view=View(left=0.0, top=0.5, width=0.5, height=0.5))
    assert seen.shape == load_pixels(file.getvalue(), PixelLimits(), where="test").shape == (3, 112, 168)
    # Pixels at the edges are mixed with their neighbours, wherever those lie.
    assert (seen[:, 4:-4, 4:-4] == np.array([0, 0, 255], dtype=np.uint8).reshape(3, 1, 1)).all()


@given(least=st.floats(0.1, 1.0), seed=st.integers(0, 2**32), width=st.integers(1, 5000), height=st.integers(1, 5000))
def test_drawn_views_lie_in_the_picture_and_are_no_smaller_than_allowed(least: float, seed: int, width: int, height: int) -> None:
    view = View.draw(least, np.random.default_rng(seed))
    assert least <= view.width <= 1 and least <= view.height <= 1
    left, top, right, bottom = view.box(width, height)
    assert 0 <= left < right <= width and 0 <= top < bottom <= height


def test_views_are_of_any_size_and_anywhere() -> None:
    """Width and height each even between a half and 1, left and top over the room that is left; none tells of another."""
    views = [View.draw(0.5, np.random.default_rng(seed)) for seed in range(400)]
    draws = np.array(
        [((v.width - 0.5) / 0.5, (v.height - 0.5) / 0.5, v.left / (1 - v.width), v.top / (1 - v.height)) for v in views]
    )
    for number in draws.T:
        assert np.histogram(number, bins=4, range=(0.0, 1.0))[0].min() > 60, "100 each, five standard deviations are 43"
    assert np.abs(np.corrcoef(draws.T) - np.eye(4)).max() < 0.25
