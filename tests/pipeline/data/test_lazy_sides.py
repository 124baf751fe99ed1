"""Sides of a benchmark, of which one at a time is in memory."""

import os
from pathlib import Path

import numpy as np
import pytest

from pipeline.data.lazy_sides import LatePictures, LazySides, chained, mapped
from pipeline.data.mmeb_eval import read_eval
from pipeline.data.pictures import Pictures
from pipeline.errors import DataError
from pipeline.sample import Side
from tests.eval.fakes import write_eval, write_pictures
from tests.pipeline.corpus import picture


@pytest.fixture
def data(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    write_pictures(tmp_path, {f"a/{number}.png": picture(rng, 56, 56) for number in range(3)})
    rows = [(f"<|image_1|>\nwhat {number}", f"a/{number}.png", ["yes", "no"], ["", ""]) for number in range(3)]
    write_eval(tmp_path, "Toy", rows)
    return tmp_path


def test_sides_are_a_sequence_whose_items_are_made_when_asked_for() -> None:
    made: list[int] = []

    def make(number: int) -> Side:
        made.append(number)
        return Side(text=str(number))

    sides = LazySides(5, make)
    assert len(sides) == 5 and not made
    assert (sides[-1].text, [side.text for side in sides[1:3]]) == ("4", ["1", "2"]) and made == [4, 1, 2]
    assert sides == [Side(text=str(number)) for number in range(5)] != sides[:4]
    both = chained(mapped(lambda side: Side(text=f"a{side.text}"), sides[:2]), sides[3:])
    assert [side.text for side in both] == ["a0", "a1", "3", "4"]
    with pytest.raises(IndexError):
        both[4]
    several = chained(sides[:2], [], sides[2:3], sides[3:])
    assert several == sides and several[-1].text == "4" and len(chained()) == 0


def test_a_checked_set_is_opened_without_its_pictures(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read: list[str | bytes] = []
    of_row = Pictures.of_row
    monkeypatch.setattr(Pictures, "of_row", lambda self, each: read.append(each) or of_row(self, each))
    checked = read_eval(data, "Toy")
    assert read == [f"a/{number}.png" for number in range(3)], "each is looked at once"
    read.clear()
    opened = read_eval(data, "Toy", verify=False)
    assert not read and opened.queries[1].images and read == ["a/1.png"]
    assert opened == checked and len({side.images for side in opened.queries}) == 3


def test_another_process_opens_its_own_archive(data: Path) -> None:
    """After a fork both would read on from where the other stands."""
    late = LatePictures(data / "MMEB-eval" / "images.zip")
    late.read("a/0.png")
    assert late._opened is not None
    stands = late._opened[1]._source._zip.fp  # type: ignore[union-attr]
    before = stands.tell()
    child = os.fork()
    if not child:
        os._exit(0 if late.read("a/2.png") else 1)
    assert os.waitpid(child, 0)[1] == 0 and stands.tell() == before


def test_a_picture_that_went_after_the_check_is_named(data: Path) -> None:
    opened = read_eval(data, "Toy", verify=False)
    (data / "MMEB-eval" / "images.zip").unlink()
    write_pictures(data, {"a/0.png": picture(np.random.default_rng(0), 56, 56)})
    assert opened.queries[0].images
    with pytest.raises(DataError, match=r"MMEB-eval: images\.zip has no member a/1\.png.*; download the benchmark again"):
        opened.queries[1]
