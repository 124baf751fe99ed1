import os
import re
import unicodedata
import zipfile
from pathlib import Path

import pytest

from pipeline.data import pictures
from pipeline.data.pictures import FolderPictures, Pictures, ZipPictures, find_pictures, measure
from pipeline.data.reject import RowError
from pipeline.errors import DataError
from tests.pipeline.data.releases import picture, write_zip


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "in" / "A" / "Train").mkdir(parents=True)
    (tmp_path / "in" / "A" / "Train" / "a b.jpg").write_bytes(b"picture")
    (tmp_path / "outside.jpg").write_bytes(b"secret")
    return tmp_path / "in"


@pytest.mark.parametrize("stored", ["A/Train/x.jpg", "images/A/Train/x.jpg"])
@pytest.mark.parametrize("asked", ["A/Train/x.jpg", "images/A/Train/x.jpg", "./A//Train/x.jpg"])
def test_members_with_and_without_a_leading_images(tmp_path: Path, stored: str, asked: str) -> None:
    write_zip(tmp_path / "A.zip", {stored: b"picture"})
    assert ZipPictures(tmp_path / "A.zip").read(asked) == b"picture"


@pytest.mark.parametrize("asked", ["A/Train/a b.jpg", "images/A/Train/a b.jpg"])
def test_a_folder_serves_as_well_as_a_zip(folder: Path, asked: str) -> None:
    assert FolderPictures(folder).read(asked) == b"picture"


ESCAPES = [
    "../outside.jpg",
    "A/../../outside.jpg",
    "images/../../outside.jpg",
    "/etc/passwd",
    "C:/x.jpg",
    "A\\..\\x.jpg",
    "A\0.jpg",
]


@pytest.mark.parametrize("path", ESCAPES)
def test_a_path_that_leaves_is_refused_before_anything_is_opened(folder: Path, path: str) -> None:
    write_zip(folder / "A.zip", {path.replace("\0", "0"): b"secret"})
    for source in (FolderPictures(folder), ZipPictures(folder / "A.zip")):
        with pytest.raises(RowError, match="not a plain relative path"):
            source.read(path)


def test_what_is_missing_is_named(folder: Path) -> None:
    write_zip(folder / "A.zip", {"A/x.jpg": b""})
    with pytest.raises(RowError, match=r"A\.zip has no member A/Train/y\.jpg"):
        ZipPictures(folder / "A.zip").read("A/Train/y.jpg")
    with pytest.raises(RowError, match=re.escape(f"{folder} has no file A/Train/y.jpg")):
        FolderPictures(folder).read("A/Train/y.jpg")


NFC, NFD = (unicodedata.normalize(form, "A/Train/caf\u00e9.jpg") for form in ("NFC", "NFD"))
SPELT = {
    "backslashes": ("A\\Train\\x.jpg", "A/Train/x.jpg"),
    "backslashes behind a folder": ("A/Train\\x.jpg", "A/Train/x.jpg"),
    "backslashes and images": ("images\\A\\Train\\x.jpg", "A/Train/x.jpg"),
    "accents taken apart": (NFD, NFC),
    "accents put together": (NFC, NFD),
    "UTF-8 read as code page 437": (NFC.encode().decode("cp437"), NFC),
    "the same of accents taken apart": (NFD.encode().decode("cp437"), NFC),
    "Korean read as code page 437": ("\uace0\uc591\uc774.jpg".encode().decode("cp437"), "\uace0\uc591\uc774.jpg"),
}
IN_ZIPS = SPELT | {"a dot": ("./A/Train/x.jpg", "A/Train/x.jpg"), "two slashes": ("A//Train/./x.jpg", "A/Train/x.jpg")}


@pytest.mark.parametrize("name", IN_ZIPS)
def test_a_member_is_found_by_any_spelling_of_its_name(tmp_path: Path, name: str) -> None:
    stored, asked = IN_ZIPS[name]
    write_zip(tmp_path / "A.zip", {"A/Train/": b"", "A/Train/other.jpg": b"other", stored: b"picture"})
    source = ZipPictures(tmp_path / "A.zip")
    assert source.has(asked)
    assert source.read(asked) == b"picture"
    assert source.read("A/Train/other.jpg") == b"other"
    assert not source.has("A/Train")


@pytest.mark.parametrize("name", SPELT)
def test_a_file_is_found_by_any_spelling_of_its_name(folder: Path, name: str) -> None:
    """On Linux a backslash is a letter like others: unpacking a zip of Windows gives such files."""
    stored, asked = SPELT[name]
    (folder / stored).parent.mkdir(parents=True, exist_ok=True)
    (folder / stored).write_bytes(b"picture")
    assert FolderPictures(folder).has(asked)
    assert FolderPictures(folder).read(asked) == b"picture"
    assert not FolderPictures(folder).has("A/Train")


def test_a_spelling_of_two_different_pictures_is_refused(folder: Path) -> None:
    names = ("A\\x.jpg", "./A/x.jpg")
    write_zip(folder / "A.zip", dict.fromkeys(names, b"same"))
    assert ZipPictures(folder / "A.zip").read("A/x.jpg") == b"same"
    write_zip(folder / "A.zip", dict(zip(names, (b"one", b"two"), strict=True)))
    with pytest.raises(RowError, match=r"A\.zip has two different members A.x\.jpg"):
        ZipPictures(folder / "A.zip").read("A/x.jpg")
    for number, name in enumerate(("A\\Train\\y.jpg", "A/Train\\y.jpg")):
        (folder / name).write_bytes(bytes([number]))
    with pytest.raises(RowError, match=r"has 2 files of the name A/Train/y\.jpg"):
        FolderPictures(folder).read("A/Train/y.jpg")


def test_an_exact_name_is_the_one_that_is_meant(folder: Path) -> None:
    write_zip(folder / "A.zip", {"A\\x.jpg": b"one", "A/x.jpg": b"two"})
    assert ZipPictures(folder / "A.zip").read("A/x.jpg") == b"two"


def test_no_spelling_leads_out(folder: Path) -> None:
    """Names that mean another place are not looked for there, and nobody asks for them."""
    for name in ("..\\outside.jpg", "A\\..\\..\\outside.jpg"):
        (folder / name).write_bytes(b"inside")
    write_zip(folder / "B.zip", {"..\\outside.jpg": b"inside", "../outside.jpg": b"inside"})
    for source in (FolderPictures(folder), ZipPictures(folder / "B.zip")):
        assert not source.has("outside.jpg")
        with pytest.raises(RowError, match="not a plain relative path"):
            source.read("../outside.jpg")


@pytest.mark.parametrize("stored", ["A/Train/x.JPG", "A/Train/X.jpg", "A/Train/x.png", "A/Train/x.jpg ", "A/Train/x%2Ejpg"])
def test_where_a_like_name_is_there_the_reason_shows_it(folder: Path, stored: str) -> None:
    write_zip(folder / "A.zip", {"A/Train/._x.jpg": b"", "A/Train/y.jpg": b"", stored: b"picture"})
    with pytest.raises(RowError, match=rf"^A\.zip has no member images/A/Train/x\.jpg; it has '{re.escape(stored)}'$"):
        ZipPictures(folder / "A.zip").read("images/A/Train/x.jpg")
    (folder / stored).write_bytes(b"picture")
    with pytest.raises(RowError, match=rf"has no file A/Train/x\.jpg; it has '{re.escape(Path(stored).name)}'$"):
        FolderPictures(folder).read("A/Train/x.jpg")


def test_a_pipe_in_a_folder_is_no_picture(folder: Path) -> None:
    os.mkfifo(folder / "pipe.jpg")
    with pytest.raises(RowError, match="has no file"):
        FolderPictures(folder).read("pipe.jpg")


def test_one_flipped_byte_costs_one_member(tmp_path: Path) -> None:
    path = tmp_path / "A.zip"
    write_zip(path, {"one.jpg": b"1" * 100, "two.jpg": b"2" * 100})
    content = bytearray(path.read_bytes())
    content[content.index(b"1" * 100) + 50] ^= 1
    path.write_bytes(content)
    source = ZipPictures(path)
    with pytest.raises(RowError, match=r"member one\.jpg is unreadable"):
        source.read("one.jpg")
    assert source.read("two.jpg") == b"2" * 100


def test_a_member_that_unpacks_beyond_the_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "MAX_PICTURE_BYTES", 1000)
    with zipfile.ZipFile(tmp_path / "A.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("bomb.jpg", bytes(1001))
        archive.writestr("fits.jpg", bytes(1000))
    with pytest.raises(RowError, match=r"bomb\.jpg is larger than"):
        ZipPictures(tmp_path / "A.zip").read("bomb.jpg")
    assert len(ZipPictures(tmp_path / "A.zip").read("fits.jpg")) == 1000


def test_a_file_that_is_no_zip_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "A.zip").write_bytes(b"PK\x03\x04 not much of a zip")
    with pytest.raises(DataError, match=r"A\.zip: not a readable zip archive"):
        find_pictures(tmp_path / "A.zip")


def test_the_first_place_that_exists_is_taken(folder: Path, tmp_path: Path) -> None:
    assert isinstance(find_pictures(tmp_path / "none.zip", folder), FolderPictures)
    with pytest.raises(DataError, match=r"none\.zip: missing"):
        find_pictures(tmp_path / "none.zip", tmp_path / "none")


def test_a_picture_is_prepared_once_for_rows_that_follow_each_other(tmp_path: Path) -> None:
    write_zip(tmp_path / "A.zip", {"x.jpg": b"x", "y.jpg": b"y"})
    prepared: list[bytes] = []

    def prepare(encoded: bytes) -> bytes:
        prepared.append(encoded)
        return encoded.upper()

    source = Pictures(tmp_path / "A.zip", prepare=prepare)
    assert [source.read(name) for name in ("x.jpg", "x.jpg", "y.jpg", "x.jpg")] == [b"X", b"X", b"Y", b"X"]
    assert prepared == [b"x", b"y"]


def test_a_refusal_names_the_path(tmp_path: Path) -> None:
    def refuse(encoded: bytes) -> bytes:
        raise RowError("too dull")

    write_zip(tmp_path / "A.zip", {"x.jpg": b"x"})
    with pytest.raises(RowError, match=r"x\.jpg: too dull"):
        Pictures(tmp_path / "A.zip", prepare=refuse).read("x.jpg")


@pytest.mark.parametrize(("form", "suffix"), [("JPEG", "jpg"), ("PNG", "png")])
def test_measure(form: str, suffix: str) -> None:
    assert measure(picture(size=(31, 17), form=form)) == (suffix, 31, 17)


@pytest.mark.parametrize("encoded", [b"", b"text", picture(form="GIF"), picture(form="PNG")[:20]])
def test_measure_refuses_other_files(encoded: bytes) -> None:
    with pytest.raises(RowError, match="not a JPEG or PNG file"):
        measure(encoded)
