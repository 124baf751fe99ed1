"""A conversion that is killed, dealt out to processes or to machines writes the same bytes as the unbroken one."""

import logging
import os
import random
import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from data_prep.convert import Conversion, convert, convert_slice, refuse_missing
from data_prep.slices import Slice
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, DataError
from tests.pipeline.data.releases import picture, talk, train_row, write_conversations, write_train

IMAGE = "<|image_1|>\n"
WRITES = ("open", "os.rename", "os.remove", "os.mkdir", "shutil.rmtree")
"""Audit events at which a process may be killed: between any two of them the disk stands still."""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Two datasets of pairs and one of conversations, with shared, repeated, large and broken pictures."""
    root = tmp_path / "data"
    pictures = {f"Toy/{n}.jpg": picture(n, size=(40 + 9 * n, 30)) for n in range(6)} | {"Toy/6.jpg": picture(6)[:-300]}
    # Neighbours share a picture across the ends of shards: what a reader keeps must not show.
    rows = [train_row(f"{IMAGE}{n}", f"images/Toy/{n // 3 % 7}.jpg", f"p{n}") for n in range(25)]
    write_train(root, "Toy", rows, pictures)
    write_train(root, "Words", [train_row(f"q{n}", "", "" if n in (2, 3) else "p") for n in range(7)])
    talks = [talk(f"<image>\n{n}", "a", image="c.jpg") for n in range(9)]
    write_conversations(root, talks, {"c.jpg": picture(9, size=(90, 90))})
    return root


def conversion(data: Path, out: Path, **settings: Any) -> Conversion:
    return Conversion(data=data, out=out, max_pixels=60 * 40, rows_per_shard=2, **settings)


def tree(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()}


def times(folder: Path) -> dict[str, tuple[int, int]]:
    """Inode and time of every file: a file that was written again has others."""
    states = {str(path.relative_to(folder)): path.stat() for path in folder.rglob("*") if path.is_file()}
    return {name: (state.st_ino, state.st_mtime_ns) for name, state in states.items()}


@pytest.fixture
def unbroken(data: Path, tmp_path: Path) -> dict[str, bytes]:
    convert(conversion(data, tmp_path / "unbroken"))
    return tree(tmp_path / "unbroken")


def in_child(work: Callable[[], object], *, kill_at: int | None = None) -> tuple[int, int]:
    """Run in a forked process, which kills itself before its event number `kill_at`. Returns its signal and its events."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        seen = 0

        def watch(event: str, args: object) -> None:
            nonlocal seen
            if event in WRITES:
                seen += 1
                if seen == kill_at:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
            os.write(theirs, str(seen).encode())
        finally:
            os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as events:
        said = events.read()
    return os.waitpid(child, 0)[1], int(said or 0)


def test_killed_at_20_moments_and_restarted_gives_the_same_bytes(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    code, events = in_child(lambda: convert(conversion(data, tmp_path / "counted")))
    assert (code, tree(tmp_path / "counted")) == (0, unbroken)
    assert events > 200
    rng, out, killed = random.Random(5), tmp_path / "out", 0
    while killed < 20:
        # Each run is killed somewhere in its first tenth, so that the twenty moments spread over the whole work.
        code, _ = in_child(lambda: convert(conversion(data, out)), kill_at=rng.randrange(1, events // 8))
        killed += 1
        assert code == signal.SIGKILL
        if len(list(out.glob("*/stats.json"))) == 3:
            for path in out.glob("*/stats.json"):
                path.unlink()
            for path in rng.sample(sorted(out.rglob("*.tar")), 8):
                path.unlink()
    convert(conversion(data, out))
    assert tree(out) == unbroken


def test_a_kill_at_any_moment_never_looks_finished(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """One run, killed after each of a few moments from its beginning to its end: what looks whole is whole."""
    _, events = in_child(lambda: convert(conversion(data, tmp_path / "counted")))
    for kill_at in random.Random(6).sample(range(1, events), 12):
        out = tmp_path / f"out{kill_at}"
        assert in_child(lambda out=out: convert(conversion(data, out)), kill_at=kill_at)[0] == signal.SIGKILL  # type: ignore[misc]
        for stats in out.glob("*/stats.json"):
            name = stats.parent.name
            assert tree(stats.parent) == {
                path.removeprefix(f"{name}/"): content for path, content in unbroken.items() if path.startswith(f"{name}/")
            }
        convert(conversion(data, out))
        assert tree(out) == unbroken


def test_a_second_run_writes_nothing(data: Path, tmp_path: Path) -> None:
    counts = convert(conversion(data, tmp_path / "out"))
    before = times(tmp_path / "out")
    assert convert(conversion(data, tmp_path / "out")) == counts
    assert times(tmp_path / "out") == before


def test_a_lost_shard_is_made_again_and_no_other(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "unbroken"
    before = times(out)
    (out / "toy" / "toy-00003.tar").unlink()
    convert(conversion(data, out))
    assert tree(out) == unbroken
    after = times(out)
    assert {name for name in after if after[name] != before[name]} == {
        f"toy/{name}" for name in ("toy-00003.tar", "parts/00003.parquet", "index.parquet", "rejects.jsonl", "stats.json")
    }


def test_a_truncated_shard_is_made_again(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "unbroken"
    shard = out / "words" / "words-00002.tar"
    shard.write_bytes(shard.read_bytes()[:-1])
    (out / "toy" / "parts" / "00001.parquet").write_bytes(b"noise")
    convert(conversion(data, out))
    assert tree(out) == unbroken


@pytest.mark.parametrize("workers", [2, 4])
def test_any_number_of_workers_writes_the_same_bytes(
    data: Path, tmp_path: Path, unbroken: dict[str, bytes], workers: int
) -> None:
    seen: dict[str, tuple[int, int]] = {}
    convert(conversion(data, tmp_path / "out", workers=workers), lambda name, done, total: seen.update({name: (done, total)}))
    assert tree(tmp_path / "out") == unbroken
    assert seen == {"Toy": (25, 25), "Words": (7, 7), "conversations": (9, 9)}


def test_slices_made_apart_and_merged_are_the_same_bytes(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "out"
    made = {index: convert_slice(conversion(data, out), Slice(index=index, of=4)) for index in (2, 0, 3)}
    assert {index: counts["shards_made"] for index, counts in made.items()} == {0: 6, 2: 5, 3: 5}
    with pytest.raises(DataError, match="6 of 22 shards are missing; run --num-shards 4 --shard-index 1 again"):
        refuse_missing(conversion(data, out), 4)
    with pytest.raises(DataError, match="did not finish"):
        ShardIndex.open(out)
    convert_slice(conversion(data, out), Slice(index=1, of=4))
    assert convert_slice(conversion(data, out), Slice(index=1, of=4)) == {"shards_made": 0, "shards_found": 6}
    refuse_missing(conversion(data, out), 4)
    shards = {name: state for name, state in times(out).items() if name.endswith(".tar")}
    convert(conversion(data, out))
    assert tree(out) == unbroken
    assert shards.items() <= times(out).items(), "the merge made no shard"


def test_a_slice_that_does_not_exist_is_refused() -> None:
    for index in (-1, 4):
        with pytest.raises(ConfigError, match=f"--shard-index {index}: is not from 0 to 3"):
            Slice(index=index, of=4)


def test_other_settings_and_other_files_make_the_shards_anew(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    out = tmp_path / "unbroken"
    before = times(out)
    write_conversations(data, [talk("<image>\nq", "a", image="c.jpg")] * 3)
    convert(conversion(data, out))
    after = times(out)
    assert {name.split("/")[0] for name in after if after[name] != before.get(name)} == {"conversations"}
    assert len(list((out / "conversations").glob("*.tar"))) == len(list((out / "conversations" / "parts").iterdir())) == 2
    convert(Conversion(data=data, out=out, max_pixels=1000, rows_per_shard=2))
    assert not [name for name, state in times(out).items() if after.get(name) == state]


def test_shards_of_a_dataset_that_left_the_data_folder_stay(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """A mistyped --data must not cost what was converted. Folders that are no conversion's are nobody's business."""
    out = tmp_path / "unbroken"
    (out / "mine").mkdir()
    before = tree(out)
    (data / "conversations" / "train.json").unlink()
    with pytest.raises(DataError, match="holds shards of conversations, which the data folder does not have"):
        convert(conversion(data, out))
    assert tree(out) == before
    shutil.rmtree(out / "conversations")
    convert(conversion(data, out))
    assert sorted(path.name for path in out.iterdir()) == ["mine", "toy", "words"]


def test_a_lost_archive_costs_no_shard(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    """Deleted to free room, say, and then the data folder changes: what was made of it stays, and what describes it."""
    (data / "MMEB-train" / "images_zip" / "Toy.zip").unlink()
    with pytest.raises(DataError, match=r"Toy"):
        convert(conversion(data, tmp_path / "unbroken"))
    assert tree(tmp_path / "unbroken") == unbroken


def test_a_dataset_that_lost_many_rows_is_named(data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        convert(conversion(data, tmp_path / "out"))
    assert (
        next(line for line in caplog.messages if "rejected" in line) == "Toy: 3 of 25 rows rejected; its rejects.jsonl says why"
    )


def test_an_error_of_a_worker_is_one_line_and_keeps_what_is_done(data: Path, tmp_path: Path, unbroken: dict[str, bytes]) -> None:
    archive = data / "MMEB-train" / "images_zip" / "Toy.zip"
    content, state = archive.read_bytes(), archive.stat()
    archive.write_bytes(b"no zip")
    with pytest.raises(DataError, match=r"Toy\.zip: not a readable zip archive") as caught:
        convert(conversion(data, tmp_path / "out", workers=2))
    assert "\n" not in str(caught.value)
    archive.write_bytes(content)
    os.utime(archive, ns=(state.st_atime_ns, state.st_mtime_ns))
    convert(conversion(data, tmp_path / "out"))
    assert tree(tmp_path / "out") == unbroken


def test_files_that_shrink_meanwhile_are_noticed(data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("data_prep.sources.Conversations.count", lambda self: 12)
    with pytest.raises(DataError, match="conversations: has fewer than the 12 rows that were counted"):
        convert(conversion(data, tmp_path / "out"))
