"""Folders begun with one thing wait aside while others are tried: whatever the order, whenever it is killed, none is lost."""

import os
import random
from pathlib import Path

import pytest

from pipeline.manifest import Manifest
from pipeline.stage_folder import begun_with, find_begun, give_place, is_mere_beginning, mark_begun, retire

PRINTS = {name: name * 64 for name in "abc"}


def begin(folder: Path, name: str) -> None:
    """What a stage does: take the place, note it, work."""
    give_place(folder, PRINTS[name])
    mark_begun(folder, PRINTS[name])
    with (folder / "work").open("a") as file:
        file.write(name)


def test_each_goes_on_with_its_own_whatever_the_order(tmp_path: Path) -> None:
    folder, rng = tmp_path / "train", random.Random(0)
    steps = [rng.choice("abc") for _ in range(40)]
    for done, name in enumerate(steps, 1):
        begin(folder, name)
        assert (folder / "work").read_text() == name * steps[:done].count(name)
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(
        ["train", *(f"train.{PRINTS[name][:12]}" for name in "abc" if name != steps[-1])]
    )


@pytest.mark.parametrize("renames", [0, 1])
def test_a_kill_between_the_renames_loses_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, renames: int) -> None:
    folder, left = tmp_path / "train", [renames]
    for name in "aba":
        begin(folder, name)
    replace = os.replace

    def killed(source: Path, target: Path) -> None:
        if not left[0]:
            raise KeyboardInterrupt
        left[0] -= 1
        replace(source, target)

    with monkeypatch.context() as patch:
        patch.setattr("pipeline.stage_folder.os.replace", killed)
        with pytest.raises(KeyboardInterrupt):
            give_place(folder, PRINTS["b"])
    for name, work in (("b", "b"), ("a", "aa")):
        give_place(folder, PRINTS[name])
        assert (folder / "work").read_text() == work


def test_found_in_its_place_or_aside_or_nowhere(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    for name in "ab":
        begin(folder, name)
    assert find_begun(folder, PRINTS["b"]) == folder
    assert find_begun(folder, PRINTS["a"]) == tmp_path / "train.aaaaaaaaaaaa"
    assert find_begun(folder, PRINTS["c"]) is None
    (folder / "started.json").write_text("{")
    assert find_begun(folder, PRINTS["b"]) is None
    Manifest(stage="train", fingerprint=PRINTS["b"]).write(folder)
    assert begun_with(folder) == PRINTS["b"], "what was finished is known by its manifest too"


def test_a_folder_of_unknown_origin_and_a_retired_one_are_kept_as_old(tmp_path: Path) -> None:
    folder = tmp_path / "train"
    folder.mkdir()
    (folder / "work").write_text("mine")
    give_place(folder, PRINTS["a"])
    assert (tmp_path / "train.old" / "work").read_text() == "mine" and not folder.exists()
    begin(folder, "a")
    retire(folder)
    assert (tmp_path / "train.old" / "work").read_text() == "a" and not folder.exists()
    retire(folder)
    assert (tmp_path / "train.old" / "work").read_text() == "a", "nothing to retire"


def test_a_mere_beginning_is_not_kept(tmp_path: Path) -> None:
    mark_begun(tmp_path / "train", PRINTS["a"])
    assert is_mere_beginning(tmp_path / "train")
    give_place(tmp_path / "train", PRINTS["b"])
    assert not list(tmp_path.iterdir())
