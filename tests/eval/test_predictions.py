"""Answers that survive a kill, and never outlive the model they came from."""

from pathlib import Path

import pytest

from eval.predictions import PredictionFile
from pipeline.errors import DataError


def test_answers_are_found_again(tmp_path: Path) -> None:
    path = tmp_path / "a" / "p.jsonl"
    first = PredictionFile(path, "model")
    first.append({"0": "two\nlines\u2028and more", "1": '\U0001f600 "quoted"'})
    first.append({"2": ""})
    assert PredictionFile(path, "model").answers == {"0": "two\nlines\u2028and more", "1": '\U0001f600 "quoted"', "2": ""}


@pytest.mark.parametrize("cut", range(1, 40))
def test_a_kill_costs_at_most_the_last_line(tmp_path: Path, cut: int) -> None:
    path = tmp_path / "p.jsonl"
    PredictionFile(path, "model").append({"0": "kept", "1": "cut off somewhere in this line"})
    path.write_bytes(path.read_bytes()[:-cut])
    again = PredictionFile(path, "model")
    assert again.answers == {"0": "kept"}
    again.append({"1": "new"})
    assert PredictionFile(path, "model").answers == {"0": "kept", "1": "new"}


def test_a_kill_inside_the_first_line(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    path.write_bytes(b'{"fingerpr')
    assert PredictionFile(path, "model").answers == {}
    assert PredictionFile(path, "model").answers == {}


def test_answers_of_another_model_are_not_reused(tmp_path: Path) -> None:
    path = tmp_path / "p.jsonl"
    PredictionFile(path, "old").append({"0": "old answer"})
    assert PredictionFile(path, "new").answers == {}
    assert PredictionFile(path, "new").answers == {}


@pytest.mark.parametrize("damage", [b"not json\n", b'{"index": "1"}\n', b"[]\n"])
def test_damage_elsewhere_is_an_error(tmp_path: Path, damage: bytes) -> None:
    path = tmp_path / "p.jsonl"
    PredictionFile(path, "model").append({"0": "x"})
    path.write_bytes(path.read_bytes() + damage + b'{"index": "2", "prediction": "y"}\n')
    with pytest.raises(DataError, match="line 3"):
        PredictionFile(path, "model")
