"""Conversion against independent readings of the same folders: pyarrow, zipfile and json alone."""

import hashlib
import io
import json
import tarfile
import zipfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from data_prep.convert import Conversion, silent
from data_prep.convert import convert as run
from data_prep.convert_work import Progress
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.sample import Side
from tests.pipeline.data.releases import (
    picture,
    talk,
    train_row,
    write_conversations,
    write_table,
    write_train,
    write_zip,
)

IMAGE = "<|image_1|>\n"
PATH = "images/Toy/Train/a.jpg"
A = picture(1)


@dataclass(frozen=True)
class Expected:
    """A row as the release has it: texts and pictures of query, positive and negative (texts None where the side is missing)."""

    texts: list[str | None]
    pictures: list[list[bytes]]


def pairs_of(root: Path, name: str) -> Iterator[Expected]:
    """The `original` rows of a dataset."""
    zipped = root / "MMEB-train" / "images_zip" / f"{name}.zip"
    archive = zipfile.ZipFile(zipped) if zipped.exists() else None
    members = {} if archive is None else {member.removeprefix("images/"): member for member in archive.namelist()}

    def pictures(path: str) -> list[bytes]:
        return [archive.read(members[path.removeprefix("images/")])] if path and archive else []

    for row in pq.read_table(root / "MMEB-train" / name / "original-00000-of-00001.parquet").to_pylist():
        sides = [
            (row[f"{side}_text"] if side != "qry" else row["qry"], row[f"{side}_image_path"]) for side in ("qry", "pos", "neg")
        ]
        # WebQA's queries carry a marker though they have no picture.
        texts: list[str | None] = [text if path else text.removeprefix(IMAGE) for text, path in sides]
        if not any(sides[2]):
            texts[2] = None
        yield Expected(texts, [pictures(path) for _, path in sides])


def talks_of(root: Path) -> Iterator[Expected]:
    """The conversations: their messages as texts, the picture first."""
    archive = zipfile.ZipFile(root / "conversations" / "images.zip")
    for row in json.loads((root / "conversations" / "train.json").read_text(encoding="utf-8")):
        values = [message["value"] for message in row["conversations"]]
        first = values[0].removeprefix("<image>\n").removesuffix("\n<image>")
        assert (first != values[0]) == bool(row.get("image"))
        yield Expected([first, *values[1:]], [[archive.read(row["image"])] if row.get("image") else []])


def assert_exact(root: Path, index: ShardIndex) -> None:
    """Every text, picture byte and the order of a folder's rows stand in the shards. Only for folders without rejects."""
    names = sorted(path.name for path in (root / "MMEB-train").iterdir() if any(path.glob("*.parquet")))
    assert sorted(index.datasets) == sorted([*names, "conversations"])
    for name in names:
        assert index.kind(name) == "pairs"
        for row, expected in zip(index.datasets[name], pairs_of(root, name), strict=True):
            sample = index.read(row)
            sides: list[Side | None] = [sample.query, sample.positive, *(sample.negatives or (None,))]
            assert [side and side.instruction + side.text for side in sides] == expected.texts
            assert [list(side.images) if side else [] for side in sides] == expected.pictures
            sizes = [Image.open(io.BytesIO(data)).size for side in expected.pictures for data in side]
            assert list(index.info(row).image_sizes) == sizes
    assert index.kind("conversations") == "conversations"
    for row, expected in zip(index.datasets["conversations"], talks_of(root), strict=True):
        sample = index.read(row)
        assert [text for turn in sample.query.turns for text in (turn.question, turn.answer)] == expected.texts
        assert [list(sample.query.images), sample.positive, sample.query.text] == [expected.pictures[0], None, ""]


def convert(data: Path, out: Path, *, progress: Progress = silent, **settings: Any) -> dict[str, int]:
    return run(Conversion(data=data, out=out, **settings), progress)


def tree(folder: Path) -> dict[str, str]:
    """Digest of every file below a folder."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def rejects(out: Path, dataset: str) -> list[dict[str, Any]]:
    """Parsed rejects of a dataset."""
    return [json.loads(line) for line in (out / dataset / "rejects.jsonl").read_text().splitlines()]


def test_real_data_comes_back_exactly(real_mini: Path, tmp_path: Path) -> None:
    counts = convert(real_mini, tmp_path / "one", rows_per_shard=100)
    index = ShardIndex.open(tmp_path / "one")
    assert_exact(real_mini, index)
    assert (counts["read"], counts["converted"], counts["rejected"], counts["datasets"]) == (2079, 2079, 0, 10)
    assert counts["pictures"] == sum(len(index.info(row).image_sizes) for row in range(len(index)))
    assert counts["shards"] == len(list((tmp_path / "one").glob("*/*.tar")))
    assert convert(real_mini, tmp_path / "two", rows_per_shard=100) == counts
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_the_toy_world_comes_back_exactly(toy_world: Any, tmp_path: Path) -> None:
    counts = convert(toy_world.root, tmp_path)
    assert counts["rejected"] == 0
    assert counts["read"] == counts["converted"] > 0
    assert counts["image_markers_removed"] == 112, "every row of WebQA has one"
    assert_exact(toy_world.root, ShardIndex.open(tmp_path))


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A small folder with an oddity of every kind: seven pairs of which three are usable, and three conversations, two usable."""
    root = tmp_path / "data"
    large, broken = picture(2, size=(80, 60)), picture(3, size=(60, 60))[:-400]
    rows = [
        train_row(IMAGE + "one", PATH, "p"),
        train_row(IMAGE + "two", "images/Toy/Train/broken.jpg", "p"),
        train_row(IMAGE + "three", "images/Toy/Train/none.jpg", "p"),
        train_row(IMAGE + "four", "images/Toy/Train/large.jpg", "p"),
        train_row("", "", "p"),
        train_row(IMAGE + "six", "", "p"),
        train_row(IMAGE + "seven", "../../secret.jpg", "p"),
    ]
    pictures = {"Toy/Train/a.jpg": A, "Toy/Train/broken.jpg": broken, "Toy/Train/large.jpg": large}
    write_train(root, "Toy", rows, pictures)
    write_conversations(
        root, [talk("<image>\n<image>\nq", "a", image="coco/a.jpg"), talk("q"), talk("q", "a")], {"coco/a.jpg": A}
    )
    return root


def test_counts_balance_and_name_every_reject(data: Path, tmp_path: Path) -> None:
    counts = convert(data, tmp_path / "out", max_pixels=40 * 30)
    assert counts == {
        "bytes": sum(path.stat().st_size for path in (tmp_path / "out").glob("*/*.tar")),
        "converted": 5,
        "datasets": 2,
        "duplicate_pictures": 0,
        "image_markers_removed": 1,
        "image_tokens_removed": 1,
        "pictures": 3,
        "pictures_resized": 1,
        "pictures_rewritten": 1,
        "pictures_turned": 0,
        "read": 10,
        "rejected": 5,
        "shards": 2,
    }
    found = rejects(tmp_path / "out", "toy")
    assert {(line["source"], line["key"] == f"toy-{line['row']:08d}") for line in found} == {
        ("MMEB-train/Toy/original-00000-of-00001.parquet", True)
    }
    assert {line["row"]: line["reason"].split("(")[0].strip() for line in found} == {
        1: "images/Toy/Train/broken.jpg: the picture cannot be decoded",
        2: "Toy.zip has no member images/Toy/Train/none.jpg",
        4: "its query side has neither text nor picture",
        6: "path '../../secret.jpg' is not a plain relative path",
    }
    assert [line["row"] for line in rejects(tmp_path / "out", "conversations")] == [1]


def test_pictures_within_the_limit_keep_their_bytes_and_others_shrink_once(data: Path, tmp_path: Path) -> None:
    convert(data, tmp_path / "out", max_pixels=40 * 30)
    index = ShardIndex.open(tmp_path / "out")
    samples = [index.read(row) for row in index.datasets["Toy"]]
    assert [sample.key for sample in samples] == ["toy-00000000", "toy-00000003", "toy-00000005"]
    assert samples[0].query.images == (A,)
    assert index.info(index.datasets["Toy"][1]).image_sizes == ((40, 30),)
    assert samples[2].query == Side(text="six")


def test_without_verification_a_broken_picture_gets_through(data: Path, tmp_path: Path) -> None:
    counts = convert(data, tmp_path / "out", verify=False)
    assert (counts["converted"], counts["rejected"]) == (6, 4)


def test_conversations_alone_are_a_corpus_and_it_is_said(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    said = "no MMEB-train in it; conversations and corpora of your own are all that is converted"
    convert(data, tmp_path / "all")
    assert said not in caplog.text
    (data / "MMEB-train").rename(data / "elsewhere")
    assert convert(data, tmp_path / "out")["datasets"] == 1
    assert f"{data}: {said}" in caplog.text
    assert list(ShardIndex.open(tmp_path / "out").datasets) == ["conversations"]


def test_rejects_never_move_a_boundary(data: Path, tmp_path: Path) -> None:
    convert(data, tmp_path / "out", rows_per_shard=2)
    names = {}
    for path in sorted((tmp_path / "out" / "toy").glob("*.tar")):
        with tarfile.open(path) as archive:
            names[path.name] = [name for name in archive.getnames() if name.endswith(".json")]
    assert names == {
        "toy-00000.tar": ["toy-00000000.json"],
        "toy-00001.tar": ["toy-00000003.json"],
        "toy-00002.tar": ["toy-00000005.json"],
    }


def test_a_second_conversion_gives_the_same_bytes(data: Path, tmp_path: Path) -> None:
    first = convert(data, tmp_path / "out", max_pixels=1000)
    before = tree(tmp_path / "out")
    assert convert(data, tmp_path / "out", max_pixels=1000) == first
    assert tree(tmp_path / "out") == before


def test_progress_ends_with_all_rows(data: Path, tmp_path: Path) -> None:
    seen: dict[str, tuple[int, int]] = {}

    def watch(dataset: str, done: int, total: int) -> None:
        seen[dataset] = (done, total)

    convert(data, tmp_path / "out", progress=watch)
    assert seen == {"Toy": (7, 7), "conversations": (3, 3)}


def test_pairs_alone_are_enough(data: Path, tmp_path: Path) -> None:
    (data / "conversations" / "train.json").unlink()
    convert(data, tmp_path / "out")
    assert list(ShardIndex.open(tmp_path / "out").datasets) == ["Toy"]


def no_rows(root: Path) -> None:
    write_train(root, "Toy", [train_row("", "", "") for _ in range(4)])


def no_zip(root: Path) -> None:
    (root / "MMEB-train" / "images_zip" / "Toy.zip").unlink()


def broken_zip(root: Path) -> None:
    (root / "MMEB-train" / "images_zip" / "Toy.zip").write_bytes(b"not a zip")


def empty_zip(root: Path) -> None:
    write_train(root, "Toy", [train_row("q", PATH, "p")])
    write_zip(root / "MMEB-train" / "images_zip" / "Toy.zip", {})


def broken_parquet(root: Path) -> None:
    path = root / "MMEB-train" / "Toy" / "original-00000-of-00001.parquet"
    path.write_bytes(path.read_bytes()[:-30])


def missing_column(root: Path) -> None:
    write_table(root / "MMEB-train" / "Toy" / "original-00000-of-00001.parquet", [{"qry": "q"}])


def broken_json(root: Path) -> None:
    (root / "conversations" / "train.json").write_text('[{"conversations": [')


def same_slug(root: Path) -> None:
    write_train(root, "TOY", [train_row("q", "", "p")])


def no_folder(root: Path) -> None:
    for name in ("MMEB-train", "conversations"):
        (root / name).rename(root / f"{name}.moved")


UNUSABLE: Mapping[Callable[[Path], None], str] = {
    no_rows: r"Toy: all 4 rows were rejected; the first \(MMEB-train/Toy/original-00000-of-00001\.parquet, row 0\): its query",
    no_zip: r"images_zip/Toy\.zip: missing, and rows name pictures in it",
    broken_zip: r"Toy\.zip: not a readable zip archive",
    empty_zip: r"Toy: all 1 rows were rejected; .* Toy\.zip has no member images/Toy/Train/a\.jpg",
    broken_parquet: r"original-00000-of-00001\.parquet: not a readable parquet file",
    missing_column: r"original-00000-of-00001\.parquet: column qry_image_path is missing",
    broken_json: r"train\.json: is broken or cut short",
    same_slug: "2 datasets would share the name toy",
    no_folder: "MMEB-train: no such folder; a data folder holds",
}


@pytest.mark.parametrize("damage", UNUSABLE, ids=lambda damage: damage.__name__)
def test_what_is_unusable_as_a_whole_is_one_line(data: Path, tmp_path: Path, damage: Callable[[Path], None]) -> None:
    damage(data)
    with pytest.raises(DataError, match=UNUSABLE[damage]) as caught:
        convert(data, tmp_path / "out")
    assert "\n" not in str(caught.value)
    assert not list((tmp_path / "out").rglob("*.part"))
    # Shards that were finished before stay, so that the next run goes on; nothing looks like a whole dataset.
    assert not (tmp_path / "out" / ("conversations" if damage is broken_json else "toy") / "stats.json").exists()
