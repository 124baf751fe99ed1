import re
import tarfile

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data.keys import MAX_SLUG, make_key, slug, source_row
from pipeline.errors import DataError


@pytest.mark.parametrize(
    ("dataset", "expected"),
    [("A-OKVQA", "a-okvqa"), ("ImageNet_1K", "imagenet_1k"), ("Wiki SS/NQ", "wiki-ss-nq"), ("..x", "x")],
)
def test_slug(dataset: str, expected: str) -> None:
    assert slug(dataset) == expected


@given(st.text(min_size=1), st.integers(min_value=0, max_value=10**10))
def test_a_key_is_safe_for_webdataset_and_gives_its_row_back(dataset: str, row: int) -> None:
    try:
        key = make_key(dataset, row)
    except DataError:
        assert not re.search(r"[0-9a-z_]", dataset.lower()) or len(dataset) > MAX_SLUG
        return
    assert re.fullmatch(r"[0-9a-z_-]+", key)
    assert source_row(key) == row


def test_the_longest_name_stands_in_a_tar_and_a_longer_one_is_refused() -> None:
    key = make_key("x" * MAX_SLUG, 10**10)
    header = tarfile.TarInfo(f"{key}.n127_0.jpg").tobuf(tarfile.USTAR_FORMAT)
    assert header[:100].rstrip(b"\0").decode().startswith(key)
    with pytest.raises(DataError, match="is longer than 72 letters; rename its folder"):
        slug("x" * (MAX_SLUG + 1))


def test_keys_of_a_dataset_sort_in_row_order() -> None:
    assert sorted(["x-00000010", make_key("x", 9)]) == [make_key("x", 9), make_key("x", 10)]


@pytest.mark.parametrize("key", ["", "x", "-00000001", "x-", "x-1a", "x-²"])
def test_a_foreign_key_is_refused(key: str) -> None:
    with pytest.raises(DataError, match="not of the form"):
        source_row(key)
