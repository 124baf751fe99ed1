"""Answers that survive a kill, and never outlive the model they came from."""

import os
from collections.abc import Mapping
from pathlib import Path

import pytest

from eval.predictions import AnswerPlace, PredictionFile, models_that_answered
from pipeline.errors import DataError, PipelineError


def kept(path: Path, fingerprint: str = "model") -> dict[str, str]:
    """What a process finds when it opens the file."""
    with PredictionFile(path, {"fingerprint": fingerprint}) as file:
        return dict(file.answers)


def add(path: Path, *parts: Mapping[str, str], fingerprint: str = "model") -> None:
    with PredictionFile(path, {"fingerprint": fingerprint}) as file:
        for part in parts:
            file.append(part)


def test_answers_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "p.jsonl"
    add(path, {"0": "two\nlines\u2028and more", "1": '\U0001f600 "quoted"'}, {"2": ""})
    assert kept(path) == {"0": "two\nlines\u2028and more", "1": '\U0001f600 "quoted"', "2": ""}


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_kill_costs_at_most_the_last_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "p.jsonl"
    add(path, {"0": "kept", "1": "cut off somewhere in this line"})
    path.write_bytes(path.read_bytes()[:-cut])
    assert kept(path) == {"0": "kept"}
    add(path, {"1": "new"})
    assert kept(path) == {"0": "kept", "1": "new"}


def test_a_kill_inside_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"fingerpr')
    assert kept(path) == {}
    assert kept(path) == {}


def test_each_fingerprint_has_a_file_of_its_own(tmp_path: Path) -> None:
    """Another prompt tried for a minute must not cost the answers of hours."""
    first, second = (AnswerPlace(folder=tmp_path, name="Birds-native", model="m", asked=asked) for asked in ("one", "two"))
    assert first.path.name == f"Birds-native.{first.fingerprint[:12]}.jsonl" and first.path != second.path
    add(first.path, {"0": "of the first", "1": "\u2028"}, fingerprint=first.fingerprint)
    add(second.path, {"0": "of the second"}, fingerprint=second.fingerprint)
    add(first.path, {"2": "later"}, fingerprint=first.fingerprint)
    assert second.read() == ({"0": "of the second"}, {})
    assert first.read() == ({"0": "of the first", "1": "\u2028", "2": "later"}, {})


def test_a_part_that_another_rank_left_is_taken_in(tmp_path: Path) -> None:
    place = AnswerPlace(folder=tmp_path, name="Birds-native", model="m", asked="one")
    with PredictionFile(place.path, place.header) as file, PredictionFile(place.part(3), place.header) as part:
        file.append({"0": "first's"})
        part.note({"dtype": "float32"})
        part.append({"0": "again", "1": "the part's"})
        file.take_in(place.part(3))
    assert place.read() == ({"0": "first's", "1": "the part's"}, {"dtype": "float32"})
    assert not place.part(3).exists()
    assert models_that_answered(tmp_path, "Birds-native", "one") == ["m"]
    assert models_that_answered(tmp_path, "Birds-native", "two") == []


def test_a_file_of_another_fingerprint_is_refused(tmp_path: Path) -> None:
    """Renamed by hand, or of a name that two fingerprints share."""
    path = tmp_path / "p.jsonl"
    add(path, {"0": "old answer"}, fingerprint="old")
    with pytest.raises(DataError, match=r"p\.jsonl: its answers belong to another model, data or settings"):
        kept(path, "new")
    assert kept(path, "old") == {"0": "old answer"}


def test_conditions_are_kept_with_the_answers(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    with PredictionFile(path, {"fingerprint": "model"}) as file:
        file.note({"dtype": "bfloat16"})
        file.append({"0": "x"})
        file.note({"dtype": "bfloat16"})
    assert len(path.read_text().splitlines()) == 3
    with PredictionFile(path, {"fingerprint": "model"}) as file:
        assert (file.conditions, file.answers) == ({"dtype": "bfloat16"}, {"0": "x"})


def test_two_evaluations_never_write_one_file(tmp_path: Path) -> None:
    """Two of one model and one setting would ask everything twice, and mix what they write."""
    path = tmp_path / "p.jsonl"
    with PredictionFile(path, {"fingerprint": "first"}) as first:
        first.append({"0": "of the first"})
        child = os.fork()
        if child == 0:
            with pytest.raises(PipelineError, match="another evaluation writes its answers there"):
                PredictionFile(path, {"fingerprint": "first"})
            os._exit(7)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
        first.append({"1": "of the first too"})
    assert kept(path, "first") == {"0": "of the first", "1": "of the first too"}


@pytest.mark.parametrize("damage", [b"not json\n", b'{"index": "1"}\n', b"[]\n"])
def test_damage_elsewhere_is_an_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "p.jsonl"
    add(path, {"0": "x"})
    path.write_bytes(path.read_bytes() + damage + b'{"index": "2", "prediction": "y"}\n')
    with pytest.raises(DataError, match="line 3"):
        kept(path)
