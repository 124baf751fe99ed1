from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.data.mmeb import count_train, read_train, train_datasets
from pipeline.data.mmeb_eval import eval_datasets, read_eval
from pipeline.data.reject import Reject, RowError
from pipeline.errors import DataError
from pipeline.sample import Sample, Side
from tests.pipeline.data.releases import picture, train_row, write_eval, write_table, write_train

IMAGE = "<|image_1|>\n"
A, B = picture(1), picture(2)
ZIP = {"Toy/Train/a.jpg": A, "Toy/Train/b b.jpg": B}
PATH_A, PATH_B = "images/Toy/Train/a.jpg", "images/Toy/Train/b b.jpg"


def read(root: Path, rows: list[dict[str, Any]], pictures: dict[str, bytes] | None = ZIP) -> tuple[list[Any], Counter[str]]:
    write_train(root, "Toy", rows, pictures)
    counts = Counter[str]()
    return list(read_train(root, "Toy", counts=counts)), counts


def test_every_form_of_a_pair(tmp_path: Path) -> None:
    rows = [
        train_row(IMAGE + "Identify the object shown in the image\n", PATH_A, "a dog"),
        train_row(
            "Find me an everyday image that matches the given caption: two\n", "", IMAGE + "Represent the given image.\n", PATH_B
        ),
        train_row(IMAGE + "How many?\n", PATH_A, "two", "", "three", ""),
        train_row(IMAGE + "q", PATH_A, IMAGE + "p", PATH_B, IMAGE + "n", PATH_A),
    ]
    items, counts = read(tmp_path, rows)
    whole = IMAGE + "Identify the object shown in the image\n"
    assert items == [
        Sample(key="toy-00000000", dataset="Toy", query=Side(instruction=whole, images=(A,)), positive=Side(text="a dog")),
        Sample(
            key="toy-00000001",
            dataset="Toy",
            query=Side(instruction="Find me an everyday image that matches the given caption: ", text="two\n"),
            positive=Side(instruction=IMAGE + "Represent the given image.\n", images=(B,)),
        ),
        Sample(
            key="toy-00000002",
            dataset="Toy",
            query=Side(text=IMAGE + "How many?\n", images=(A,)),
            positive=Side(text="two"),
            negatives=(Side(text="three"),),
        ),
        Sample(
            key="toy-00000003",
            dataset="Toy",
            query=Side(text=IMAGE + "q", images=(A,)),
            positive=Side(text=IMAGE + "p", images=(B,)),
            negatives=(Side(text=IMAGE + "n", images=(A,)),),
        ),
    ]
    assert not +counts


def test_a_marker_without_a_picture_is_removed_and_counted(tmp_path: Path) -> None:
    rows = [
        train_row(IMAGE + "Find a Wikipedia image that answers this question: who?\n", "", "p"),
        train_row(f"<|image_2|> and <|image_1|> and {IMAGE}", PATH_A, "p"),
        train_row("no marker", PATH_A, "p"),
    ]
    items, counts = read(tmp_path, rows)
    assert items[0].query == Side(instruction="Find a Wikipedia image that answers this question: ", text="who?\n")
    assert items[1].query == Side(text=" and <|image_1|> and ", images=(A,))
    assert items[2].query == Side(text="no marker", images=(A,))
    assert counts["image_markers_removed"] == 3


def test_negative_columns_may_be_missing_or_null(tmp_path: Path) -> None:
    four = ("qry", "qry_image_path", "pos_text", "pos_image_path")
    items, _ = read(tmp_path, [train_row("q", "", "p", columns=four)], None)
    assert items[0].negatives == ()
    items, _ = read(
        tmp_path, [train_row("q", "", "p") | {"neg_text": None, "neg_image_path": None, "qry_image_path": None}], None
    )
    assert items == [Sample(key="toy-00000000", dataset="Toy", query=Side(text="q"), positive=Side(text="p"))]


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        (train_row("", "", "p"), "its query side has neither text nor picture"),
        (train_row(IMAGE, "", "p"), "its query side has neither text nor picture"),
        (train_row("q", "", " \n"), "its positive side has neither text nor picture"),
        (train_row("q", "images/Toy/Train/c.jpg", "p"), "Toy.zip has no member images/Toy/Train/c.jpg"),
        (train_row("q", "", "p", "", "n", "images/Toy/Train/c.jpg"), "Toy.zip has no member images/Toy/Train/c.jpg"),
        (train_row("q", "../../etc/passwd", "p"), "path '../../etc/passwd' is not a plain relative path"),
    ],
)
def test_an_unusable_row_is_a_reject_with_its_place(tmp_path: Path, row: dict[str, str], reason: str) -> None:
    items, _ = read(tmp_path, [train_row("good", "", "p"), row, train_row("good", "", "p")])
    assert [item.key for item in items] == ["toy-00000000", "toy-00000001", "toy-00000002"]
    source = "MMEB-train/Toy/original-00000-of-00001.parquet"
    assert items[1] == Reject(source=source, row=1, key="toy-00000001", reason=reason)


def test_the_preparation_may_refuse_a_picture(tmp_path: Path) -> None:
    def prepare(encoded: bytes) -> bytes:
        if encoded == B:
            raise RowError("ugly")
        return encoded[::-1]

    write_train(tmp_path, "Toy", [train_row("q", PATH_A, "p"), train_row("q", PATH_B, "p")], ZIP)
    good, bad = read_train(tmp_path, "Toy", prepare=prepare)
    assert isinstance(good, Sample)
    assert good.query.images == (A[::-1],)
    assert isinstance(bad, Reject)
    assert bad.reason == f"{PATH_B}: ugly"


def test_files_of_a_split_follow_each_other(tmp_path: Path) -> None:
    folder = tmp_path / "MMEB-train" / "Toy"
    for part in (1, 0):
        rows = [train_row(f"{part}.{n}", "", "" if (part, n) == (1, 1) else "p") for n in range(3)]
        write_table(folder / f"original-{part:05d}-of-00002.parquet", rows)
    write_table(folder / "diverse_instruction-00000-of-00001.parquet", [train_row("other", "", "p")])
    items = list(read_train(tmp_path, "Toy"))
    assert [item.key for item in items] == [f"toy-{n:08d}" for n in range(6)]
    assert [item.query.text for item in items if isinstance(item, Sample)] == ["0.0", "0.1", "0.2", "1.0", "1.2"]
    assert isinstance(items[4], Reject)
    assert (items[4].source, items[4].row) == ("MMEB-train/Toy/original-00001-of-00002.parquet", 1)
    assert count_train(tmp_path, "Toy") == 6
    assert len(list(read_train(tmp_path, "Toy", cap=4))) == 4
    assert [item.query.text for item in read_train(tmp_path, "Toy", split="diverse_instruction") if isinstance(item, Sample)] == [
        "other"
    ]


@pytest.mark.parametrize("place", ["MMEB-train", "MMEB-train/images_zip/Toy"])
def test_unpacked_pictures_serve_as_well(tmp_path: Path, place: str) -> None:
    write_train(tmp_path, "Toy", [train_row("q", PATH_A, "p")])
    file = tmp_path / place / PATH_A
    file.parent.mkdir(parents=True)
    file.write_bytes(A)
    (item,) = read_train(tmp_path, "Toy")
    assert isinstance(item, Sample)
    assert item.query.images == (A,)


def test_a_missing_zip_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"images_zip/Toy\.zip: missing"):
        read(tmp_path, [train_row("q", PATH_A, "p")], None)


def test_wrong_places_are_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="MMEB-train: no such folder; a data folder holds"):
        train_datasets(tmp_path)
    (tmp_path / "MMEB-eval" / "Empty").mkdir(parents=True)
    with pytest.raises(DataError, match="MMEB-eval: no dataset folders"):
        eval_datasets(tmp_path)
    with pytest.raises(DataError, match="Toy: no such dataset folder"):
        list(read_train(tmp_path, "Toy"))
    write_table(tmp_path / "MMEB-train" / "Toy" / "original-00000-of-00003.parquet", [train_row("q", "", "p")])
    with pytest.raises(DataError, match=r"Toy: no original2-NNNNN-of-MMMMM\.parquet"):
        list(read_train(tmp_path, "Toy", split="original2"))
    with pytest.raises(DataError, match=r"original-00001-of-00003\.parquet is missing"):
        list(read_train(tmp_path, "Toy"))


def test_a_dataset_that_did_not_come_whole_is_not_left_out_unsaid(tmp_path: Path) -> None:
    """A mean over the sets that happened to be there would pass for the benchmark's."""
    for place, name in (("MMEB-eval", "test-00000-of-00001.parquet"), ("MMEB-train", "original-00000-of-00001.parquet")):
        (tmp_path / place / "Whole").mkdir(parents=True)
        (tmp_path / place / "Whole" / name).touch()
        (tmp_path / place / "images").mkdir()
    assert eval_datasets(tmp_path) == train_datasets(tmp_path) == ["Whole"]
    for place in ("MMEB-eval", "MMEB-train"):
        (tmp_path / place / "Half").mkdir()
        (tmp_path / place / "Half" / "test-00000-of-00001.parquet.incomplete").touch()
    with pytest.raises(DataError, match=r"Half: has test-00000-of-00001\.parquet\.incomplete, but no .*; download it again"):
        train_datasets(tmp_path)
    assert eval_datasets(tmp_path) == ["Half", "Whole"], "of a benchmark it costs itself and no other set"
    with pytest.raises(DataError, match=r"Half: no test-NNNNN-of-MMMMM\.parquet in it; download the dataset"):
        read_eval(tmp_path, "Half")


def test_files_that_an_operating_system_put_there_are_passed_over(tmp_path: Path) -> None:
    write_train(tmp_path, "Toy", [train_row("q", "", "p")])
    write_eval(tmp_path, "Toy", [{"qry_text": "q", "qry_img_path": "", "tgt_text": ["a"], "tgt_img_path": [""]}], {})
    for part, name in (("MMEB-train", "original-00000-of-00001.parquet"), ("MMEB-eval", "test-00000-of-00001.parquet")):
        for folder in ("Toy", "__MACOSX/Toy", "__MACOSX", ".cache", "Empty"):
            (tmp_path / part / folder).mkdir(parents=True, exist_ok=True)
            (tmp_path / part / folder / f"._{name}").write_bytes(b"Mac OS X")
            (tmp_path / part / folder / ".DS_Store").write_bytes(b"Bud1")
        (tmp_path / part / ".cache" / name).write_bytes(b"half a download")
        (tmp_path / part / "__MACOSX" / name).write_bytes(b"Mac OS X")
    assert train_datasets(tmp_path) == eval_datasets(tmp_path) == ["Toy"]
    assert len(list(read_train(tmp_path, "Toy"))) == len(read_eval(tmp_path, "Toy").queries) == 1
