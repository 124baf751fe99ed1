"""A known benchmark's file that is cut or changed is told by name, and scored only when that is asked for."""

from pathlib import Path

import pytest

from eval.benchmarks.known_files import KNOWN, KnownFile
from eval.question_files import question_files, read_questions
from eval.tsv import read_table
from pipeline.errors import DataError
from tests.eval.test_tsv import row, write


def test_a_file_of_another_length_is_refused(tmp_path: Path) -> None:
    """A download cut at the end of a line is a sound file of fewer rows."""
    path = write(tmp_path / "MMStar.tsv", [row("0"), row("1")])
    with pytest.raises(DataError, match=r"it has 2 rows and the published MMStar has 1500; .*--allow-changed"):
        read_questions(path)
    table = read_questions(path, allow_changed=True)
    assert (len(table.rows), table.changed) == (2, "it has 2 rows and the published MMStar has 1500")


def test_a_file_of_another_content_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(tmp_path / "MMStar.tsv", [row("0"), row("1")])
    md5 = read_table(path).md5
    monkeypatch.setitem(KNOWN, "MMStar", KnownFile(2, md5))
    assert read_questions(path).changed == ""
    monkeypatch.setitem(KNOWN, "MMStar", KnownFile(2, "0" * 32))
    with pytest.raises(DataError, match=rf"its md5 is {md5} and that of the published MMStar is 0000"):
        read_questions(path)


def test_files_of_one_s_own_have_any_length(tmp_path: Path) -> None:
    assert read_questions(write(tmp_path / "MMStar_small.tsv", [row("0")])).changed == ""


def test_files_are_found_whatever_the_case_of_their_ending(tmp_path: Path) -> None:
    folder = tmp_path / "mcq"
    folder.mkdir()
    for name in ("A.TSV", "B.tsv", ".hidden.tsv", "._B.tsv", "C.txt"):
        (folder / name).touch()
    assert [path.name for path in question_files(tmp_path)] == ["A.TSV", "B.tsv"]
    (folder / "B.TSV").touch()
    with pytest.raises(DataError, match=r"B\.TSV and B\.tsv have one name"):
        question_files(tmp_path)
