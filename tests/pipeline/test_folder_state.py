"""What of a data folder counts at a start: data files and folders of pictures, no picture and no note."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from pipeline.folder_state import _corpus_entries, corpus_state, every_file_state

Change = Callable[[Path], object]


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two sets, one with unpacked pictures; all times are of long ago."""
    folder = tmp_path / "MMEB-eval"
    (folder / "images" / "NIGHTS").mkdir(parents=True)
    (folder / "NIGHTS").mkdir()
    (folder / "NIGHTS" / "test-00000-of-00001.parquet").write_bytes(b"rows")
    (folder / "images" / "NIGHTS" / "1.jpg").write_bytes(b"picture")
    (folder / "README.md").write_text("read me")
    for path in (*folder.rglob("*"), folder):
        os.utime(path, ns=(10**18, 10**18))
    return folder


def add(name: str) -> Change:
    return lambda folder: (folder / name).write_bytes(b"new")


def touch(name: str) -> Change:
    return lambda folder: os.utime(folder / name)


def replace(name: str) -> Change:
    """As a download does: written aside, then renamed."""
    return lambda folder: (add("images/aside")(folder), os.replace(folder / "images" / "aside", folder / name))


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (add("NIGHTS/test-00000-of-00001.parquet"), True),
        (touch("NIGHTS/test-00000-of-00001.parquet"), True),
        (add("images.zip"), True),
        (add("datasets.json"), True),
        (add("images/NIGHTS/2.jpg"), True),
        (add("images/NIGHTS/picture without a suffix"), True),
        (replace("images/NIGHTS/1.jpg"), True),
        (lambda folder: (folder / "images" / "NIGHTS" / "1.jpg").unlink(), True),
        (lambda folder: (folder / "images" / "NIGHTS" / "1.jpg").rename(folder / "images" / "NIGHTS" / "2.jpg"), True),
        (add("NOTES.txt"), False),
        (add("NIGHTS/NOTES.txt"), False),
        (touch("README.md"), False),
        (add("images/NIGHTS/1.jpg"), False),
    ],
)
def test_what_counts(corpus: Path, change: Change, counts: bool) -> None:
    """The last is what is not noticed, as the module says: bytes written over in place."""
    before = corpus_state(corpus)
    change(corpus)
    assert (corpus_state(corpus) != before) is counts


def test_no_picture_is_looked_at(corpus: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    looked: list[str] = []
    one = Path.stat

    def watched(path: Path, **given: bool) -> os.stat_result:
        looked.append(path.name)
        return one(path, **given)

    monkeypatch.setattr(Path, "stat", watched)
    corpus_state(corpus)
    assert "1.jpg" not in looked and "test-00000-of-00001.parquet" in looked


def test_places_count_by_their_own_names_and_may_be_missing(corpus: Path) -> None:
    parts = corpus / "NIGHTS", corpus / "images.zip"
    before = corpus_state(*parts)
    assert corpus_state(*parts) == before
    add("images/NIGHTS/2.jpg")(corpus)
    assert corpus_state(*parts) == before, "of another place"
    add("images.zip")(corpus)
    assert corpus_state(*parts) != before


def test_every_file_of_a_model_folder_counts(corpus: Path) -> None:
    for change in (add("merges.txt"), touch("README.md"), add("images/NIGHTS/1.jpg")):
        before = every_file_state(corpus)
        change(corpus)
        assert every_file_state(corpus) != before


def test_a_linked_folder_is_looked_into_once_and_a_link_to_nowhere_does_no_harm(corpus: Path, tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    (corpus / "linked").symlink_to(shared)
    (shared / "back").symlink_to(corpus)
    (corpus / "gone.zip").symlink_to(tmp_path / "nowhere")
    before = corpus_state(corpus)
    (shared / "rows.parquet").write_bytes(b"rows")
    assert corpus_state(corpus) != before
    names = [name for name, _, _ in _corpus_entries(corpus)]
    assert sorted(names) == ["NIGHTS/test-00000-of-00001.parquet", "gone.zip", "images/NIGHTS/", "linked/rows.parquet"]
