"""Pictures of a question file's rows: base64, a list of them, another row's index, or names of files beside the file."""

import ast
import base64
import binascii
import io
from collections.abc import Mapping
from pathlib import Path
from typing import Literal

from PIL import Image

from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import FolderPictures
from pipeline.data.reject import RowError

POINTER_CHARACTERS = 64
"""An image field no longer than this is the index of another row whose picture it shares."""

Alpha = Literal["white", "drop"]
"""What lies behind a transparent picture: white, or whatever colour its transparent pixels hold (VLMEvalKit drops alpha)."""


class NoPictureError(RowError):
    """A row without a picture, which others leave out too."""


class QuestionPictures:
    """The encoded pictures of rows. Files lie in `images/<name>/` beside the question file."""

    def __init__(self, path: Path, rows: Mapping[str, Mapping[str, str]], alpha: Alpha = "white") -> None:
        self._rows = rows
        self._alpha = alpha
        self._files = FolderPictures(path.parent / "images" / path.stem)
        self._prepare = for_benchmarks()

    def of(self, row: Mapping[str, str]) -> tuple[bytes, ...]:
        """The encoded pictures of a row. Raises RowError when one is damaged, NoPictureError when it has none."""
        field = row.get("image", "")
        if field and len(field) <= POINTER_CHARACTERS and not field.startswith("["):
            field = self._pointed(field)
        if field:
            pictures = tuple(_decode(item) for item in _items(field))
        else:
            pictures = tuple(self._files.read(name) for name in _items(row.get("image_path", "")))
        if not pictures:
            raise NoPictureError("it has no picture")
        return tuple(map(self._prepared, pictures))

    def _prepared(self, picture: bytes) -> bytes:
        try:
            return self._prepare(picture if self._alpha == "white" else without_alpha(picture))
        except RowError as error:
            raise RowError(f"its picture: {error}") from error

    def _pointed(self, index: str) -> str:
        """The field that a pointer names: one hop, never a chain."""
        field = self._rows.get(index.removesuffix(".0"), {}).get("image", "")
        if len(field) <= POINTER_CHARACTERS:
            raise RowError(f"its image names row {index}, which is missing or has no picture of its own")
        return field


def without_alpha(picture: bytes) -> bytes:
    """The picture without its transparency, as RGB; the same bytes where it has none or cannot be read (which is told later)."""
    try:
        with Image.open(io.BytesIO(picture), formats=("PNG", "WEBP", "GIF", "TIFF")) as opened:
            if not opened.has_transparency_data:
                return picture
            file = io.BytesIO()
            opened.convert("RGB").save(file, format="PNG")
    except (OSError, ValueError, Image.DecompressionBombError):
        return picture
    return file.getvalue()


def _items(field: str) -> list[str]:
    """The entries of a list literal, or the field itself; nothing for an empty field."""
    if not field.startswith("["):
        return [field] if field else []
    try:
        items = ast.literal_eval(field)
    except (ValueError, SyntaxError, MemoryError, RecursionError) as error:
        raise RowError(f"its list of pictures is not a list literal ({type(error).__name__})") from error
    if not all(isinstance(item, str) for item in items):
        raise RowError("its list of pictures holds something other than texts")
    return list(items)


def _decode(text: str) -> bytes:
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        raise RowError(f"its picture is not base64 ({error})") from error
