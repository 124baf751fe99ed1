"""What becomes of a picture before it enters a shard: checked by decoding, and changed only where it must be.

All commands judge by this table: conversion, MMEB-eval, question files, `crem data check`. Benchmarks take what it takes and
refuse what it refuses; there a JPEG or PNG stays as it is, whatever its size (`for_benchmarks`).

| a picture file | what enters the shard |
|---|---|
| JPEG or PNG within the limit: colour, grey, palette, bilevel, progressive, bytes behind its end | the same bytes |
| one pixel | the same bytes |
| 16 bits a colour (PNG) | the same bytes; all readers take the upper 8 bits |
| damaged EXIF block | the same bytes |
| PNG with a wrong checksum, or a text beyond 1 MiB, in a chunk that its pixels do not need | the file without that chunk |
| PNG whose pixels are all there and whose end (IEND) is missing | the file with its end |
| JPEG with a second picture behind it (MPO) | the same bytes; the first is read |
| more pixels than the limit | shrunk once by bicubic filtering, aspect kept, in its format |
| EXIF orientation 2 to 8 | turned upright, since nothing later reads EXIF |
| CMYK and other colour spaces | RGB, in its format |
| transparency: RGBA, LA, palette | laid on white |
| 16 bits of grey | scaled to 8 bits |
| animated GIF, PNG or WebP | its first frame as PNG |
| GIF, WebP, BMP, TIFF | PNG, so that nothing is lost |
| empty | refused: the picture file is empty |
| truncated, by two bytes already (JPEG), or a byte damaged where a checksum guards pixels | refused: cannot be decoded |
| over 90 million pixels declared | refused: declares more than 90000000 pixels |
| 32 bits of grey, or real numbers | refused: 32 bits a pixel |
| more than 200 times longer than wide | refused: more than 200 times longer |
| anything else: PDF, PostScript, SVG, AVIF, web pages | refused: not a picture in a known format |
"""

import io
import math
import warnings
from collections import Counter
from dataclasses import dataclass, field

from PIL import Image, UnidentifiedImageError

from pipeline.data import png_chunks
from pipeline.data.picture_header import Header, read_header
from pipeline.data.pictures import MAX_ASPECT, SUFFIXES
from pipeline.data.reject import RowError
from pipeline.rgb import orientation, rgb, upright

DECODED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are decoded at all: Pillow knows many more, some of which start other programs."""

MAX_DECODED_PIXELS = 90_000_000
"""A file that declares more is refused before decoding: some 270 MB as RGB, more than any picture of MMEB or ShareGPT-4V."""

JPEG_QUALITY = 95

_TOO_MANY = f"the picture declares more than {MAX_DECODED_PIXELS} pixels"

_PLAIN_MODES = frozenset({"1", "L", "P", "RGB"})


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePreparer:
    """Encoded picture in, encoded picture out. Without `verify` a file that passes untouched is judged by its header only.

    `counts` receives how many were resized, turned or rewritten. With `keeps_files` JPEG and PNG files are judged and stay as
    they are: whoever reads them turns them upright and lays them on white, and no pixel changes by encoding again.
    """

    max_pixels: int
    verify: bool = True
    keeps_files: bool = False
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, encoded: bytes) -> bytes:
        """The bytes that go into the shard. Raises RowError with the reason for a picture that cannot be used."""
        if not encoded:
            raise RowError("the picture file is empty")
        header = read_header(encoded)
        if header is not None and _is_plain_jpeg(header):
            return self._of_plain_jpeg(encoded, is_large=header.width * header.height > self.max_pixels)
        if encoded.startswith(png_chunks.SIGNATURE):
            encoded = self._sound_png(encoded)
        with warnings.catch_warnings():
            # Sizes are judged here, by `_refuse_shape`; Pillow's warnings would only repeat it on stderr.
            warnings.simplefilter("ignore")
            try:
                with Image.open(io.BytesIO(encoded), formats=DECODED_FORMATS) as picture:
                    _refuse_shape(picture)
                    return self._prepared(picture, encoded)
            except RowError:
                raise
            except Image.DecompressionBombError as error:
                raise RowError(_TOO_MANY) from error
            except UnidentifiedImageError as error:
                raise RowError("not a picture in a known format") from error
            except Exception as error:  # Pillow's decoders raise many kinds on damaged files; all mean the same here.
                raise _undecodable(error) from error

    def _of_plain_jpeg(self, encoded: bytes, *, is_large: bool) -> bytes:
        """A JPEG whose head alone shows that it can only be too large: no EXIF, no other colours, nothing to warn of."""
        if not (self.verify or is_large):
            return encoded
        try:
            with Image.open(io.BytesIO(encoded), formats=("JPEG",)) as picture:
                picture.load()
                return self._rewritten(picture, "jpg", is_large=True, is_turned=False) if is_large else encoded
        except Exception as error:  # as above
            raise _undecodable(error) from error

    def _sound_png(self, encoded: bytes) -> bytes:
        """Pillow's PNG decoder passes over checksums of pixels, so those are checked apart."""
        try:
            return png_chunks.mended(encoded)
        except RowError:
            if self.verify:
                raise
            return encoded

    def _prepared(self, picture: Image.Image, encoded: bytes) -> bytes:
        turned = orientation(picture) != 1
        large = picture.width * picture.height > self.max_pixels
        if self.verify:
            picture.load()
        if self.keeps_files and picture.format in SUFFIXES:
            return encoded
        if not (turned or large) and _is_plain(picture):
            return encoded
        return self._rewritten(upright(picture), SUFFIXES.get(picture.format or "", "png"), is_large=large, is_turned=turned)

    def _rewritten(self, picture: Image.Image, suffix: str, *, is_large: bool, is_turned: bool) -> bytes:
        encoded = _encoded(_shrunk(_rgb(picture), self.max_pixels), suffix)
        self.counts.update(pictures_resized=is_large, pictures_turned=is_turned, pictures_rewritten=1)
        return encoded


def for_benchmarks(*, verify: bool = True) -> PicturePreparer:
    """How pictures of benchmarks are judged: as those of a corpus are, but JPEG and PNG files stay as they are."""
    return PicturePreparer(max_pixels=MAX_DECODED_PIXELS, verify=verify, keeps_files=True)


def _is_plain_jpeg(header: Header) -> bool:
    """Whether a file is a JPEG within the limits of what is decoded at all, and may stand in a shard but for its size."""
    longer, shorter = max(header.width, header.height), min(header.width, header.height)
    return header.is_plain and longer * shorter <= MAX_DECODED_PIXELS and longer <= MAX_ASPECT * shorter


def _undecodable(error: Exception) -> RowError:
    return RowError(f"the picture cannot be decoded ({type(error).__name__}: {error})")


def _refuse_shape(picture: Image.Image) -> None:
    width, height = picture.size
    if min(width, height) < 1:
        raise RowError(f"the picture is {width} x {height} pixels")
    if width * height > MAX_DECODED_PIXELS:
        raise RowError(_TOO_MANY)
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RowError(f"the picture is {width} x {height} pixels, more than {MAX_ASPECT} times longer than wide")


def _is_plain(picture: Image.Image) -> bool:
    """Whether a file may stand in a shard as it is: converting it to RGB later is exact."""
    if picture.format not in SUFFIXES or picture.mode not in _PLAIN_MODES or picture.has_transparency_data:
        return False
    return picture.format == "MPO" or getattr(picture, "n_frames", 1) == 1


def _rgb(picture: Image.Image) -> Image.Image:
    try:
        return rgb(picture)
    except ValueError as error:
        raise RowError(str(error)) from error


def _shrunk(picture: Image.Image, max_pixels: int) -> Image.Image:
    if picture.width * picture.height <= max_pixels:
        return picture
    scale = math.sqrt(max_pixels / (picture.width * picture.height))
    size = max(1, math.floor(picture.width * scale)), max(1, math.floor(picture.height * scale))
    return picture.resize(size, Image.Resampling.BICUBIC)


def _encoded(picture: Image.Image, suffix: str) -> bytes:
    sink = io.BytesIO()
    if suffix == "jpg":
        picture.save(sink, "JPEG", quality=JPEG_QUALITY)
    else:
        picture.save(sink, "PNG")
    return sink.getvalue()
