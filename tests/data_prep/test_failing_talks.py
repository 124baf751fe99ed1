"""The fate of every row of the failing inputs' conversations: what is read of it, or why it is rejected."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from data_prep.check_inputs import check
from data_prep.convert import Conversion, convert
from pipeline.data import sharegpt4v
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.data.sharegpt4v_release import find_conversations
from pipeline.errors import DataError


@dataclass(frozen=True, slots=True)
class Fate:
    """What a row becomes: so many pictures and these questions, or, with `why`, a reject."""

    questions: tuple[str, ...] = ()
    pictures: int = 1
    why: str = ""


PAIRS = Fate(why="its conversations are not pairs of a question and an answer")
NOT_HUMAN = Fate(why="message 0 is not from human")
TALK = {
    "its image is a path": Fate(("What?",)),
    "a list of one": Fate(("What?",)),
    "a list of two": Fate(why="its image is a list of 2; a conversation has one picture"),
    "null": Fate(("Text only?",), 0),
    "no image": Fate(("Text only?",), 0),
    "gpt speaks first": PAIRS,
    "gpt, then human": NOT_HUMAN,
    "a system message": PAIRS,
    "the token inside": Fate(("What is  this?",)),
    "the token at the end": Fate(("What is this?",)),
    "the token twice": Fate(("Twice?",)),
    "no token": Fate(("No token?",)),
    "an empty answer": Fate(why="message 1 is an empty answer"),
    "a number for an answer": Fate(why="message 1 is not a text"),
    "an id twice": Fate(("What?",)),
    "the last answer is cut": PAIRS,
    "the token in the second question": Fate(("First?", "Second?")),
    "images": Fate(why="its key images is not read"),
    "video": Fate(why="its key video is not read"),
    "messages": PAIRS,
    "user and assistant": NOT_HUMAN,
    "a question about the tag": Fate(("Write an HTML tag: is <image> valid inside <svg>?",), 0),
    "special tokens": Fate(("Say <|im_end|>",)),
    "an empty path": Fate(why="a question has <image>, and the row has no picture"),
    "an absolute path": Fate(why="is not a plain relative path"),
    "a web address": Fate(why="has no member http://x/a/1.jpg"),
    "a data URI": Fate(why="has no member data:image/png;base64,AAAA"),
    "the token in capitals": Fate(("Capital token",)),
    "the token alone": Fate(("",)),
    "human twice": Fate(why="message 1 is not from gpt"),
    "no messages": PAIRS,
    "speakers in capitals": NOT_HUMAN,
    "an empty question about a picture": Fate(("",)),
}
"""Folder `talk`, row by row."""

FOLDERS = {
    "talk": list(TALK.values()),
    "talk_jsonl": list(TALK.values())[:4],
    "talk_images_key": [Fate(why="its key images is not read")] * 20,
    "talk_jsonl_renamed_only_conversations": [TALK["its image is a path"]],
}


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_row_has_its_fate(failing_inputs: Path, folder: str) -> None:
    (talks,) = find_conversations(failing_inputs / folder)
    items = list(sharegpt4v.read(talks.path, talks.images))
    for name, fate, item in zip(list(TALK) if folder == "talk" else range(99), FOLDERS[folder], items, strict=False):
        if isinstance(item, Reject):
            assert fate.why and fate.why in item.reason, (name, item.reason)
        else:
            found = Fate(tuple(turn.question for turn in item.query.turns), len(item.query.images))
            assert found == fate, name
    assert len(items) == len(FOLDERS[folder])


def test_the_check_counts_the_same_rows(failing_inputs: Path) -> None:
    lines = [finding.line for finding in check(failing_inputs / "talk") if finding.part == "conversations"]
    fates = TALK.values()
    missing = 3
    rejected = sum(bool(fate.why) for fate in fates) - missing
    shown, plain = (sum(not fate.why and fate.pictures == count for fate in fates) for count in (1, 0))
    kinds = f"{shown} with a picture, {plain} of text alone, {rejected} rejected, {missing} without their picture"
    assert lines[0] == f"  conversations: 33 rows: {kinds}"
    assert (
        "! conversations: 1 rows rejected, the first row 18: its key video is not read; the one picture of a row stands"
        in "\n".join(lines)
    )


def test_a_file_without_a_usable_row_ends_the_conversion(failing_inputs: Path, tmp_path: Path) -> None:
    with pytest.raises(
        DataError, match=r"conversations: all 20 rows were rejected; the first \(train\.json, row 0\): its key images"
    ):
        convert(Conversion(data=failing_inputs / "talk_images_key", out=tmp_path))
    with pytest.raises(DataError, match=r"train\.json: is not a list of rows but one object with 'data'; keep the list alone"):
        convert(Conversion(data=failing_inputs / "talk_dict", out=tmp_path / "dict"))


def test_conversations_alone_are_a_corpus(failing_inputs: Path, tmp_path: Path) -> None:
    convert(Conversion(data=failing_inputs / "talk_jsonl_renamed_only_conversations", out=tmp_path))
    assert list(ShardIndex.open(tmp_path).datasets) == ["conversations"]
