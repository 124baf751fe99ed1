"""Each row of the table of pictures (the docstring of pipeline.data.picture_preparer) with files of its kind."""

import io
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from pipeline.data import picture_preparer
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.pictures import SUFFIXES
from pipeline.data.reject import RowError
from tests.data_prep.damage import flipped, png
from tests.pages import table
from tests.pipeline.data.releases import picture

LIMIT = 10_000
FATES = {row["a picture file"]: row["what enters the shard"] for row in table(picture_preparer.__doc__ or "", "a picture file")}
FRAMES = [Image.new("RGB", (6, 6), colour) for colour in ((200, 0, 0), (0, 200, 0), (0, 0, 200))]
SHAPES = [Image.new(mode, (8, 6)) for mode in ("RGBA", "LA")]


def saved(image: Image.Image, form: str, **options: object) -> bytes:
    sink = io.BytesIO()
    image.save(sink, form, **options)  # type: ignore[arg-type]
    return sink.getvalue()


def turned(orientation: int) -> bytes:
    exif = Image.Exif()
    exif[0x0112] = orientation
    return saved(Image.fromarray(UPRIGHT), "JPEG", exif=exif, quality=95)


def deep_png() -> bytes:
    """Four pixels of 16 bits a colour, made by hand: Pillow writes none."""
    rows = b"\0" + struct.pack(">6H", 0, 0x80FF, 0xFFFF, 0x1234, 0xABCD, 0x00FF)
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    parts = [(b"IHDR", header), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    framed = [struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data)) for name, data in parts]
    return b"\x89PNG\r\n\x1a\n" + b"".join(framed)


def with_chunk(name: bytes, body: bytes, *, checksum: int | None = None, at: int = 33) -> bytes:
    """The plain PNG with one more chunk, behind its header or elsewhere."""
    chunk = name + body
    whole = struct.pack(">I", len(body)) + chunk + struct.pack(">I", zlib.crc32(chunk) if checksum is None else checksum)
    return PLAIN_PNG[:at] + whole + PLAIN_PNG[at:]


def animated(form: str) -> bytes:
    return saved(FRAMES[0], form, save_all=True, append_images=FRAMES[1:], **({"lossless": True} if form == "WEBP" else {}))


UPRIGHT = np.array([[(255, 0, 0), (0, 255, 0)], [(0, 0, 255), (255, 255, 255)]], dtype=np.uint8).repeat(16, 0).repeat(32, 1)
PLAIN_PNG = picture(1, size=(60, 50), form="PNG")
PALETTE_PNG = picture(1, size=(60, 50), form="PNG", mode="P")
OTHER_COLOURS = PALETTE_PNG[:51] + bytes([PALETTE_PNG[51] ^ 0xFF]) + PALETTE_PNG[52:]
"""A byte of its palette is another: what is left would decode, in wrong colours."""
LARGE = [picture(1, size=(200, 90), form=form) for form in ("JPEG", "PNG", "WEBP")]
CUT = [picture(1, size=(60, 50), form=form)[:-300] for form in ("JPEG", "PNG", "WEBP", "BMP")]
PALETTE = saved(Image.new("P", (4, 4)), "PNG", transparency=0)

KINDS: dict[str, list[bytes]] = {
    "JPEG or PNG within the limit": [
        *(picture(1, mode=mode, form="PNG") for mode in ("RGB", "L", "P", "1")),
        *(picture(1), picture(1, mode="L"), picture(1, progressive=True), picture(1) + b"more", picture(1, size=(100, 100))),
    ],
    "one pixel": [picture(1, size=(1, 1), form=form) for form in ("JPEG", "PNG")],
    "16 bits a colour": [deep_png()],
    "damaged EXIF block": [picture(1, exif=b"Exif\0\0garbage")],
    "PNG with a wrong checksum": [
        with_chunk(b"tEXt", b"Title\0x", checksum=1),
        with_chunk(b"tEXt", b"Title\0x", checksum=1, at=-12),
        with_chunk(b"pHYs", struct.pack(">IIB", 2835, 2835, 1), checksum=1),
        with_chunk(b"tRNS", bytes(6), checksum=1),
        with_chunk(b"iCCP", b"ICC\0\0" + zlib.compress(bytes(99)), checksum=1),
        with_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26))),
        with_chunk(b"zTXt", b"k\0\0" + zlib.compress(bytes(2**26)), at=-12),
        with_chunk(b"iTXt", b"XML:com.adobe.xmp\0\1\0\0\0" + zlib.compress(bytes(2**23))),
        with_chunk(b"iCCP", b"k\0\0" + zlib.compress(bytes(2**21))),
        with_chunk(b"iCCP", b"k\0\0" + b"not packed"),
    ],
    "PNG whose pixels": [PLAIN_PNG[:-12], PLAIN_PNG[:-4], PLAIN_PNG[:-9], PLAIN_PNG[:-12] + bytes(20)],
    "JPEG with a second picture": [saved(FRAMES[0], "MPO", save_all=True, append_images=FRAMES[1:])],
    "more pixels": LARGE,
    "EXIF orientation": [turned(orientation) for orientation in range(2, 9)],
    "CMYK": [picture(1, mode="CMYK"), saved(Image.new("YCbCr", (8, 6)), "TIFF"), saved(Image.new("LAB", (8, 6)), "TIFF")],
    "transparency": [*(saved(shape, "PNG") for shape in SHAPES), PALETTE, saved(SHAPES[0], "WEBP")],
    "16 bits of grey": [saved(Image.fromarray(np.full((3, 4), 0x8080, np.uint16)), form) for form in ("PNG", "TIFF")],
    "animated": [animated(form) for form in ("GIF", "PNG", "WEBP")],
    "GIF, WebP, BMP, TIFF": [picture(1, form=form) for form in ("GIF", "WEBP", "BMP", "TIFF")],
    "empty": [b""],
    "truncated": [*CUT, picture(1)[:-2], PLAIN_PNG[:-16], OTHER_COLOURS, *(flipped(PLAIN_PNG, place) for place in (0.5, 0.9))],
    "over 90 million": [png(9_487, 9_487), png(65_000, 65_000)],
    "32 bits": [saved(Image.new(mode, (4, 4)), "TIFF") for mode in ("I", "F")],
    "more than 200": [picture(1, size=(402, 2), form="PNG"), picture(1, size=(1, 201))],
    "anything else": [b"%PDF-1.4\n", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"<svg/>", b"<html>", bytes(99), picture(1, form="AVIF")],
}
CASES = [(row, number) for row in KINDS for number in range(len(KINDS[row]))]


def test_every_row_of_the_table_has_files() -> None:
    assert len(FATES) == len(KINDS)
    for told, kind in zip(FATES, KINDS, strict=True):
        assert told.startswith(kind)


@pytest.mark.parametrize(("row", "number"), CASES)
def test_the_fate_is_as_told(row: str, number: int) -> None:
    encoded, told = KINDS[row][number], FATES[next(name for name in FATES if name.startswith(row))]
    prepare = PicturePreparer(max_pixels=LIMIT)
    if told.startswith("refused: "):
        with pytest.raises(RowError, match=told.removeprefix("refused: ")):
            prepare(encoded)
        return
    found = prepare(encoded)
    if told.startswith("the file with"):
        assert found == PLAIN_PNG, "of what was added nothing stays, of the rest all"
        return
    assert (found == encoded) == told.startswith("the same bytes")
    with Image.open(io.BytesIO(encoded)) as before, Image.open(io.BytesIO(found)) as after:
        after.load()
        assert after.format in SUFFIXES
        assert after.width * after.height <= LIMIT
        LOOKS.get(row, lambda before, after: None)(before, after)


def looks_upright(_: Image.Image, after: Image.Image) -> None:
    """The eight orientations are all ways to turn and mirror; Pillow's own transposition is the reference."""
    assert after.getexif().get(0x0112, 1) == 1


def looks_rgb(_: Image.Image, after: Image.Image) -> None:
    assert after.mode == "RGB"


def looks_white(_: Image.Image, after: Image.Image) -> None:
    assert (after.mode, after.format) == ("RGB", "PNG")
    assert after.getpixel((0, 0)) == (255, 255, 255)


def looks_scaled(_: Image.Image, after: Image.Image) -> None:
    assert after.convert("L").getpixel((0, 0)) == 0x80


def looks_first(_: Image.Image, after: Image.Image) -> None:
    assert (after.format, getattr(after, "n_frames", 1)) == ("PNG", 1)
    assert after.convert("RGB").getpixel((3, 3)) == (200, 0, 0)


def looks_exact(before: Image.Image, after: Image.Image) -> None:
    assert after.format == "PNG"
    assert np.array_equal(np.asarray(before.convert("RGB")), np.asarray(after))


def looks_deep(_: Image.Image, after: Image.Image) -> None:
    assert np.asarray(after.convert("RGB")).tolist() == [[[0, 0x80, 0xFF], [0x12, 0xAB, 0]]]


LOOKS: dict[str, Callable[[Image.Image, Image.Image], None]] = {
    "EXIF orientation": looks_upright,
    "CMYK": looks_rgb,
    "transparency": looks_white,
    "16 bits of grey": looks_scaled,
    "16 bits a colour": looks_deep,
    "animated": looks_first,
    "GIF, WebP, BMP, TIFF": looks_exact,
}

# What a viewer does with the pixels as they are stored, by the EXIF standard (row 0 and column 0 of the stored picture are ...).
BY_ORIENTATION: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: np.fliplr,
    3: lambda pixels: np.rot90(pixels, 2),
    4: np.flipud,
    5: lambda pixels: pixels.transpose(1, 0, 2),
    6: lambda pixels: np.rot90(pixels, -1),
    7: lambda pixels: np.rot90(pixels, 2).transpose(1, 0, 2),
    8: np.rot90,
}


@pytest.mark.parametrize("orientation", BY_ORIENTATION)
def test_all_orientations_are_turned_as_the_standard_says(orientation: int) -> None:
    with Image.open(io.BytesIO(PicturePreparer(max_pixels=LIMIT)(turned(orientation)))) as after:
        pixels = np.asarray(after, dtype=int)
    expected = BY_ORIENTATION[orientation](UPRIGHT)
    assert pixels.shape == expected.shape
    # JPEG smears colours over their borders, so the middles of the quarters are compared.
    middles = np.s_[pixels.shape[0] // 4 :: pixels.shape[0] // 2, pixels.shape[1] // 4 :: pixels.shape[1] // 2]
    assert np.abs(pixels[middles] - expected[middles]).max() < 8
