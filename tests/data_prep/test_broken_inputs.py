"""Every kind of broken input has the fate that the table says; whatever is not broken comes back as if nothing had happened."""

import re
from pathlib import Path

import pytest

from pipeline.data import mmeb, sharegpt4v
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject
from pipeline.errors import DataError
from pipeline.sample import Sample
from tests.data_prep.broken_inputs import KINDS, Kind
from tests.data_prep.damage import PAIRS, TALKS, write_sound

Items = list[Sample | Reject]


def read(root: Path, part: str) -> Items:
    prepare = PicturePreparer(max_pixels=1000)
    if part == "json":
        return list(sharegpt4v.read(root / "conversations/train.json", root / "conversations/images.zip", prepare=prepare))
    return list(mmeb.read_train(root, "Toy", prepare=prepare))


@pytest.fixture(scope="module")
def sound(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Items]:
    root = tmp_path_factory.mktemp("sound")
    write_sound(root)
    found = {part: read(root, part) for part in ("json", "pairs")}
    assert [(len(items), {type(item) for item in items}) for items in found.values()] == [(TALKS, {Sample}), (PAIRS, {Sample})]
    return found


@pytest.mark.parametrize("name", KINDS)
def test_a_broken_input_has_its_fate(name: str, tmp_path: Path, sound: dict[str, Items]) -> None:
    kind, part = KINDS[name], name.split(":")[0]
    write_sound(tmp_path)
    kind.damage(tmp_path)
    expected = sound["json" if part == "json" else "pairs"]
    if kind.refused:
        with pytest.raises(DataError, match=kind.refused) as caught:
            read(tmp_path, part)
        assert "\n" not in str(caught.value)
        assert str(tmp_path) in str(caught.value), "the file is named"
        return
    assert_rejected(kind, read(tmp_path, part), expected)


def assert_rejected(kind: Kind, items: Items, expected: Items) -> None:
    wanted = kind.rejected or {}
    assert {row for row, item in enumerate(items) if isinstance(item, Reject)} == set(wanted)
    assert [item.key for item in items] == [item.key for item in expected]
    for row, item in enumerate(items):
        if isinstance(item, Sample):
            assert item == expected[row]
        else:
            assert re.search(wanted[row], item.reason), item.reason
            assert item.row == row
            assert "\n" not in item.reason


def test_the_table_has_enough_kinds() -> None:
    assert len(KINDS) >= 40
    assert {name.split(":")[0] for name in KINDS} == {"zip", "link", "parquet", "json", "picture"}
