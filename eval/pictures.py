"""Pictures for evaluation: grey stand-ins that show what a model knows without looking, and thumbnails for the report."""

import base64
import io
import warnings
from functools import lru_cache

from PIL import Image

from pipeline.data.pictures import measure
from pipeline.data.reject import RowError
from pipeline.errors import DataError
from pipeline.sample import Side

MID_GREY = (128, 128, 128)
THUMBNAIL_SIDE = 192
_KEPT_BYTES = 12_000
_MIME = {"jpg": "image/jpeg", "png": "image/png"}


def size_of(picture: bytes) -> tuple[int, int]:
    """Width and height of an encoded picture, from its header alone. Raises DataError for anything but JPEG and PNG."""
    try:
        _, width, height = measure(picture)
    except RowError as error:
        raise DataError(f"a picture of the evaluation data: {error}; download the data again") from error
    return width, height


def blanked(side: Side) -> Side:
    """The side with every picture replaced by a mid-grey one of the same size; its texts stay."""
    return Side(instruction=side.instruction, text=side.text, images=tuple(_grey(*size_of(picture)) for picture in side.images))


@lru_cache(maxsize=256)
def _grey(width: int, height: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, height), MID_GREY).save(file, format="PNG")
    return file.getvalue()


def thumbnail(picture: bytes, side: int = THUMBNAIL_SIDE) -> str:
    """A data URI of at most so many pixels a side, for a page without outside files. Small files are kept byte for byte."""
    suffix, *_ = measure(picture)
    if len(picture) <= _KEPT_BYTES:
        return data_uri(_MIME[suffix], picture)
    with warnings.catch_warnings():
        warnings.simplefilter("error", Image.DecompressionBombWarning)
        with Image.open(io.BytesIO(picture), formats=("JPEG", "PNG")) as opened:
            small = opened.convert("RGB")
    small.thumbnail((side, side))
    file = io.BytesIO()
    small.save(file, format="JPEG", quality=80)
    return data_uri("image/jpeg", file.getvalue())


def data_uri(mime: str, content: bytes) -> str:
    """A file as an address that holds it."""
    return f"data:{mime};base64,{base64.b64encode(content).decode('ascii')}"
