"""Leaks planted by hand: each must be counted in its kind and under its dataset, and nothing else."""

import json
from pathlib import Path

import pytest

from data_prep.convert import Conversion, convert
from data_prep.leaks import CANDIDATE_TEXTS, KINDS, QUERIES, QUERY_PICTURES, QUERY_TEXTS, Leaks, find_leaks, write_leaks
from tests.pipeline.data.releases import picture, talk, train_row, write_conversations, write_eval, write_train

IMAGE = "<|image_1|>\n"
ASK = "Represent the given image with the following question: "
SHARED, LARGE, OWN = picture(1), picture(2, size=(80, 60)), picture(3)


@pytest.fixture
def found(tmp_path: Path) -> Leaks:
    """`Leaky` shares a picture, a large one (shrunk in the shards), a text in other case, a whole query and a candidate."""
    data = tmp_path / "data"
    rows = [
        train_row(f"{IMAGE}{ASK}What  IS it?", "images/A/1.jpg", "a dog"),
        train_row(f"{IMAGE}{ASK}Where is it?", "images/A/2.jpg", "a cat"),
        train_row(f"{IMAGE}{ASK}Where is it?", "images/A/1.jpg", "a bird"),
    ]
    write_train(data, "A", rows, {"A/1.jpg": SHARED, "A/2.jpg": LARGE})
    write_conversations(data, [talk("<image>\nHow many?", "two", image="c.jpg")], {"c.jpg": SHARED})
    pictures = {"x/1.jpg": SHARED, "x/2.jpg": LARGE, "x/3.jpg": OWN}

    def query(text: str, path: str, *candidates: str) -> dict[str, object]:
        return {
            "qry_text": f"{IMAGE}{text}",
            "qry_img_path": path,
            "tgt_text": [*candidates],
            "tgt_img_path": [""] * len(candidates),
        }

    leaky = [
        query(f"{ASK}what is it?\n", "x/1.jpg", "a dog", "a cow"),
        query(f"{ASK}Whose is it?", "x/2.jpg", "a fox", "a cow"),
        query(f"{ASK}How many?", "x/3.jpg", "a dog", "a hen"),
    ]
    write_eval(data, "Leaky", leaky, pictures)
    write_eval(data, "Clean", [query(f"{ASK}Why?", "x/3.jpg", "so", "not")], pictures)
    convert(Conversion(data=data, out=tmp_path / "shards", max_pixels=40 * 30))
    return find_leaks(data, tmp_path / "shards", lambda name, done, total: None)


def test_every_planted_leak_is_counted_and_no_other(found: Leaks) -> None:
    counted = {(each.dataset, each.kind): (each.shared, each.distinct, each.where) for each in found.overlaps}
    assert set(counted) == {(name, kind) for name in ("Leaky", "Clean") for kind in KINDS}
    leaks = {place: value for place, value in counted.items() if value[0]}
    assert leaks == {
        ("Leaky", QUERY_PICTURES): (2, 3, {"A": 2, "conversations": 1}),
        ("Leaky", QUERY_TEXTS): (2, 3, {"A": 1, "conversations": 1}),
        ("Leaky", CANDIDATE_TEXTS): (1, 4, {"A": 1}),
        ("Leaky", QUERIES): (1, 3, {"A": 1}),
    }


def test_lines_and_file_say_the_same(found: Leaks, tmp_path: Path) -> None:
    lines = found.lines()
    assert lines[0] == "Leaky: 2 of 3 query pictures occur in train (A 2, conversations 1)"
    assert lines[-1] == "1 of 2 evaluation sets share nothing with train"
    write_leaks(found, tmp_path / "leaks.json")
    written = json.loads((tmp_path / "leaks.json").read_text())
    assert [each["shared"] for each in written["overlaps"]] == [each.shared for each in found.overlaps]


def test_real_data_shares_no_picture(real_mini: Path, tmp_path: Path) -> None:
    """The folder's README says that train and eval rows use different pictures in every dataset."""
    convert(Conversion(data=real_mini, out=tmp_path, verify=False))
    found = find_leaks(real_mini, tmp_path, lambda name, done, total: None)
    own = [each for each in found.overlaps if each.kind.endswith("pictures") and each.where.get(each.dataset)]
    assert own == []
    assert any(each.shared for each in found.overlaps if each.kind == CANDIDATE_TEXTS), "labels recur"
