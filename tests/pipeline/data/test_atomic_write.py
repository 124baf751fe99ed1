"""Files that appear whole or not at all, with several writers of one target at a time, and with killed ones."""

import os
from pathlib import Path

import pytest

from pipeline.data.atomic_write import SUFFIX, atomic_file


def test_two_writers_at_a_time_both_end_well_and_the_last_one_stays(tmp_path: Path) -> None:
    target = tmp_path / "table"
    with atomic_file(target) as one, one.open("w") as file:
        with atomic_file(target) as other:
            other.write_text("the other's")
            file.write("one's own")
        assert target.read_text() == "the other's"
    assert target.read_text() == "one's own" and os.listdir(tmp_path) == ["table"]


def test_what_a_killed_writer_left_is_swept_away(tmp_path: Path) -> None:
    target = tmp_path / "table[1]"
    if not (pid := os.fork()):
        with atomic_file(target) as aside:
            aside.write_text("half")
            os._exit(9)
    os.waitpid(pid, 0)
    (left,) = tmp_path.iterdir()
    assert left.name.startswith(".table[1].") and left.name.endswith(f".{SUFFIX}") and left.read_text() == "half"
    with atomic_file(target) as aside:
        assert list(tmp_path.iterdir()) == [aside]
        aside.write_text("whole")
    assert target.read_text() == "whole" and list(tmp_path.iterdir()) == [target]


def test_an_error_leaves_what_was_there(tmp_path: Path) -> None:
    target = tmp_path / "table"
    target.write_text("old")
    with pytest.raises(KeyboardInterrupt), atomic_file(target) as aside:
        aside.write_text("half")
        raise KeyboardInterrupt
    assert target.read_text() == "old" and list(tmp_path.iterdir()) == [target]


def test_a_file_has_the_usual_rights(tmp_path: Path) -> None:
    before = os.umask(0o027)
    try:
        with atomic_file(tmp_path / "table") as aside:
            aside.write_text("x")
    finally:
        os.umask(before)
    assert (tmp_path / "table").stat().st_mode & 0o777 == 0o640
