import hashlib
import json
import os
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import webdataset
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import shards
from pipeline.data.keys import make_key
from pipeline.data.reject import Reject
from pipeline.data.shard_writer import Item
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.sample import Sample, Side, Turn
from tests.pipeline.data.releases import picture
from tests.shards import write_shards

PICTURES = [picture(1), picture(2, size=(7, 90), form="PNG"), picture(3, size=(300, 200))]
SIZES = [(40, 30), (7, 90), (300, 200)]

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
SIDES = st.builds(
    Side,
    instruction=TEXTS,
    text=TEXTS,
    images=st.lists(st.sampled_from(PICTURES), max_size=3).map(tuple),
    turns=st.lists(st.builds(Turn, question=TEXTS, answer=TEXTS), max_size=2).map(tuple),
)


def sample(row: int, dataset: str = "Toy", **sides: Any) -> Sample:
    return Sample(
        key=make_key(dataset, row), dataset=dataset, **{"query": Side(text=f"q{row}", images=(PICTURES[row % 3],)), **sides}
    )


def without_pictures(item: Item) -> Item:
    assert isinstance(item, Sample)
    query, *rest = (replace(side, images=(b"",) * len(side.images)) for side in item.sides)
    positive = rest.pop(0) if item.positive else None
    return replace(item, query=query, positive=positive, negatives=tuple(rest))


def reject(row: int) -> Reject:
    return Reject(source="x.parquet", row=row, key=make_key("Toy", row), reason="because")


def write(out: Path, items: list[Item], rows_per_shard: int = 4) -> ShardIndex:
    write_shards(items, out, dataset="Toy", kind="pairs", rows_per_shard=rows_per_shard)
    return ShardIndex.open(out)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


@settings(max_examples=25, deadline=None)
@given(
    st.lists(st.tuples(SIDES, st.none() | SIDES, st.lists(SIDES, max_size=2).map(tuple)), min_size=1, max_size=6),
    st.integers(1, 4),
)
def test_samples_come_back_exactly(tmp_path_factory: pytest.TempPathFactory, sides: list[Any], rows_per_shard: int) -> None:
    items: list[Item] = [
        sample(row, query=query, positive=positive, negatives=negatives) for row, (query, positive, negatives) in enumerate(sides)
    ]
    index = write(tmp_path_factory.mktemp("shards"), items, rows_per_shard)
    assert [index.read(row) for row in range(len(index))] == items
    assert [index.texts(row) for row in range(len(index))] == [without_pictures(item) for item in items]
    index.close()


def test_a_sample_is_plain_files_in_a_plain_tar(tmp_path: Path) -> None:
    one = sample(0, query=Side(text="é", images=(PICTURES[0], PICTURES[1])), positive=Side(images=(PICTURES[2],)))
    two = sample(1, positive=Side(text="p"), negatives=(Side(text="n"), Side(images=(PICTURES[0],))))
    write(tmp_path, [one, two])
    with tarfile.open(tmp_path / "toy" / "toy-00000.tar") as archive:
        found = archive.getmembers()
        contents = {member.name: archive.extractfile(member).read() for member in found}  # type: ignore[union-attr]
    assert [member.name.split(".", 1)[1] for member in found] == [
        "json",
        "q0.jpg",
        "q1.png",
        "p0.jpg",
        "json",
        "q0.png",
        "n1_0.jpg",
    ]
    assert {(member.mtime, member.uid, member.gid, member.uname, member.gname, member.mode) for member in found} == {
        (0, 0, 0, "", "", 0o444)
    }
    assert contents["toy-00000000.p0.jpg"] == PICTURES[2]
    assert json.loads(contents["toy-00000000.json"]) == {
        "key": "toy-00000000",
        "dataset": "Toy",
        "query": {"instruction": "", "text": "é", "images": 2, "turns": []},
        "positive": {"instruction": "", "text": "", "images": 1, "turns": []},
        "negatives": [],
    }


def test_a_plain_reader_finds_a_shared_picture_in_each_row(tmp_path: Path) -> None:
    shared = (PICTURES[2],)
    write(tmp_path, [sample(row, query=Side(text=f"q{row}", images=shared), positive=Side(images=shared)) for row in range(3)])
    (tar,) = (tmp_path / "toy").glob("*.tar")
    found = list(webdataset.WebDataset([str(tar)], shardshuffle=False))
    assert [(record["q0.jpg"], record["p0.jpg"]) for record in found] == [(PICTURES[2], PICTURES[2])] * 3


def test_webdataset_reads_the_shards(tmp_path: Path) -> None:
    items: list[Item] = [sample(row, positive=Side(images=(PICTURES[0],))) for row in range(6)]
    write(tmp_path, items, rows_per_shard=4)
    urls = sorted(str(path) for path in (tmp_path / "toy").glob("*.tar"))
    found = list(webdataset.WebDataset(urls, shardshuffle=False))
    assert [record["__key__"] for record in found] == [item.key for item in items]
    for row, record in enumerate(found):
        assert json.loads(record["json"])["query"]["text"] == f"q{row}"
        assert record["q0.png" if row % 3 == 1 else "q0.jpg"] == PICTURES[row % 3]
        assert record["p0.jpg"] == PICTURES[0]


def test_the_index_tells_sizes_and_hashes(tmp_path: Path) -> None:
    index = write(
        tmp_path, [sample(0, positive=Side(text="éé", turns=(Turn(question="ab", answer="c"),), images=(PICTURES[1],)))]
    )
    info = index.info(0)
    assert (info.key, info.dataset, info.text_bytes, info.image_sizes) == ("toy-00000000", "Toy", 2 + 4 + 3, (SIZES[0], SIZES[1]))
    row = pq.read_table(tmp_path / "toy" / "index.parquet").to_pylist()[0]
    shard = (tmp_path / "toy" / "toy-00000.tar").read_bytes()
    assert (row["key"], row["row"], row["shard"]) == ("toy-00000000", 0, 0)
    assert json.loads(shard[row["json_offset"] : row["json_offset"] + row["json_size"]])["key"] == "toy-00000000"
    for image, encoded in zip(row["images"], PICTURES, strict=False):
        assert shard[image["offset"] : image["offset"] + image["size"]] == encoded
        assert image["sha256"] == hashlib.sha256(encoded).digest()


def test_a_reject_leaves_a_hole_and_moves_nothing(tmp_path: Path) -> None:
    whole: list[Item] = [sample(row) for row in range(11)]
    holes: list[Item] = [reject(row) if row in (2, 3, 9) else item for row, item in enumerate(whole)]
    write(tmp_path / "whole", whole)
    index = write(tmp_path / "holes", holes)
    stats = json.loads((tmp_path / "holes" / "toy" / "stats.json").read_text())
    assert (stats["read"], stats["converted"], stats["rejected"]) == (11, 8, 3)
    assert [(shard["first_row"], shard["rows"], shard["samples"]) for shard in stats["shards"]] == [
        (0, 4, 2),
        (4, 4, 4),
        (8, 3, 2),
    ]
    assert [index.info(row).key for row in range(8)] == [make_key("Toy", row) for row in (0, 1, 4, 5, 6, 7, 8, 10)]
    name = "toy/toy-00001.tar"
    assert (tmp_path / "whole" / name).read_bytes() == (tmp_path / "holes" / name).read_bytes()
    lines = (tmp_path / "holes" / "toy" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line) for line in lines] == [
        {"source": "x.parquet", "row": row, "key": make_key("Toy", row), "reason": "because"} for row in (2, 3, 9)
    ]


def test_a_range_of_holes_alone_has_no_tar(tmp_path: Path) -> None:
    index = write(tmp_path, [*(sample(row) for row in range(2)), reject(2), reject(3), sample(4)], rows_per_shard=2)
    assert sorted(path.name for path in (tmp_path / "toy").glob("*.tar")) == ["toy-00000.tar", "toy-00002.tar"]
    assert [index.read(row).key for row in range(3)] == [make_key("Toy", row) for row in (0, 1, 4)]


def test_a_picture_that_no_shard_holds_is_a_reject(tmp_path: Path) -> None:
    odd = sample(1, query=Side(images=(picture(form="GIF"),)))
    index = write(tmp_path, [sample(0), odd])
    assert len(index) == 1
    (line,) = (tmp_path / "toy" / "rejects.jsonl").read_text().splitlines()
    assert json.loads(line)["key"] == odd.key
    assert "picture q0: not a JPEG or PNG file" in json.loads(line)["reason"]


def test_the_same_samples_give_the_same_bytes(tmp_path: Path) -> None:
    items: list[Item] = [reject(row) if row == 5 else sample(row) for row in range(9)]
    first = write(tmp_path / "one", items)
    again = write(tmp_path / "two", items)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")
    assert first.fingerprint == again.fingerprint
    write(tmp_path / "two", items[:2])
    assert write(tmp_path / "two", [*items[:8], sample(8, query=Side(text="q"))]).fingerprint != first.fingerprint


def test_what_the_folder_held_before_is_replaced(tmp_path: Path) -> None:
    write(tmp_path, [sample(row) for row in range(9)])
    write(tmp_path, [sample(0)])
    assert sorted(tree(tmp_path / "toy")) == [
        "index.parquet",
        "parts/00000.parquet",
        "rejects.jsonl",
        "stats.json",
        "toy-00000.tar",
    ]


def test_nothing_left_is_an_error_and_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"Toy: all 3 rows were rejected; the first \(x\.parquet, row 0\): because"):
        write(tmp_path, [reject(row) for row in range(3)])
    with pytest.raises(DataError, match="Toy: has no rows"):
        write(tmp_path, [])
    assert tree(tmp_path) == {}


def test_an_error_on_the_way_leaves_nothing(tmp_path: Path) -> None:
    def broken() -> Iterator[Item]:
        yield from (sample(row) for row in range(6))
        raise DataError("the file ends here")

    with pytest.raises(DataError, match="the file ends here"):
        write_shards(broken(), tmp_path, dataset="Toy", kind="pairs", rows_per_shard=4)
    assert tree(tmp_path) == {}


def test_datasets_are_numbered_through_by_name(tmp_path: Path) -> None:
    for dataset, kind, rows in [("b", "pairs", 3), ("A-c", "conversations", 2)]:
        items = [sample(row, dataset) for row in range(rows)]
        write_shards(items, tmp_path, dataset=dataset, kind=kind, rows_per_shard=2)  # type: ignore[arg-type]
    index = ShardIndex.open(tmp_path)
    assert index.datasets == {"A-c": range(2), "b": range(2, 5)}
    assert [index.read(row).key for row in range(5)] == ["a-c-00000000", "a-c-00000001", "b-00000000", "b-00000001", "b-00000002"]
    assert [index.info(row).dataset for row in range(5)] == ["A-c", "A-c", "b", "b", "b"]
    assert (index.kind("A-c"), index.kind("b"), len(index)) == ("conversations", "pairs", 5)
    for row in (-1, 5):
        with pytest.raises(IndexError):
            index.read(row)


def test_few_shards_stay_open(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shards, "MAX_OPEN_SHARDS", 2)
    items: list[Item] = [sample(row) for row in range(8)]
    index = write(tmp_path, items, rows_per_shard=1)
    before = len(os.listdir("/proc/self/fd"))
    for row in (0, 1, 2, 0, 7, 3, 3, 1):
        assert index.read(row) == items[row]
        assert len(os.listdir("/proc/self/fd")) <= before + 2
    index.close()
    assert len(os.listdir("/proc/self/fd")) == before
    assert index.read(5) == items[5]


def test_reading_moves_no_file_position(tmp_path: Path) -> None:
    """Descriptors are shared after a fork, and so would be their position."""
    index = write(tmp_path, [sample(row) for row in range(12)])
    for row in range(12):
        index.read(row)
    opened = [
        entry.name for entry in os.scandir("/proc/self/fd") if os.path.realpath(entry.path).startswith(str(tmp_path.resolve()))
    ]
    positions = [Path("/proc/self/fdinfo", name).read_text().split("\n")[0].split() for name in opened]
    assert positions == [["pos:", "0"]] * 3
    index.close()


def test_readers_that_forked_do_not_disturb_each_other(tmp_path: Path) -> None:
    items: list[Item] = [sample(row) for row in range(12)]
    index = write(tmp_path, items)
    index.read(0)
    children = []
    for first in range(3):
        child = os.fork()
        if child == 0:
            good = all(index.read(row % 12) == items[row % 12] for row in range(first, 300, 3))
            os._exit(0 if good else 1)
        children.append(child)
    assert all(index.read(row % 12) == items[row % 12] for row in range(300))
    assert [os.waitpid(child, 0)[1] for child in children] == [0, 0, 0]


def test_what_is_not_there_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of shards"):
        ShardIndex.open(tmp_path / "none")
    with pytest.raises(DataError, match="holds no converted dataset"):
        ShardIndex.open(tmp_path)
    write(tmp_path, [sample(0)])
    (tmp_path / "toy" / "stats.json").unlink()
    with pytest.raises(DataError, match=r"toy: its conversion did not finish \(stats\.json is missing\)"):
        ShardIndex.open(tmp_path)


DAMAGE = [
    ("stats.json", lambda content: content[:-10], "open", "is damaged"),
    ("stats.json", lambda content: b"[]", "open", "is damaged"),
    ("stats.json", lambda content: content.replace(b'"format": 3', b'"format": 2'), "open", "another version"),
    ("index.parquet", lambda content: content[:-10], "open", "is damaged or missing"),
    ("toy-00000.tar", lambda content: content[:-10], "read", r"has \d+ bytes, its statistics say \d+"),
    (
        "toy-00000.tar",
        lambda content: content[:512] + b"x" + content[513:],
        "read",
        "sample toy-00000000 is not where the index says",
    ),
    ("toy-00000.tar", lambda content: content[:512] + b"  1" + content[515:], "read", "sample toy-00000000 is not where"),
]


@pytest.mark.parametrize(("name", "damage", "when", "complaint"), DAMAGE)
def test_damage_is_one_line(tmp_path: Path, name: str, damage: Any, when: str, complaint: str) -> None:
    write(tmp_path, [sample(row, query=Side(text="q")) for row in range(4)])
    path = tmp_path / "toy" / name
    path.write_bytes(damage(path.read_bytes()))
    if when == "read":
        index = ShardIndex.open(tmp_path)
    with pytest.raises(DataError, match=complaint) as caught:
        index.read(0) if when == "read" else ShardIndex.open(tmp_path)
    assert "\n" not in str(caught.value)


def test_an_index_of_another_conversion_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "one", [sample(row) for row in range(4)])
    write(tmp_path / "two", [sample(row) for row in range(3)])
    index = (tmp_path / "two" / "toy" / "index.parquet").read_bytes()
    (tmp_path / "one" / "toy" / "index.parquet").write_bytes(index)
    with pytest.raises(DataError, match="index has 3 rows, statistics say 4"):
        ShardIndex.open(tmp_path / "one")


def test_an_index_that_names_other_rows_is_noticed(tmp_path: Path) -> None:
    write(tmp_path / "one", [sample(row, query=Side(text="q")) for row in range(3)])
    write(tmp_path / "two", [reject(row) if row == 1 else sample(row, query=Side(text="q")) for row in range(4)])
    (tmp_path / "one" / "toy" / "index.parquet").write_bytes((tmp_path / "two" / "toy" / "index.parquet").read_bytes())
    index = ShardIndex.open(tmp_path / "one")
    assert index.read(0).key == make_key("Toy", 0)
    with pytest.raises(DataError, match="sample toy-00000002 is not where the index says"):
        index.read(1)


def test_pictures_reach_the_shard_untouched(tmp_path: Path) -> None:
    odd = picture(5)[:-2] + b"\xff\xd9" + b"trailing bytes that no decoder reads"
    index = write(tmp_path, [sample(0, query=Side(images=(odd,)))])
    assert index.read(0).query.images == (odd,)
