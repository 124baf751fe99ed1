"""Heads read by hand against Pillow, on whole files, on cut ones and on noise."""

import io

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from pipeline.data.picture_header import read_header
from tests.pipeline.data.releases import picture

FILES = {
    "plain": (picture(1), True),
    "progressive": (picture(1, progressive=True), True),
    "grey": (picture(1, mode="L"), True),
    "comment": (picture(1, comment=b"made by hand"), True),
    "restarts": (picture(1, restart_marker_blocks=1), True),
    "cmyk": (picture(1, mode="CMYK"), False),
    "profile": (picture(1, icc_profile=b"x" * 300), False),
    "exif": (picture(1, exif=b"Exif\0\0II*\0\x08\0\0\0\0\0"), False),
    "png": (picture(1, size=(7, 90), form="PNG"), False),
}


@pytest.mark.parametrize("name", FILES)
def test_size_and_form_of_whole_files(name: str) -> None:
    encoded, is_plain = FILES[name]
    header = read_header(encoded)
    assert header
    with Image.open(io.BytesIO(encoded)) as opened:
        assert (header.width, header.height) == opened.size
        assert header.suffix == {"JPEG": "jpg", "PNG": "png"}[opened.format or ""]
    assert header.is_plain is is_plain


def test_other_formats_are_left_to_pillow() -> None:
    for form in ("GIF", "BMP", "WEBP", "TIFF"):
        assert read_header(picture(1, form=form)) is None
    for content in (b"", b"\xff\xd8", b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"):
        assert read_header(content) is None


@settings(max_examples=150, deadline=None)
@given(st.sampled_from(sorted(FILES)), st.integers(0, 700), st.integers(0, 255), st.booleans())
def test_what_is_called_plain_pillow_opens_alike(name: str, place: int, byte: int, is_cut: bool) -> None:
    """A byte changed or the rest cut: never an exception, and a file that is called plain has Pillow's size and form."""
    whole = FILES[name][0]
    place %= len(whole)
    header = read_header(whole[:place] if is_cut else whole[:place] + bytes([byte]) + whole[place + 1 :])
    if header is None or not header.is_plain:
        return
    try:
        with Image.open(io.BytesIO(whole[:place] + bytes([byte]) + whole[place + 1 :])) as opened:
            assert (opened.format, opened.size) == ("JPEG", (header.width, header.height))
            assert opened.mode in ("L", "RGB")
    except OSError:
        pass  # damage behind the sizes: only decoding tells
