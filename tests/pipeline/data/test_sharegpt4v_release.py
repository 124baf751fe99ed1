"""ShareGPT-4V in its public layout: file names, picture folders by source, zips in the place of folders."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import sharegpt4v
from pipeline.data.picture_count import PictureCount
from pipeline.data.reject import Reject
from pipeline.data.sharegpt4v_release import FILES, FOLDER, find_conversations
from pipeline.data.sharegpt4v_survey import Rejected, Survey, survey
from pipeline.errors import DataError
from pipeline.sample import Sample
from tests.pipeline.data.releases import picture, talk, write_conversations, write_zip

CAPTIONS, PT, MIX = FILES
PICTURES = {name: picture(seed) for seed, name in enumerate(("coco", "sam", "llava", "wikiart", "vg"))}
PATHS = {
    "coco": "coco/train2017/000000000009.jpg",
    "sam": "sam/images/sa_545504.jpg",
    "llava": "llava/llava_pretrain/images/00453/004539375.jpg",
    "wikiart": "wikiart/images/a b.jpg",
    "vg": "vg/VG_100K/1.jpg",
}


def write_release(data: Path, **files: list[dict[str, Any]]) -> None:
    (data / FOLDER).mkdir(parents=True)
    for name, rows in files.items():
        (data / FOLDER / {"captions": CAPTIONS, "pt": PT, "mix": MIX}[name]).write_text(json.dumps(rows))


def rows_of(*sources: str) -> list[dict[str, Any]]:
    return [talk(f"<image>\n{source}?", f"{source}.", image=PATHS[source]) for source in sources]


def put(data: Path, source: str) -> None:
    path = data / FOLDER / PATHS[source]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(PICTURES[source])


def test_files_are_known_by_their_public_names(tmp_path: Path) -> None:
    assert find_conversations(tmp_path) == []
    write_release(tmp_path, captions=rows_of("coco"), mix=rows_of("vg"))
    write_conversations(tmp_path, [])
    assert [talks.dataset for talks in find_conversations(tmp_path)] == [
        "conversations",
        "ShareGPT4V-cap100k",
        "ShareGPT4V-mix665k",
    ]


def test_pictures_come_from_folders_and_from_zips_in_their_place(tmp_path: Path) -> None:
    """coco as the zip that its makers give, sam as one zip of the source, vg as a zip with whole paths; the others unpacked."""
    write_release(tmp_path, mix=[*rows_of(*PATHS), talk("Hello?", "Hi.", "And?", "So.")])
    for source in ("llava", "wikiart"):
        put(tmp_path, source)
    write_zip(tmp_path / FOLDER / "coco" / "train2017.zip", {"train2017/000000000009.jpg": PICTURES["coco"]})
    write_zip(tmp_path / FOLDER / "sam.zip", {"images/sa_545504.jpg": PICTURES["sam"]})
    write_zip(tmp_path / FOLDER / "vg.zip", {PATHS["vg"]: PICTURES["vg"]})
    (talks,) = find_conversations(tmp_path)
    *shown, text_only = sharegpt4v.read(talks.path, talks.images, dataset=talks.dataset)
    for source, item in zip(PATHS, shown, strict=True):
        assert isinstance(item, Sample)
        assert item.query.images == (PICTURES[source],)
        assert [turn.answer for turn in item.query.turns] == [f"{source}."]
    assert isinstance(text_only, Sample)
    assert text_only.query.images == ()
    assert [turn.question for turn in text_only.query.turns] == ["Hello?", "And?"]
    found = survey(talks)
    assert (found.rows, found.with_picture, found.text_only) == (6, 5, 1)
    assert [entry.missing for entry in found.sources] == [0] * 5 and found.missing == []


def test_missing_sources_are_told_by_name_and_count(tmp_path: Path) -> None:
    rows = [*rows_of("coco", "sam", "sam", "sam", "llava"), talk("q", "a"), "not a row", talk("q", "a", image="../x/1.jpg")]
    write_release(tmp_path, pt=rows)  # type: ignore[arg-type]
    put(tmp_path, "coco")
    put(tmp_path, "llava")
    (talks,) = find_conversations(tmp_path)
    assert survey(talks) == Survey(
        rows=8,
        with_picture=2,
        text_only=1,
        rejected=(Rejected(count=1, row=6, reason="it is not an object"),),
        sources=(
            PictureCount(source="..", named=1, different=1, missing=1, first_missing="../x/1.jpg of row 7"),
            PictureCount(source="coco", named=1, different=1, missing=0),
            PictureCount(source="llava", named=1, different=1, missing=0),
            PictureCount(source="sam", named=3, different=1, missing=3, first_missing="sam/images/sa_545504.jpg of row 1"),
        ),
    )
    assert [entry.source for entry in survey(talks).missing] == ["..", "sam"]
    items = list(sharegpt4v.read(talks.path, talks.images))
    assert [isinstance(item, Reject) for item in items] == [False, True, True, True, False, False, True, True]


def test_no_pictures_at_all(tmp_path: Path) -> None:
    write_conversations(tmp_path, rows_of("coco"))
    (talks,) = find_conversations(tmp_path)
    first = "coco/train2017/000000000009.jpg of row 0"
    assert survey(talks).sources == (PictureCount(source="coco", named=1, different=1, missing=1, first_missing=first),)


def test_a_survey_judges_as_the_reader_does(tmp_path: Path) -> None:
    """Rejects by reason, most frequent first, each with the first row of its kind; a key is a reason of its own."""
    rows = [
        *rows_of("coco", "coco"),
        talk("q", "a"),
        *[talk(f"<image>\n{n}", "a") | {"images": ["x.jpg"]} for n in range(3)],
        talk("<image>\nq", "a") | {"video": "x.mp4"},
        *[talk("<image>\nq", "a")] * 2,
    ]
    path = write_conversations(tmp_path, rows, {PATHS["coco"]: PICTURES["coco"]})
    (talks,) = find_conversations(tmp_path)
    found = survey(talks)
    assert [(reason.count, reason.row) for reason in found.rejected] == [(3, 3), (2, 7), (1, 6)]
    assert [reason.reason.split(";")[0] for reason in found.rejected] == [
        "its key images is not read",
        "a question has <image>, and the row has no picture",
        "its key video is not read",
    ]
    read = [isinstance(item, Reject) for item in sharegpt4v.read(path, talks.images)]
    assert (found.with_picture, found.text_only, found.rows) == (2, 1, 9) and sum(read) == 6


def test_a_row_a_line_is_read_as_well(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, [], {PATHS["coco"]: PICTURES["coco"]})
    lines = "\n".join(map(json.dumps, [*rows_of("coco"), talk("q", "a")]))
    path.write_text(lines)
    (talks,) = find_conversations(tmp_path)
    first = list(sharegpt4v.read(talks.path, talks.images))
    path.rename(path.with_suffix(".jsonl"))
    (talks,) = find_conversations(tmp_path)
    assert talks.path.name == "train.jsonl" and list(sharegpt4v.read(talks.path, talks.images)) == first
    assert [len(item.query.images) for item in first if isinstance(item, Sample)] == [1, 0]
    path.write_text("[]")
    with pytest.raises(DataError, match=r"has both train\.json and train\.jsonl; keep the one that is meant"):
        find_conversations(tmp_path)


def test_a_zip_that_is_none_is_one_line(tmp_path: Path) -> None:
    write_release(tmp_path, mix=rows_of("sam"))
    (tmp_path / FOLDER / "sam.zip").write_bytes(b"half a download")
    (talks,) = find_conversations(tmp_path)
    for read in (lambda: list(sharegpt4v.read(talks.path, talks.images)), lambda: survey(talks)):
        with pytest.raises(DataError, match=r"sam\.zip: not a readable zip archive"):
            read()
