"""At most so many different pictures of each dataset are asked about: those of all sides pooled, the same in every run."""

import base64
import hashlib
import io
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from data_prep.qa_drawn import drawn, largest_taken
from data_prep.qa_kinds import CAPTION, QA, draw_number
from data_prep.qa_teacher import ServedTeacher
from data_prep.slices import Slice
from data_prep.synthesize_qa import main, synthesize, synthesize_slice
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.errors import ConfigError
from pipeline.sample import Sample, Side
from tests.chat_server import Reply, chat_server, completion
from tests.shards import write_shards

SETS = ("Many", "Few")
MOST = 5


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (28, 28), (number, 7, 99)).save(file, "PNG")
    return file.getvalue()


def rows_of(dataset: str) -> list[Sample]:
    """Many shows pictures 0 to 7 in queries with words of their own, 8 to 11 in positives, 12 to 19 in negatives; Few 0 to 2."""
    if dataset == "Few":
        numbers = [(n % 3, None, ()) for n in range(8)]
    else:
        numbers = [(n % 8, 8 + n % 4, (12 + n % 8, n % 8)) for n in range(24)]
    return [
        Sample(
            key=make_key(dataset, row),
            dataset=dataset,
            query=Side(text=f"<|image_1|>\nWhat is {row}?", images=(picture(query),)),
            positive=Side(text="a word") if positive is None else Side(images=(picture(positive),)),
            negatives=tuple(Side(images=(picture(number),)) for number in negatives),
        )
        for row, (query, positive, negatives) in enumerate(numbers)
    ]


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("drawn") / "shards"
    for name in SETS:
        write_shards(rows_of(name), out, dataset=name, kind="pairs")
    return out


def by_digest(number: int) -> int:
    """A draw of our own: the documented digest of a picture alone, length before each part."""
    digest = hashlib.sha256()
    for part in ("drawn", "", "", hashlib.sha256(picture(number)).hexdigest()):
        digest.update(len(part).to_bytes(8, "little") + part.encode())
    return int(digest.hexdigest()[:15], 16)


CHOSEN = {"Many": set(sorted(range(20), key=by_digest)[:MOST]), "Few": {0, 1, 2}}


def caption(number: int, body: dict[str, Any]) -> Reply:
    return completion(f"A square of the colour {shown(body)}.")


def shown(body: dict[str, Any]) -> int:
    encoded = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return int(image.getpixel((0, 0))[0])  # type: ignore[index]


@given(st.lists(st.integers(0, 30)), st.integers(1, 8))
def test_the_largest_of_the_smallest(numbers: list[int], most: int) -> None:
    smallest = sorted(set(numbers))[:most]
    assert largest_taken(iter(numbers), most) == (smallest[-1] if smallest else -1)


def test_pictures_of_all_sides_are_pooled_and_capped_by_dataset(shards: Path, tmp_path: Path) -> None:
    assert all(draw_number(Side(text=f"{n}", images=(picture(n),))) == by_digest(n) for n in range(20))
    assert CHOSEN["Many"] & set(range(12)) and CHOSEN["Many"] & set(range(12, 20)), "some are in negatives alone"
    kind = drawn(CAPTION, shards, MOST, lambda *_: None)
    with chat_server(caption) as server:
        teacher = ServedTeacher(urls=(server.url,), model="teacher")
        for number in range(2):
            synthesize_slice(shards, tmp_path, Slice(index=number, of=2), teacher=teacher, kind=kind)
        asked = sorted(map(shown, server.requests))
        counts = synthesize(shards, tmp_path, teacher=teacher, kind=kind, max_unanswered=0)
        assert asked == sorted(map(shown, server.requests)) == sorted(CHOSEN["Many"] | CHOSEN["Few"])
    table, told = QaTable.open(tmp_path, "caption"), 0
    for dataset in SETS:
        for sample in rows_of(dataset):
            names = ("query", "positive", *(f"negative_{n}" for n in range(len(sample.negatives))))
            for name, side in zip(names, sample.sides, strict=True):
                chosen = any(side.images == (picture(number),) for number in CHOSEN[dataset])
                turns = table.turns(dataset, sample.key, name)
                assert len(turns) == chosen, (dataset, sample.key, name)
                told += chosen
    assert counts["described"] == counts["read"] == told and counts["rejected"] == 0


def test_no_limit_asks_about_all_and_a_kind_of_sides_has_none(shards: Path, tmp_path: Path) -> None:
    assert drawn(CAPTION, shards, None, lambda *_: None) is CAPTION
    assert drawn(CAPTION, shards, 1000, lambda *_: None).limits == {
        "Many": max(map(by_digest, range(20))),
        "Few": max(map(by_digest, range(3))),
    }
    with pytest.raises(ConfigError, match="--most-pictures: kind qa asks each side its own"):
        drawn(QA, shards, 5, lambda *_: None)
    words = ["--shards", str(shards), "--out", str(tmp_path), "--most-pictures", "5"]
    done = CliRunner().invoke(main, words)
    assert done.exit_code == 1 and done.output.startswith("Error: --most-pictures: kind qa")
    with chat_server(caption) as server:
        done = CliRunner().invoke(main, [*words, "--kind", "caption", "--url", server.url])
        assert done.exit_code == 0 and {*map(shown, server.requests)} == CHOSEN["Many"] | CHOSEN["Few"]
