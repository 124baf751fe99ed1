"""Damage of every file of a converted corpus, put there on purpose, must be found, and named."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.convert import Conversion, convert
from data_prep.verify import DatasetReport, verify_shards
from pipeline.errors import DataError
from tests.pipeline.data.releases import picture, train_row, write_train

IMAGE = "<|image_1|>\n"
SHARD = "toy/toy-00001.tar"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three shards of three rows, one row rejected; no two pictures alike."""
    root = tmp_path_factory.mktemp("made")
    rows = [train_row(f"{IMAGE}{n}", f"images/Toy/{n}.jpg", f"p{n}") for n in range(9)]
    write_train(root / "data", "Toy", rows, {f"Toy/{n}.jpg": picture(n) for n in range(8)})
    convert(Conversion(data=root / "data", out=root / "shards", rows_per_shard=3))
    return root / "shards"


@pytest.fixture
def shards(made: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "shards"))


def reports(shards: Path) -> list[DatasetReport]:
    return list(verify_shards(shards, lambda name, done, total: None))


def test_sound_shards_are_sound(shards: Path) -> None:
    (report,) = reports(shards)
    assert report == DatasetReport(dataset="Toy", shards=3, samples=8, pictures=8, rejected=1)
    assert report.line == "Toy: sound, 8 samples with 8 pictures in 3 shards, 1 rejected"


def flip(name: str, place: Callable[[bytes], int]) -> Callable[[Path], None]:
    """One bit of a file turned over."""

    def damage(shards: Path) -> None:
        content = bytearray((shards / name).read_bytes())
        content[place(bytes(content))] ^= 1
        (shards / name).write_bytes(content)

    return damage


def cut(shards: Path) -> None:
    (shards / SHARD).write_bytes((shards / SHARD).read_bytes()[:1500])


def lost(shards: Path) -> None:
    (shards / SHARD).unlink()


def another(shards: Path) -> None:
    shutil.copy(shards / "toy" / "toy-00000.tar", shards / "toy" / "toy-00009.tar")


def swapped(shards: Path) -> None:
    shutil.copy(shards / "toy" / "toy-00000.tar", shards / SHARD)


def no_index(shards: Path) -> None:
    (shards / "toy" / "index.parquet").unlink()


def fewer_rejects(shards: Path) -> None:
    (shards / "toy" / "rejects.jsonl").write_text("")


def unfinished(shards: Path) -> None:
    (shards / "toy" / "stats.json").unlink()


def said(**change: Any) -> Callable[[Path], None]:
    """Statistics that claim something else."""

    def damage(shards: Path) -> None:
        path = shards / "toy" / "stats.json"
        path.write_text(json.dumps(json.loads(path.read_text()) | change))

    return damage


def overlapping(shards: Path) -> None:
    path = shards / "toy" / "stats.json"
    stats = json.loads(path.read_text())
    stats["shards"][1]["first_row"] = 2
    path.write_text(json.dumps(stats))


UNLIKE = r"toy-00001\.tar: is not the file that was written"

DAMAGE = {
    "picture": (flip(SHARD, lambda content: content.index(b"\xff\xd8") + 200), r"pictures of sample toy-0000000\d are not those"),
    "byte of a picture": (flip(SHARD, lambda content: content.index(b"\xff\xd8") + 200), UNLIKE),
    "text": (flip(SHARD, lambda content: content.index(b'"text":"') + 8), UNLIKE),
    "header": (flip(SHARD, lambda content: content.index(b"toy-00000004.json") + 300), UNLIKE),
    "padding of a text": (flip(SHARD, lambda content: content.index(b"toy-00000003.q0.jpg") - 1), UNLIKE),
    "padding of a picture": (flip(SHARD, lambda content: content.index(b"toy-00000004.json") - 1), UNLIKE),
    "blocks at the end": (flip(SHARD, lambda content: len(content) - 1), UNLIKE),
    "key": (
        flip(SHARD, lambda content: content.index(b"toy-00000004.json") + 11),
        r"00001\.tar: (webdataset cannot|ends \d samples)",
    ),
    "cut": (cut, r"toy-00001\.tar: (webdataset cannot read|ends \d samples before)"),
    "lost": (lost, r"toy-00001\.tar: cannot be read \(No such file"),
    "another": (another, r"toy-00009\.tar: the statistics do not know this shard"),
    "swapped": (swapped, "has sample toy-00000000 where the index has toy-00000003"),
    "no index": (no_index, r"index\.parquet: is missing or not the file that was written"),
    "index": (flip("toy/index.parquet", lambda content: 100), r"index\.parquet: is missing or not the file"),
    "rejects": (fewer_rejects, r"rejects\.jsonl: has 0 lines, the statistics say 1"),
    "unfinished": (unfinished, "its conversion did not finish"),
    "counts": (said(read=10), "10 rows were read, but 8 converted and 1 rejected"),
    "pictures": (said(pictures=9), "has 8 samples with 8 pictures, the statistics say 8 and 9"),
    "twice": (overlapping, "its shards cover rows twice"),
}


@pytest.mark.parametrize("kind", DAMAGE)
def test_damage_is_found_and_named(shards: Path, kind: str) -> None:
    damage, finding = DAMAGE[kind]
    damage(shards)
    (report,) = reports(shards)
    assert any(re.search(finding, line) for line in report.findings), report.findings
    assert not any("\n" in line for line in report.findings)
    assert "findings" in report.line


def test_without_shards_it_is_one_line(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "none"):
        with pytest.raises(DataError, match="holds no converted dataset; run crem convert first"):
            reports(folder)
