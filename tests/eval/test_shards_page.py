"""The page on shards: self-contained, escaped, and its figures those of the rows."""

import re
from pathlib import Path

import pytest

from eval.shards_page import histogram, write_page
from pipeline.data.reject import Reject
from pipeline.data.shard_summary import plain_reason, power, summarize
from pipeline.errors import DataError
from pipeline.sample import Sample, Side, Turn
from tests.eval.test_report import HOSTILE, Page
from tests.pipeline.data.releases import picture
from tests.shards import write_shards

PICTURES = [picture(seed, size=(32 * (1 + seed % 2), 32)) for seed in range(3)]


@pytest.fixture
def shards(tmp_path: Path) -> Path:
    def sample(row: int, images: tuple[bytes, ...]) -> Sample:
        turns = (Turn(question=HOSTILE, answer="a" * 2000),)
        query = Side(instruction=HOSTILE, text=HOSTILE, images=images, turns=turns)
        return Sample(key=f"toy-{row:08d}", dataset="Toy", query=query, positive=Side(text="p"), negatives=(Side(text="n"),))

    items = [sample(0, (PICTURES[0],)), sample(1, (PICTURES[1], PICTURES[2])), sample(2, (PICTURES[0],))]
    rejects = [
        Reject(source="x", row=row, key=f"toy-{row:08d}", reason=f"Toy.zip has no member images/{row}.jpg") for row in (3, 4)
    ]
    write_shards([*items, *rejects], tmp_path / "shards", dataset="Toy", kind="pairs", rows_per_shard=2)
    return tmp_path / "shards"


def test_the_page_stands_alone_and_runs_nothing(shards: Path, tmp_path: Path) -> None:
    write_page(shards, tmp_path / "page.html", rows=12, seed=0)
    text = (tmp_path / "page.html").read_text()
    page = Page(text)
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert not [value for _, attributes in page.tags for name, value in attributes.items() if name.startswith("on") and value]
    sources = [attributes["src"] for tag, attributes in page.tags if tag == "img"]
    assert len(sources) == 4
    assert all(source and source.startswith("data:image/") for source in sources)
    assert not re.search(r"https?://(?!evil)", text)
    said = "".join(page.text)
    assert HOSTILE in said
    assert "toy-00000001" in said
    assert "1300 more characters" in said
    assert "Toy.zip has no member ..." in said


def test_the_same_seed_shows_the_same_rows(shards: Path, tmp_path: Path) -> None:
    shown = []
    for name, seed in (("a", 1), ("b", 1), ("c", 2), ("d", 3), ("e", 4)):
        write_page(shards, tmp_path / name, rows=1, seed=seed)
        shown.append(tuple(re.findall(r"<code>(toy-\d+)</code>", (tmp_path / name).read_text())))
    assert shown[0] == shown[1]
    assert all(len(keys) == 1 for keys in shown)
    assert len(set(shown)) > 1


def test_figures_are_those_of_the_rows(shards: Path) -> None:
    summary = summarize(shards / "toy")
    assert (summary.stats.read, summary.stats.rejected, summary.stats.pictures, summary.stats.duplicate_pictures) == (5, 2, 4, 1)
    assert dict(summary.pixels) == {10: 3, 11: 1}, "three of 32 x 32 and one of 64 x 32"
    assert dict(summary.pictures) == {1: 2, 2: 1}
    assert sum(summary.text_bytes.values()) == 3
    assert dict(summary.reasons) == {"Toy.zip has no member ...": 2}


def test_powers() -> None:
    assert [power(value) for value in (0, 1, 2, 3, 1023, 1024, 2047, 2048)] == [0, 0, 1, 1, 9, 10, 10, 11]
    assert re.findall(r"from ([^<]+)<", histogram("x", {9: 1, 11: 3})) == ["512", "1 k", "2 k"]
    assert histogram("x", {}) == ""


@pytest.mark.parametrize(
    ("reason", "plain"),
    [
        ("images/Toy/a b.jpg: the picture is 3 x 900 pixels", "the picture is N x N pixels"),
        ("path '../../x' is not a plain relative path", "path '...' is not a plain relative path"),
        ("message 3 is not from gpt", "message N is not from gpt"),
    ],
)
def test_reasons_without_their_names(reason: str, plain: str) -> None:
    assert plain_reason(reason) == plain


def test_without_shards_it_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="no such folder of shards"):
        write_page(tmp_path / "none", tmp_path / "page.html", rows=1, seed=0)
