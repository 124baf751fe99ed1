import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from pipeline.data import sharegpt4v
from pipeline.data.reject import Reject
from pipeline.errors import DataError
from pipeline.sample import Sample, Side, Turn
from tests.pipeline.data.releases import picture, talk, write_conversations

A = picture(1)


def read(root: Path, rows: Any, pictures: dict[str, bytes] | None = None) -> tuple[list[Any], Counter[str]]:
    path, counts = write_conversations(root, rows, {"coco/a.jpg": A} if pictures is None else pictures), Counter[str]()
    return list(sharegpt4v.read(path, path.with_name("images.zip"), counts=counts)), counts


def test_a_conversation_is_a_picture_and_its_turns(tmp_path: Path) -> None:
    rows = [
        talk("<image>\nWhat is it?", "A cat.", "What colour?", "Grey.", image="coco/a.jpg"),
        talk("What is it?\n<image>", "A cat.", image="coco/a.jpg"),
        talk("<image>", "A cat.", image="coco/a.jpg"),
        talk("Say hello.", "Hello."),
    ]
    items, counts = read(tmp_path, rows)
    cat = Turn(question="What is it?", answer="A cat.")
    assert items == [
        Sample(
            key="conversations-00000000",
            dataset="conversations",
            query=Side(images=(A,), turns=(cat, Turn(question="What colour?", answer="Grey."))),
        ),
        Sample(key="conversations-00000001", dataset="conversations", query=Side(images=(A,), turns=(cat,))),
        Sample(
            key="conversations-00000002",
            dataset="conversations",
            query=Side(images=(A,), turns=(Turn(question="", answer="A cat."),)),
        ),
        Sample(
            key="conversations-00000003",
            dataset="conversations",
            query=Side(turns=(Turn(question="Say hello.", answer="Hello."),)),
        ),
    ]
    assert not +counts


def test_tokens_beside_the_one_picture_are_removed_and_counted(tmp_path: Path) -> None:
    rows = [
        talk("<image>\nHow?", "So.", "And <image> now?", "So.", image="coco/a.jpg"),
        talk("<image>\n<image>\nHow?", "So.", image="coco/a.jpg"),
        talk("First?", "So.", "How?\n<Image>", "So.", image="coco/a.jpg"),
    ]
    items, counts = read(tmp_path, rows)
    assert [turn.question for item in items for turn in item.query.turns] == ["How?", "And  now?", "How?", "First?", "How?"]
    assert counts["image_tokens_removed"] == 3


def test_a_list_of_one_picture_is_that_picture(tmp_path: Path) -> None:
    (item,), _ = read(tmp_path, [talk("<image>\nq", "a") | {"image": ["coco/a.jpg"]}])
    assert item.query == Side(images=(A,), turns=(Turn(question="q", answer="a"),))


TEXTS = [
    talk("Is <image> valid inside <svg>?", "<image> is."),
    talk("Say hello.", "<image>\nis what HTML lacks."),
    talk("What does this do:\n  <svg><image/></svg>", "It shows one."),
    talk("Hello.", "Hi.", "Is <video> a tag?", "Yes.") | {"image": None, "images": [], "video": ""},
    talk("Hello.", "Hi.") | {"image": "", "source": "a book", "type": "text", "model": "one", "language": "en", "tags": []},
    talk("Hello.", "Hi.") | {"image": []},
]


@pytest.mark.parametrize("row", TEXTS)
def test_words_about_pictures_in_a_row_of_text_are_text(tmp_path: Path, row: dict[str, Any]) -> None:
    (item,), counts = read(tmp_path, [row])
    values = [message["value"] for message in row["conversations"]]
    assert isinstance(item, Sample) and item.query.images == ()
    assert [text for turn in item.query.turns for text in (turn.question, turn.answer)] == values
    assert not +counts


@pytest.mark.parametrize(
    "key", ["image_1", "img_fn", "pic", "image_b64", "image-path", "figure", "screenshot", "visual", "image_id", "messages"]
)
def test_a_row_without_a_picture_has_no_key_that_nobody_knows(tmp_path: Path, key: str) -> None:
    """Whatever it is called, it may be the picture; beside a picture that is read it says something of that one."""
    rows = [talk("Which bird?", "A robin.") | {key: "a.png"}, talk("<image>\nq", "a", image="coco/a.jpg") | {key: "a.png"}]
    (blind, seeing), _ = read(tmp_path, rows)
    assert isinstance(blind, Reject) and f"its key {key} " in blind.reason
    assert isinstance(seeing, Sample) and seeing.query.images == (A,)


@pytest.mark.parametrize(("image", "reason"), [([""], "list of nothing"), (0, "not a text"), ({}, "not a text")])
def test_a_picture_that_is_none_is_a_reject(tmp_path: Path, image: object, reason: str) -> None:
    (item,), _ = read(tmp_path, [talk("Which bird?", "A robin.") | {"image": image}])
    assert isinstance(item, Reject) and reason in item.reason


NOT_READ = (
    "images image_path image_paths imagePath Image img image_url picture photos video videos video_path audio image_bytes frames"
)
BLIND = [
    "<image>\nWhat?", "What?\n<image>", "<image>", "<image>What?", "Look.\n<image>\nWhat?", "<Image>\nWhat?", "What? <image>",
    "<video>\nWhat?", "<|image_1|>\nWhat?", "<image_2> What?", "<audio>\nWhat?", "<img>\nWhat?", "<|image_pad|>What?",
    "<ImageHere>What?", "[IMG]\nWhat?", "<img>a.jpg</img>What?", "<image_placeholder>\nWhat?",
    "<|vision_start|><|image_pad|><|vision_end|>What?",
]  # fmt: skip


@pytest.mark.parametrize("key", NOT_READ.split())
def test_a_picture_under_a_key_that_is_not_read_is_a_reject_that_names_it(tmp_path: Path, key: str) -> None:
    for value in ("coco/a.jpg", ["coco/a.jpg"]):
        for row in (talk("<image>\nq", "a"), talk("q", "a"), talk("<image>\nq", "a", image="coco/a.jpg")):
            (item,), _ = read(tmp_path, [row | {key: value}])
            assert item.reason == f"its key {key} is not read; the one picture of a row stands under image"


@pytest.mark.parametrize("question", BLIND)
def test_a_question_about_a_picture_that_is_not_there_is_a_reject(tmp_path: Path, question: str) -> None:
    """In any turn: the model would be taught to answer blind."""
    for row in (talk(question, "a"), talk("Hello.", "Hi.", question, "a")):
        for image in ({}, {"image": None}, {"image": ""}, {"image": []}):
            (item,), _ = read(tmp_path, [row | image])
            assert isinstance(item, Reject) and item.reason.endswith(", and the row has no picture"), item


def test_an_emptied_path_makes_every_token_the_place_of_a_picture(tmp_path: Path) -> None:
    for empty in ("", []):
        (item,), _ = read(tmp_path, [talk("What is <image> this?", "a") | {"image": empty}])
        assert item.reason == "a question has <image>, and the row has no picture"


BAD = [
    ("text", "it is not an object"),
    ({}, "not pairs of a question and an answer"),
    (talk(), "not pairs of a question and an answer"),
    (talk("q"), "not pairs of a question and an answer"),
    (talk("q", "a", "q"), "not pairs of a question and an answer"),
    ({"conversations": "q"}, "not pairs of a question and an answer"),
    ({"conversations": [{"from": "gpt", "value": "a"}, {"from": "human", "value": "q"}]}, "message 0 is not from human"),
    ({"conversations": [["human", "q"], ["gpt", "a"]]}, "message 0 is not an object"),
    ({"conversations": [{"from": "human", "value": 1}, {"from": "gpt", "value": "a"}]}, "message 0 is not a text"),
    (talk("q", "a\ud800"), "message 1 is not valid UTF-8"),
    (talk("q", "  "), "message 1 is an empty answer"),
    (talk("", "a"), "it has neither a picture nor a question"),
    (talk("q", "a") | {"image": [1]}, "its image is not a text"),
    (talk("q", "a") | {"image": {"bytes": "x"}}, "its image is not a text"),
    (talk("q", "a") | {"image": ["coco/a.jpg", "coco/a.jpg"]}, "its image is a list of 2; a conversation has one picture"),
    (talk("q", "a", image="\ud800.jpg"), "its image is not valid UTF-8"),
    (talk("q", "a", image="coco/b.jpg"), "images.zip has no member coco/b.jpg"),
    (talk("q", "a", image="../x.jpg"), "path '../x.jpg' is not a plain relative path"),
]


@pytest.mark.parametrize(("row", "reason"), BAD)
def test_an_unusable_row_is_a_reject_with_its_place(tmp_path: Path, row: Any, reason: str) -> None:
    items, _ = read(tmp_path, [talk("q", "a"), row, talk("q", "a")])
    assert [type(item) for item in items] == [Sample, Reject, Sample]
    assert (items[1].source, items[1].row, items[1].key) == ("train.json", 1, "conversations-00000001")
    assert reason in items[1].reason


def test_a_folder_beside_the_json_serves_as_well(tmp_path: Path) -> None:
    path = write_conversations(tmp_path, [talk("<image>\nq", "a", image="coco/a.jpg")])
    file = path.with_name("images") / "coco" / "a.jpg"
    file.parent.mkdir(parents=True)
    file.write_bytes(A)
    for images in (path.with_name("images.zip"), path.with_name("images")):
        (item,) = sharegpt4v.read(path, images)
        assert isinstance(item, Sample)
        assert item.query.images == (A,)


def test_a_file_that_is_no_list_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train\.json: is not a list of rows"):
        read(tmp_path, {"conversations": []})


def test_real_conversations_come_back_exactly(real_mini: Path) -> None:
    folder = real_mini / "conversations"
    rows = json.loads((folder / "train.json").read_text(encoding="utf-8"))
    items = list(sharegpt4v.read(folder / "train.json", folder / "images.zip"))
    assert len(items) == len(rows) == 221
    for row, item in zip(rows, items, strict=True):
        assert isinstance(item, Sample)
        values = [message["value"] for message in row["conversations"]]
        values[0] = values[0].removeprefix("<image>\n")
        assert [text for turn in item.query.turns for text in (turn.question, turn.answer)] == values
        assert len(item.query.images) == 1
