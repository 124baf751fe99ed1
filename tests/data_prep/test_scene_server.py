"""The stand-in teacher: it knows the toy world's pictures and no others, and speaks the chat protocol."""

import json
import random
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from data_prep.scene_maker import SceneMaker
from data_prep.scene_server import MODEL_NAME, read_facts, serve
from data_prep.scenes import Scene
from data_prep.toy_files import PictureBook
from pipeline.chat import Answer, ChatRequest, Failed
from pipeline.errors import DataError
from tests.chat_server import told
from tests.data_prep.conftest import things_told


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[tuple[bytes, Scene]]]:
    maker = SceneMaker(rng=random.Random(3), split="train")
    book, facts = PictureBook(), tmp_path_factory.mktemp("facts") / "scene_facts.jsonl"
    scenes = [maker.scene("red circle", count=count) for count in (1, 2, 3)]
    pictures = [(book.encode(scene), scene) for scene in scenes]
    book.write(facts)
    return facts, pictures


def test_pictures_are_described_as_they_were_drawn(world: tuple[Path, list[tuple[bytes, Scene]]], tmp_path: Path) -> None:
    facts, pictures = world
    requests = [ChatRequest(text="Describe it.", images=(encoded,)) for encoded, _ in pictures]
    both = ChatRequest(text="Describe them.", images=tuple(encoded for encoded, _ in pictures[:2]))
    with serve(facts) as url:
        first, again = (told(url, [*requests, both], journal=tmp_path / name, model=MODEL_NAME) for name in ("one", "two"))
        texts = [outcome.text for outcome in first if isinstance(outcome, Answer)]
        for text, (_, scene) in zip(texts, pictures, strict=False):
            assert things_told(text) == {(t.position, t.colour, t.shape) for t in scene.things}
        assert first == again and texts[-1] == " . ".join(texts[:2]) and len(texts) == len(pictures) + 1
        with urllib.request.urlopen(f"{url}/models") as reply:
            assert json.load(reply)["data"][0]["id"] == MODEL_NAME


@pytest.mark.parametrize(("images", "reason"), [([b"unknown"], "not of this toy world"), ([], "no picture in the request")])
def test_what_it_cannot_answer_is_refused(
    world: tuple[Path, list[tuple[bytes, Scene]]], images: list[bytes], reason: str, tmp_path: Path
) -> None:
    with serve(world[0]) as url:
        (outcome,) = told(url, [ChatRequest(text="?", images=tuple(images))], journal=tmp_path / "answers")
    assert isinstance(outcome, Failed) and "HTTP 400: " in outcome.reason and reason in outcome.reason


@pytest.mark.parametrize(
    "body",
    [
        b"{",
        b"[]",
        b'{"messages": []}',
        b'{"messages": [{"content": "text"}]}',
        b'{"messages": [{"content": [{"type": "image_url"}]}]}',
    ]
    + [
        json.dumps({"messages": [{"content": [{"type": "image_url", "image_url": {"url": url}}]}]}).encode()
        for url in ("http://elsewhere/p.jpg", "data:image/png;base64,???")
    ],
)
def test_requests_out_of_form_get_a_400(world: tuple[Path, list[tuple[bytes, Scene]]], body: bytes) -> None:
    with serve(world[0]) as url, pytest.raises(urllib.error.HTTPError) as caught:
        urllib.request.urlopen(urllib.request.Request(f"{url}/chat/completions", data=body))
    assert caught.value.code == 400
    caught.value.close()


@pytest.mark.parametrize("content", ["{", '{"sha256": "x"}', '{"sha256": "x", "scene": {"things": [], "style": "plain"}}'])
def test_facts_out_of_form_are_one_clear_error(tmp_path: Path, content: str) -> None:
    (tmp_path / "facts.jsonl").write_text(content + "\n")
    with pytest.raises(DataError, match="toy world"):
        read_facts(tmp_path / "facts.jsonl")
    with pytest.raises(DataError, match="cannot be read"):
        read_facts(tmp_path / "absent.jsonl")
