"""Picture-caption benchmarks in their public layouts: what is read, and one line for what cannot be."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.toy_captions import write_captions
from data_prep.toy_files import PictureBook
from pipeline.data.caption_sets import LAYOUTS, read_captions
from pipeline.data.pictures import FolderPictures
from pipeline.data.sugarcrepe import KINDS, read_choices
from pipeline.errors import DataError
from tests.pipeline.data.releases import picture

A, B = picture(1), picture(2)
SHARED = "share-captioner_coco_lcs_sam_1246k_1107.json"


def image(name: str, *captions: Any, split: str = "test", **more: Any) -> dict[str, Any]:
    return {"filename": name, "split": split, "sentences": [{"raw": each, "tokens": ["x"]} for each in captions], **more}


FIVE = ("one", "two", "three", "four", "five")


def karpathy(root: Path, images: Any, name: str = "flickr30k") -> Path:
    folder = root / "cross-domain" / name
    place = folder / ("flickr30k-images" if name == "flickr30k" else "val2014")
    place.mkdir(parents=True, exist_ok=True)
    for file, content in (("a.jpg", A), ("b.jpg", B)):
        (place / file).write_bytes(content)
    (folder / f"dataset_{name}.json").write_text(json.dumps({"images": images, "dataset": name}))
    return folder / f"dataset_{name}.json"


def test_karpathy_s_test_split_with_its_first_five_captions(tmp_path: Path) -> None:
    images = [image("b.jpg", *FIVE, split="train"), image("b.jpg", *FIVE, " six"), image("a.jpg", " uno ", *FIVE[1:])]
    karpathy(tmp_path, images)
    found = read_captions(tmp_path, "flickr30k")
    assert found.pictures == (B, A) and found.captions == (*FIVE, "uno", *FIVE[1:])
    assert found.owners == (0,) * 5 + (1,) * 5 and found.is_part and found.expected == 1000
    karpathy(tmp_path, [image("a.jpg", *FIVE, filepath="val2014")], "coco")
    assert read_captions(tmp_path, "coco").pictures == (A,)


def test_pictures_of_a_checked_set_are_read_when_they_are_asked_for(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """COCO's 5,000 would stand in the memory of every rank."""
    write_captions(tmp_path / "cross-domain", seed=0, rows=2, book=PictureBook())
    read, opened = list[str](), FolderPictures.read
    monkeypatch.setattr(FolderPictures, "read", lambda self, path: read.append(path) or opened(self, path))
    found, choices = read_captions(tmp_path, "urban1k", verify=False), read_choices(tmp_path, verify=False)
    assert read == [] and len(found.pictures) == 2
    assert found.pictures[1].startswith(b"\xff\xd8") and choices[0].pictures[0]
    assert read == ["image/2.jpg", "val2017/000000000000.jpg"]
    assert found == read_captions(tmp_path, "urban1k") and choices == read_choices(tmp_path)
    found = read_captions(tmp_path, "urban1k", verify=False)
    (tmp_path / "cross-domain/urban1k/image/1.jpg").unlink()
    refused(lambda: found.pictures[0], r"urban1k: .*image/1\.jpg.*; download the benchmark again")


def test_blip_s_excerpt_is_read_as_karpathy_s_file(tmp_path: Path) -> None:
    path = karpathy(tmp_path, [image("a.jpg", *FIVE), image("b.jpg", *FIVE)])
    expected = read_captions(tmp_path, "flickr30k")
    path.unlink()
    rows = [{"image": f"flickr30k-images/{name}.jpg", "caption": list(FIVE)} for name in ("a", "b")]
    (path.parent / "flickr30k_test.json").write_text(json.dumps(rows))
    assert read_captions(tmp_path, "flickr30k") == expected


def test_long_captions_as_long_clip_reads_them(tmp_path: Path) -> None:
    """ShareGPT4V: the first 1,000 rows, line breaks as spaces. Urban1K: a file's first line, in the order of numbers."""
    folder = tmp_path / "cross-domain" / "sharegpt4v"
    (folder / "sam").mkdir(parents=True)
    rows = []
    for number in range(1001):
        (folder / f"sam/{number}.jpg").write_bytes(A)
        turns = [{"from": "human", "value": "?"}, {"from": "gpt", "value": f"long\ntext {number}"}]
        rows.append({"id": str(number), "image": f"sam/{number}.jpg", "conversations": turns})
    (folder / SHARED).write_text(json.dumps(rows))
    found = read_captions(tmp_path, "sharegpt4v", verify=False)
    assert len(found.pictures) == 1000 and found.captions[999] == "long text 999" and not found.is_part
    urban = tmp_path / "cross-domain" / "urban1k"
    for number in (10, 9):
        for kind in ("image", "caption"):
            (urban / kind).mkdir(parents=True, exist_ok=True)
        (urban / f"image/{number}.jpg").write_bytes(A if number == 9 else B)
        (urban / f"caption/{number}.txt").write_text(f"first {number}\nsecond\n")
    assert read_captions(tmp_path, "urban1k").captions == ("first 9", "first 10")
    assert read_captions(tmp_path, "urban1k").pictures == (A, B)


@pytest.mark.parametrize(
    ("images", "complaint"),
    [
        ([image("a.jpg", *FIVE[:4])], "row 0: has 4 captions, not 5"),
        ([image("a.jpg", *FIVE), image("none.jpg", *FIVE)], r"row 1: .*none\.jpg"),
        ([image("a.jpg", *FIVE), image("a.jpg", *FIVE)], r"row 1: flickr30k-images/a\.jpg: stands in two rows"),
        ([image("../a.jpg", *FIVE)], r"row 0: "),
        ([image("a.jpg", *FIVE[:4], 5)], "row 0: a caption is int, not a text"),
        ([image("a.jpg", *FIVE[:4], " ")], "row 0: a caption is empty"),
        ([image("a.jpg", *FIVE[:4], "\ud800")], "row 0: a caption is not valid UTF-8"),
        ([image(7, *FIVE)], "row 0: has no filename"),  # type: ignore[arg-type]
        ([image("a.jpg", *FIVE) | {"sentences": "one"}], "row 0: its sentences are no list of objects"),
        (["a.jpg"], "row 0: has no filename"),
        ([image("a.jpg", *FIVE, split="val")], "has no rows of the test"),
        (7, "has no list of pictures"),
    ],
)
def test_a_malformed_row_is_one_line(tmp_path: Path, images: Any, complaint: str) -> None:
    karpathy(tmp_path, images)
    refused(lambda: read_captions(tmp_path, "flickr30k"), complaint)


def refused(read: Callable[[], object], complaint: str) -> None:
    with pytest.raises(DataError, match=complaint) as raised:
        read()
    assert "\n" not in str(raised.value)


def test_damaged_files_are_one_line(tmp_path: Path) -> None:
    path = karpathy(tmp_path, [image("a.jpg", *FIVE)])
    (path.parent / "flickr30k-images" / "a.jpg").write_bytes(A[:-2])
    refused(lambda: read_captions(tmp_path, "flickr30k"), "row 0: .* cannot be decoded")
    path.write_bytes(b'{"images": [{"filename": "a.jpg", "split": "test", "sentences": [' + b'{"raw": "\xff"}' + b"]}]}")
    refused(lambda: read_captions(tmp_path, "flickr30k"), "row 0: has 1 captions")
    path.write_text('{"images": [')
    refused(lambda: read_captions(tmp_path, "flickr30k"), "not readable as JSON")
    path.write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 3\n")
    refused(lambda: read_captions(tmp_path, "flickr30k"), "Git LFS")
    path.unlink()
    refused(lambda: read_captions(tmp_path, "flickr30k"), "no dataset_flickr30k.json and no flickr30k_test.json")
    for name, complaint in (("sharegpt4v", f"no {SHARED}"), ("urban1k", r"no caption/\*\.txt")):
        refused(lambda name=name: read_captions(tmp_path, name), complaint)  # type: ignore[misc]


def test_a_long_caption_without_its_picture_or_words_is_one_line(tmp_path: Path) -> None:
    write_captions(tmp_path / "cross-domain", seed=0, rows=2, book=PictureBook())
    urban, shared = tmp_path / "cross-domain/urban1k", tmp_path / "cross-domain/sharegpt4v" / SHARED
    (urban / "caption/2.txt").write_text("\nwords\n")
    refused(lambda: read_captions(tmp_path, "urban1k"), r"caption/2\.txt: a caption is empty")
    (urban / "caption/2.txt").write_bytes(b"\xff\n")
    refused(lambda: read_captions(tmp_path, "urban1k"), r"caption/2\.txt: a caption is not valid UTF-8")
    (urban / "image/1.jpg").unlink()
    refused(lambda: read_captions(tmp_path, "urban1k"), r"caption/1\.txt: .*1\.jpg")
    rows = json.loads(shared.read_text())
    for broken in (rows[0] | {"conversations": []}, rows[0] | {"image": 3}, "row"):
        shared.write_text(json.dumps([rows[1], broken]))
        refused(lambda: read_captions(tmp_path, "sharegpt4v"), "row 1: has no picture, or not one caption")


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ({"filename": "000000000000.jpg", "caption": "a", "negative_caption": "a"}, "row 0: its wrong caption is the right one"),
        ({"filename": "none.jpg", "caption": "a", "negative_caption": "b"}, r"row 0: .*none\.jpg"),
        ({"filename": "000000000000.jpg", "caption": "a"}, "row 0: has no filename, caption or negative_caption"),
        ({"filename": "000000000000.jpg", "caption": "a", "negative_caption": 3}, "row 0: has no filename, caption"),
        ("row", "row 0: has no filename, caption"),
    ],
)
def test_a_malformed_choice_is_one_line(tmp_path: Path, row: Any, complaint: str) -> None:
    write_captions(tmp_path / "cross-domain", seed=0, rows=1, book=PictureBook())
    (tmp_path / "cross-domain/sugarcrepe/swap_att.json").write_text(json.dumps({"0": row}))
    refused(lambda: read_choices(tmp_path), rf"swap_att\.json: {complaint}")


def test_a_kind_that_is_missing_is_not_passed_over(tmp_path: Path) -> None:
    write_captions(tmp_path / "cross-domain", seed=0, rows=1, book=PictureBook())
    path = tmp_path / "cross-domain/sugarcrepe/add_att.json"
    path.write_text("[]")
    refused(lambda: read_choices(tmp_path), r"add_att\.json: not of the form")
    path.unlink()
    refused(lambda: read_choices(tmp_path), r"add_att\.json: is not there; a figure of SugarCrepe is over all of")


def test_the_toy_world_has_every_set(tmp_path: Path) -> None:
    """Two right captions are never confused with wrong ones, and equal seeds give equal files."""
    for name in ("one", "two"):
        write_captions(tmp_path / name / "cross-domain", seed=3, rows=6, book=PictureBook())
    files = [
        {path.relative_to(tmp_path / name): path.read_bytes() for path in (tmp_path / name).rglob("*") if path.is_file()}
        for name in ("one", "two")
    ]
    assert files[0] == files[1]
    assert all(len(read_captions(tmp_path / "one", name).pictures) == 6 for name in LAYOUTS)
    choices = read_choices(tmp_path / "one")
    assert [each.kind for each in choices] == list(KINDS)
    for each in choices:
        assert len(each.owners) == 6 and not set(each.right) & set(each.wrong) and each.is_part
