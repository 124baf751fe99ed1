"""What becomes of a picture before it enters a shard: checked by decoding, and changed only where it must be.

A JPEG or PNG within the pixel limit passes byte by byte. Others are decoded once and written once:
- more pixels than the limit: shrunk, aspect kept;
- an EXIF orientation: turned upright, since nothing later reads EXIF;
- CMYK and other colour spaces: RGB; transparency: laid on white; 16 bit and floating point: scaled to 8 bit;
- animations: the first frame; formats other than JPEG: PNG, so that nothing is lost.
Empty, truncated, undecodable and bomb-like files, and those more than 200 times longer than wide, are refused with a reason.
"""

import io
import math
import warnings
from collections import Counter
from dataclasses import dataclass, field

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from pipeline.data.pictures import SUFFIXES
from pipeline.data.reject import RowError

DECODED_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
"""Formats that are decoded at all: Pillow knows many more, some of which start other programs."""

MAX_DECODED_PIXELS = 90_000_000
"""A file that declares more is refused before decoding: some 270 MB as RGB, more than any picture of MMEB or ShareGPT-4V."""

MAX_ASPECT = 200
"""Qwen2-VL's limit of the ratio of a picture's sides."""

JPEG_QUALITY = 95

_PLAIN_MODES = frozenset({"1", "L", "P", "RGB"})
_DEEP_MODES = frozenset({"I", "F", "I;16", "I;16B", "I;16L", "I;16N"})
_ORIENTATION = 0x0112


@dataclass(frozen=True, slots=True, kw_only=True)
class PicturePreparer:
    """Encoded picture in, encoded picture out. Without `verify` a file that passes untouched is judged by its header only.

    `counts` receives how many were resized, turned or rewritten.
    """

    max_pixels: int
    verify: bool = True
    counts: Counter[str] = field(default_factory=Counter)

    def __call__(self, encoded: bytes) -> bytes:
        """The bytes that go into the shard. Raises RowError with the reason for a picture that cannot be used."""
        if not encoded:
            raise RowError("the picture file is empty")
        with warnings.catch_warnings():
            # Sizes are judged here, by `_refuse_shape`; Pillow's warnings would only repeat it on stderr.
            warnings.simplefilter("ignore")
            try:
                with Image.open(io.BytesIO(encoded), formats=DECODED_FORMATS) as picture:
                    _refuse_shape(picture)
                    return self._prepared(picture, encoded)
            except RowError:
                raise
            except UnidentifiedImageError as error:
                raise RowError("not a picture in a known format") from error
            except Exception as error:  # Pillow's decoders raise many kinds on damaged files; all mean the same here.
                raise RowError(f"the picture cannot be decoded ({type(error).__name__}: {error})") from error

    def _prepared(self, picture: Image.Image, encoded: bytes) -> bytes:
        turned = _orientation(picture) != 1
        large = picture.width * picture.height > self.max_pixels
        if not (turned or large) and _is_plain(picture):
            if self.verify:
                picture.load()
            return encoded
        self.counts["pictures_resized"] += large
        self.counts["pictures_turned"] += turned
        self.counts["pictures_rewritten"] += 1
        suffix = SUFFIXES.get(picture.format or "", "png")
        rgb = _shrunk(_rgb(ImageOps.exif_transpose(picture) if turned else picture), self.max_pixels)
        return _encoded(rgb, suffix)


def _refuse_shape(picture: Image.Image) -> None:
    width, height = picture.size
    if min(width, height) < 1:
        raise RowError(f"the picture is {width} x {height} pixels")
    if width * height > MAX_DECODED_PIXELS:
        raise RowError(f"the picture declares {width} x {height} pixels, more than {MAX_DECODED_PIXELS}")
    if max(width, height) > MAX_ASPECT * min(width, height):
        raise RowError(f"the picture is {width} x {height} pixels, more than {MAX_ASPECT} times longer than wide")


def _orientation(picture: Image.Image) -> int:
    """The EXIF orientation, 1 (upright) where there is none or the EXIF block is damaged: its pixels may still be sound."""
    try:
        value = picture.getexif().get(_ORIENTATION)
    except Exception:  # noqa: BLE001 - damaged EXIF raises many kinds; none of them says anything about the pixels
        return 1
    return value if isinstance(value, int) and 2 <= value <= 8 else 1


def _is_plain(picture: Image.Image) -> bool:
    """Whether a file may stand in a shard as it is: converting it to RGB later is exact."""
    frames = getattr(picture, "n_frames", 1)
    one_frame = frames == 1 or picture.format == "MPO"
    return picture.format in SUFFIXES and picture.mode in _PLAIN_MODES and "transparency" not in picture.info and one_frame


def _rgb(picture: Image.Image) -> Image.Image:
    if picture.mode in _DEEP_MODES:
        values = np.asarray(picture, dtype=np.float64)
        scale = 1.0 if values.max(initial=0.0) <= 255 else 65535 / 255
        return Image.fromarray(np.clip(values / scale, 0, 255).round().astype(np.uint8)).convert("RGB")
    if picture.has_transparency_data:
        layer = picture.convert("RGBA")
        return Image.alpha_composite(Image.new("RGBA", layer.size, "white"), layer).convert("RGB")
    return picture.convert("RGB")


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
