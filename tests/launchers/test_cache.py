"""`crem cache`, as a user types it."""

import os
import time
from pathlib import Path

import pytest

from pipeline.encode.cached_encoders import CachedEncoder, cached_encoders, to_prune
from pipeline.encode.encode import encode
from pipeline.encode.share import Encoding
from tests.eval.fakes import FakeModel
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem
from tests.pipeline.encode.test_encode import SIDES

DAY = 86_400


def fill(root: Path, name: str, count: int, idle_days: float) -> Path:
    """Keep embeddings of an encoder that was last asked for so long ago; its folder."""
    before = set(root.glob("*"))
    encode(FakeModel(fingerprint=name), SIDES[:count], what="a", how=Encoding(cache=root))
    (folder,) = set(root.glob("*")) - before
    then = time.time() - idle_days * DAY
    os.utime(folder / "encoder.json", (then, then))
    return folder


def test_encoders_are_listed_sized_and_pruned(crem: Run, tmp_path: Path) -> None:
    root = tmp_path / "w" / "embeddings"
    old, young = fill(root, "old one", 60, 40), fill(root, "merged young one", 20, 0.1)
    (old / ".block.x.aside").write_bytes(b"0" * 3 * 2**20)  # what a kill has left counts and goes too
    code, output, _ = crem("cache", "list", "--work", "w")
    first, second, total = output.splitlines()
    assert code == 0 and first.endswith("unused for 2.4 hours  merged young one")
    assert second.split()[:3] == [old.name, "3.0", "MiB"] and second.endswith("unused for 40.0 days  old one")
    assert total == "2 encoders, 3.0 MiB"
    code, output, _ = crem("cache", "prune", "--work", "w", "--days", "30")
    assert code == 0 and output.startswith(f"removed {old.name} ") and not old.exists()
    again = FakeModel(fingerprint="merged young one")
    encode(again, SIDES[:20], what="a", how=Encoding(cache=root))
    assert again.embedded == [] and young.is_dir()
    assert crem("cache", "prune", "--cache", str(root), "--most", "0")[0] == 0
    assert list(root.iterdir()) == []
    assert crem("cache", "list", "--work", "w")[1] == "0 encoders, 0.0 MiB\n"


def test_using_embeddings_makes_them_young(tmp_path: Path) -> None:
    folder = fill(tmp_path, "a", 5, 40)
    (old,) = cached_encoders(tmp_path)
    encode(FakeModel(fingerprint="a"), SIDES[:5], what="a", how=Encoding(cache=tmp_path))
    (young,) = cached_encoders(tmp_path)
    assert old.folder == young.folder == folder and old.idle_seconds > 39 * DAY and young.idle_seconds < DAY


def test_mistakes_are_one_line(crem: Run, tmp_path: Path) -> None:
    code, _, error = crem("cache", "list", "--work", "nowhere")
    assert code == 1 and error.startswith("error: nowhere/embeddings: no such folder; ")
    code, _, error = crem("cache", "prune", "--work", "nowhere")
    assert code == 2 and "--days, --most, or both" in error


@pytest.mark.parametrize(
    ("limits", "gone"),
    [
        ({"idle_days": 3}, "cd"),
        ({"most_bytes": 100}, ""),
        ({"most_bytes": 35}, "d"),
        ({"most_bytes": 15, "idle_days": 3}, "bcd"),
        ({}, ""),
    ],
)
def test_the_longest_unused_go_first(limits: dict[str, int], gone: str) -> None:
    every = [
        CachedEncoder(folder=Path(name), encoder=name, num_bytes=10, idle_seconds=days * DAY)
        for name, days in (("a", 0), ("c", 3), ("b", 1), ("d", 9))
    ]
    assert sorted(each.encoder for each in to_prune(every, **limits)) == list(gone)
