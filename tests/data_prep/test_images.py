import io
import math
import struct
import warnings
import zlib
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import RowError
from tests.pipeline.data.releases import picture

LIMIT = 10_000


def prepared(encoded: bytes, **settings: Any) -> bytes:
    return PicturePreparer(max_pixels=LIMIT, **settings)(encoded)


def opened(encoded: bytes) -> Image.Image:
    return Image.open(io.BytesIO(encoded))


def saved(image: Image.Image, form: str, **options: Any) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)
    return sink.getvalue()


def png(width: int, height: int, body: bytes = b"") -> bytes:
    """A PNG file that declares any size, made by hand."""
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    chunks = [(b"IHDR", header), (b"IDAT", zlib.compress(body)), (b"IEND", b"")]
    parts = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in chunks]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


UNTOUCHED = {
    "jpeg": picture(1),
    "grey jpeg": picture(1, mode="L"),
    "progressive jpeg": picture(1, progressive=True),
    "png": picture(1, form="PNG"),
    "palette png": picture(1, form="PNG", mode="P"),
    "bilevel png": picture(1, form="PNG", mode="1"),
    "jpeg at the limit": picture(1, size=(100, 100)),
    "jpeg with bytes behind it": picture(1) + b"more",
    "one pixel": picture(1, size=(1, 1), form="PNG"),
}


@pytest.mark.parametrize("name", UNTOUCHED)
@pytest.mark.parametrize("verify", [True, False])
def test_sound_pictures_pass_byte_by_byte(name: str, verify: bool) -> None:
    preparer = PicturePreparer(max_pixels=LIMIT, verify=verify)
    assert preparer(UNTOUCHED[name]) == UNTOUCHED[name]
    assert not +preparer.counts


@pytest.mark.parametrize("form", ["JPEG", "PNG"])
@pytest.mark.parametrize("size", [(101, 100), (400, 50), (5, 900), (1000, 1000)])
def test_large_pictures_are_shrunk_to_the_limit(form: str, size: tuple[int, int]) -> None:
    preparer = PicturePreparer(max_pixels=1000)
    small = opened(preparer(picture(1, size=size, form=form)))
    assert small.format == form
    assert small.width * small.height <= 1000
    # Rounding down a side costs less than one row and one column.
    assert (small.width + 1) * (small.height + 1) > 1000
    scale = math.sqrt(1000 / (size[0] * size[1]))
    assert abs(small.width - size[0] * scale) <= 1
    assert abs(small.height - size[1] * scale) <= 1
    assert preparer.counts == {"pictures_resized": 1, "pictures_turned": 0, "pictures_rewritten": 1}


def test_a_shrunk_picture_shows_the_same() -> None:
    ramp = np.linspace(0, 255, 200)[None, :, None].repeat(200, 0).repeat(3, 2).astype(np.uint8)
    small = np.asarray(opened(prepared(saved(Image.fromarray(ramp), "PNG"))), dtype=float)
    assert np.abs(small[50, :, 0] - np.linspace(0, 255, small.shape[1])).max() < 3


COLOURS = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], dtype=np.uint8)
QUARTERS = COLOURS.repeat(16, axis=0).repeat(32, axis=1)


@pytest.mark.parametrize(
    ("orientation", "turned"), [(3, QUARTERS[::-1, ::-1]), (6, np.rot90(QUARTERS, -1)), (8, np.rot90(QUARTERS))]
)
def test_exif_orientation_is_applied_once(orientation: int, turned: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    result = opened(prepared(saved(Image.fromarray(QUARTERS), "JPEG", exif=exif, quality=95)))
    assert result.size == turned.shape[1::-1]
    assert result.getexif().get(0x0112, 1) == 1
    # JPEG smears colours over their borders, so the middles of the quarters are compared.
    middles = np.s_[result.height // 4 :: result.height // 2, result.width // 4 :: result.width // 2]
    assert np.abs(np.asarray(result, dtype=int)[middles] - turned[middles]).max() < 8


@pytest.mark.parametrize("block", [b"Exif\0\0garbage", b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\xff\xff\0\0"])
def test_a_damaged_exif_block_does_not_matter(block: bytes) -> None:
    encoded = saved(Image.fromarray(QUARTERS), "JPEG", exif=block)
    assert prepared(encoded) == encoded


def test_transparency_is_laid_on_white() -> None:
    layer = Image.new("RGBA", (4, 4), (255, 0, 0, 0))
    layer.putpixel((1, 2), (10, 20, 30, 255))
    layer.putpixel((2, 2), (0, 0, 0, 128))
    palette = Image.new("P", (4, 4))
    palette.putpalette([1, 2, 3, 9, 8, 7])
    palette.putpixel((1, 2), 1)
    for encoded, expected in [
        (saved(layer, "PNG"), {(0, 0): 255, (1, 2): 10, (2, 2): 127}),
        (saved(palette, "PNG", transparency=0), {(0, 0): 255, (1, 2): 9}),
        (saved(layer.convert("LA"), "PNG"), {(0, 0): 255, (1, 2): 18}),
    ]:
        result = opened(prepared(encoded))
        assert (result.mode, result.format) == ("RGB", "PNG")
        assert {place: result.getpixel(place)[0] for place in expected} == expected  # type: ignore[index]


def test_sixteen_bits_are_scaled_not_clipped() -> None:
    deep = np.array([[0, 256, 0x8080, 65535]], dtype=np.uint16)
    result = opened(prepared(saved(Image.fromarray(deep), "PNG")))
    assert np.asarray(result)[0, :, 0].tolist() == [0, 1, 128, 255]


def test_cmyk_becomes_rgb() -> None:
    result = opened(prepared(saved(Image.new("CMYK", (8, 8), (0, 255, 255, 0)), "JPEG", quality=100)))
    assert (result.mode, result.format) == ("RGB", "JPEG")
    red, green, blue = result.getpixel((4, 4))  # type: ignore[misc]
    assert red > 245
    assert max(green, blue) < 12


@pytest.mark.parametrize("form", ["GIF", "WEBP", "BMP", "TIFF"])
def test_other_formats_become_png(form: str) -> None:
    image = Image.fromarray(QUARTERS)
    encoded = saved(image, form, **({"lossless": True} if form == "WEBP" else {}))
    result = opened(prepared(encoded))
    assert result.format == "PNG"
    assert np.array_equal(np.asarray(result), QUARTERS)


@pytest.mark.parametrize("form", ["GIF", "PNG"])
def test_of_an_animation_the_first_frame_is_kept(form: str) -> None:
    frames = [Image.new("RGB", (6, 6), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
    result = opened(prepared(saved(frames[0], form, save_all=True, append_images=frames[1:])))
    assert getattr(result, "n_frames", 1) == 1
    assert result.convert("RGB").getpixel((3, 3)) == (200, 0, 0)


REFUSED = [
    (b"", "the picture file is empty"),
    (b"<html>not found</html>", "not a picture in a known format"),
    (b"\xff\xd8\xff", "not a picture in a known format"),
    (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "not a picture in a known format"),
    (png(0, 5), "not a picture in a known format"),
    (png(9_487, 9_487), "the picture declares more than 90000000 pixels"),
    (png(20_000, 20_000), "the picture declares more than 90000000 pixels"),
    (png(90_000_000, 2), "the picture declares more than 90000000 pixels"),
    (picture(1, size=(402, 2), form="PNG"), "more than 200 times longer than wide"),
    (saved(Image.new("I", (4, 4)), "TIFF"), "32 bits a pixel"),
    (saved(Image.new("F", (4, 4)), "TIFF"), "32 bits a pixel"),
]


@pytest.mark.parametrize(("encoded", "reason"), REFUSED)
@pytest.mark.parametrize("verify", [True, False])
def test_unusable_files_are_refused_with_a_reason(encoded: bytes, reason: str, verify: bool) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with pytest.raises(RowError, match=reason) as caught:
            prepared(encoded, verify=verify)
    assert "\n" not in str(caught.value)


def test_the_aspect_limit_is_that_of_the_model() -> None:
    assert prepared(picture(1, size=(400, 2), form="PNG"))


TRUNCATED = {form: picture(2, size=(90, 90), form=form) for form in ("JPEG", "PNG", "GIF")}


@pytest.mark.parametrize("form", TRUNCATED)
def test_a_truncated_picture_is_found_by_decoding(form: str) -> None:
    encoded = TRUNCATED[form][: len(TRUNCATED[form]) // 2]
    with pytest.raises(RowError, match="cannot be decoded"):
        prepared(encoded)
    if form != "GIF":
        assert prepared(encoded, verify=False) == encoded


@pytest.mark.parametrize("size", [(90, 90), (190, 90)], ids=["passed on", "shrunk"])
def test_a_damaged_checksum_inside_a_png_is_found(size: tuple[int, int]) -> None:
    encoded = bytearray(picture(2, size=size, form="PNG"))
    encoded[len(encoded) // 2] ^= 0xFF
    with pytest.raises(RowError, match="cannot be decoded"):
        prepared(bytes(encoded))


@pytest.mark.parametrize("seed", range(60))
def test_random_damage_is_a_reason_or_a_picture(seed: int) -> None:
    rng = np.random.default_rng(seed)
    encoded = bytearray(picture(seed, size=(60, 50), form=["JPEG", "PNG", "GIF", "WEBP", "TIFF", "BMP"][seed % 6]))
    for place in rng.integers(0, min(len(encoded), 200 if seed % 2 else len(encoded)), 4):
        encoded[place] = rng.integers(0, 256)
    try:
        result = opened(prepared(bytes(encoded)))
    except RowError:
        return
    assert result.format in ("JPEG", "PNG")
    assert result.width * result.height <= LIMIT
