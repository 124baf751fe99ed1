"""The irregularities of MMEB's rows that are known, one by one."""

import io
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from pipeline.data.mmeb import read_train
from pipeline.data.mmeb_eval import read_eval
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject
from pipeline.sample import Sample, Side
from tests.pipeline.data.releases import picture, train_row, write_eval, write_table, write_train

IMAGE = "<|image_1|>\n"
A, B = picture(1), picture(2)


def pairs(root: Path, rows: list[dict[str, str]], **settings: object) -> list[Sample | Reject]:
    write_train(root, "Toy", rows, {"Toy/Train/a.jpg": A, "Toy/Train/b.jpg": B, "Toy/Train/tiny.jpg": picture(3, size=(22, 45))})
    return list(read_train(root, "Toy", **settings))  # type: ignore[arg-type]


def test_an_image_token_without_an_image(tmp_path: Path) -> None:
    """WebQA's and EDIS' queries: the token goes and is counted, or the model would wait for a picture."""
    counts = Counter[str]()
    row = train_row(IMAGE + "Find a Wikipedia image that answers this question: Who?\n", "", "p")
    (item,) = pairs(tmp_path, [row], counts=counts)
    assert isinstance(item, Sample)
    assert item.query == Side(instruction="Find a Wikipedia image that answers this question: ", text="Who?\n")
    assert counts == {"image_markers_removed": 1}


def test_an_image_without_its_token(tmp_path: Path) -> None:
    """The text stays as it is; the picture is not lost."""
    (item,) = pairs(tmp_path, [train_row("What is it?\n", "images/Toy/Train/a.jpg", "p")])
    assert isinstance(item, Sample)
    assert item.query == Side(text="What is it?\n", images=(A,))


@pytest.mark.parametrize("number", [0, 2, 7])
def test_a_token_of_a_picture_that_no_row_can_have(number: int, tmp_path: Path) -> None:
    """`<|image_2|>` would reach the model as words."""
    (item,) = pairs(tmp_path, [train_row(f"{IMAGE}<|image_{number}|> What?\n", "images/Toy/Train/a.jpg", "p")])
    assert isinstance(item, Sample)
    assert item.query.text == f"{IMAGE} What?\n"


@pytest.mark.parametrize("sides", [("", "", "p", ""), ("q", "", "", ""), (IMAGE, "", "p", ""), (" \n", "", "p", "")])
def test_an_empty_side(sides: tuple[str, ...], tmp_path: Path) -> None:
    (item,) = pairs(tmp_path, [train_row(*sides)])
    assert isinstance(item, Reject)
    assert "has neither text nor picture" in item.reason


def test_an_instruction_alone_is_a_side(tmp_path: Path) -> None:
    """The items of MSCOCO_t2i are their pictures; some rows of VisDial's end without the full stop."""
    words = [IMAGE + "Represent the given image.\n", IMAGE + "Represent the given image\n"]
    items = pairs(tmp_path, [train_row("q", "", word, "images/Toy/Train/a.jpg") for word in words])
    assert [item.positive for item in items if isinstance(item, Sample)] == [
        Side(instruction=word, images=(A,)) for word in words
    ]


def test_a_tiny_crop_keeps_its_bytes(tmp_path: Path) -> None:
    """Crops of 22 x 45 pixels exist; whether they are enlarged is the model's business, so the shard has them as they are."""
    prepare = PicturePreparer(max_pixels=10_000)
    (item,) = pairs(tmp_path, [train_row(IMAGE + "q", "images/Toy/Train/tiny.jpg", "p")], prepare=prepare)
    assert isinstance(item, Sample)
    assert Image.open(io.BytesIO(item.query.images[0])).size == (22, 45)
    assert item.query.images == (picture(3, size=(22, 45)),)
    assert not +prepare.counts


def test_captions_that_share_a_picture_are_pairs_of_their_own(tmp_path: Path) -> None:
    """MSCOCO has five captions a picture: five rows, and the picture is prepared once."""
    prepare_calls = []

    def prepare(encoded: bytes) -> bytes:
        prepare_calls.append(encoded)
        return encoded

    rows = [train_row(IMAGE + "Find an image caption", "images/Toy/Train/a.jpg", f"caption {n}") for n in range(5)]
    items = pairs(tmp_path, rows, prepare=prepare)
    assert [item.positive and item.positive.text for item in items if isinstance(item, Sample)] == [
        f"caption {n}" for n in range(5)
    ]
    assert prepare_calls == [A]


def eval_rows(root: Path, *rows: list[tuple[str, str]]) -> tuple[list[Side], tuple[tuple[int, ...], ...]]:
    table = [
        {"qry_text": f"q{n}", "qry_img_path": "", "tgt_text": [t for t, _ in row], "tgt_img_path": [p for _, p in row]}
        for n, row in enumerate(rows)
    ]
    write_eval(root, "Toy", table, {"Toy/a.jpg": A, "Toy/b.jpg": B})
    found = read_eval(root, "Toy")
    return list(found.candidates), found.pools


def test_duplicate_candidates_count_once(tmp_path: Path) -> None:
    """ImageNet's homonyms: "crane" is a bird and a machine, and stands in the list twice. The right one stays first."""
    candidates, pools = eval_rows(
        tmp_path, [("crane", ""), ("dog", ""), ("crane", "")], [("dog", ""), ("crane", ""), ("crane", "")]
    )
    assert candidates == [Side(text="crane"), Side(text="dog")]
    assert pools == ((0, 1), (1, 0))


def test_two_captions_of_a_picture_are_two_candidates(tmp_path: Path) -> None:
    """WebQA and EDIS: a candidate is its caption and its picture, never the picture alone."""
    candidates, pools = eval_rows(tmp_path, [("one", "Toy/a.jpg"), ("two", "Toy/a.jpg"), ("one", "Toy/b.jpg")])
    assert candidates == [Side(text="one", images=(A,)), Side(text="two", images=(A,)), Side(text="one", images=(B,))]
    assert pools == ((0, 1, 2),)


def test_hard_negatives_in_some_files_of_a_set_only(tmp_path: Path) -> None:
    """Columns may be missing, null or empty: one row has a negative, three have none."""
    folder = tmp_path / "MMEB-train" / "Toy"
    four = ("qry", "qry_image_path", "pos_text", "pos_image_path")
    write_table(folder / "original-00000-of-00002.parquet", [train_row("q", "", "p", columns=four)])
    rows = [train_row("q", "", "p", "", "n"), train_row("q", "", "p"), train_row("q", "", "p") | {"neg_text": None}]
    write_table(folder / "original-00001-of-00002.parquet", rows)
    items = [item for item in read_train(tmp_path, "Toy") if isinstance(item, Sample)]
    assert [item.negatives for item in items] == [(), (Side(text="n"),), (), ()]


@pytest.mark.parametrize("as_struct", [True, False])
def test_pictures_in_the_table_itself(tmp_path: Path, as_struct: bool) -> None:
    """A release whose path columns hold pictures, as `datasets` writes them when asked to embed."""
    stored = {"bytes": A, "path": "a.jpg"} if as_struct else A
    row = {"qry": IMAGE + "q", "qry_image_path": stored, "pos_text": "p", "pos_image_path": ""}
    write_table(tmp_path / "MMEB-train" / "Toy" / "original-00000-of-00001.parquet", [row])
    (item,) = read_train(tmp_path, "Toy")
    assert isinstance(item, Sample)
    assert item.query.images == (A,)


def test_a_damaged_picture_in_the_table_costs_its_row(tmp_path: Path) -> None:
    rows = [{"qry": IMAGE + "q", "qry_image_path": data, "pos_text": "p", "pos_image_path": ""} for data in (A, A[:-400], B)]
    write_table(tmp_path / "MMEB-train" / "Toy" / "original-00000-of-00001.parquet", rows)
    items = list(read_train(tmp_path, "Toy", prepare=PicturePreparer(max_pixels=10_000)))
    assert [type(item) for item in items] == [Sample, Reject, Sample]
    assert isinstance(items[1], Reject)
    assert items[1].reason.startswith("a picture in the table: the picture cannot be decoded")


def test_both_splits_have_the_same_rows_in_other_words(real_mini: Path) -> None:
    for split in ("original", "diverse_instruction"):
        assert all(isinstance(item, Sample) for item in read_train(real_mini, "ChartQA", split=split))
    pair = [list(read_train(real_mini, "ChartQA", split=split)) for split in ("original", "diverse_instruction")]
    for one, other in zip(*pair, strict=True):
        assert isinstance(one, Sample)
        assert isinstance(other, Sample)
        assert (one.key, one.query.images, one.positive) == (other.key, other.query.images, other.positive)
