"""The stand-in teacher's dialogues over the toy world's pictures, worked out again from the facts."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from data_prep.qa_dialogue import LIST_PROMPT
from data_prep.qa_filters import fault_of
from data_prep.qa_kinds import DIALOGUE
from data_prep.qa_teacher import ServedTeacher
from data_prep.question_list import questions_in
from data_prep.scene_server import MODEL_NAME, read_facts, reply_to, serve
from data_prep.synthesize_qa import synthesize
from pipeline.chat import Answer, data_uri
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.sample import Sample, Side
from tests.data_prep.conftest import ToyWorld
from tests.shards import write_shards

SAMPLE = 150


def chat(picture: bytes, *words: str) -> dict[str, object]:
    """A request: a picture, then questions and answers in turn; the last words are asked."""
    content = [{"type": "image_url", "image_url": {"url": data_uri(picture)}}, {"type": "text", "text": words[0]}]
    messages: list[dict[str, object]] = [{"role": "user", "content": content}]
    for question, answer in zip(words[2::2], words[1::2], strict=True):
        messages += [{"role": "assistant", "content": answer}, {"role": "user", "content": [{"type": "text", "text": question}]}]
    return {"messages": messages}


@pytest.fixture(scope="module")
def pictures(toy_world: ToyWorld) -> list[bytes]:
    return [picture for _, picture in sorted(toy_world.train_pictures().items())][::5][:SAMPLE]


def test_every_answer_is_right_and_the_questions_fit_the_picture(
    toy_world: ToyWorld, pictures: list[bytes], sentence_again: Callable[..., str | None]
) -> None:
    scenes, kinds, lengths = read_facts(toy_world.root / "scene_facts.jsonl"), Counter[str](), Counter[int]()
    for picture in pictures:
        listed = reply_to(chat(picture, LIST_PROMPT), scenes)
        asked, said = questions_in(listed), list[str]()
        lengths[len(asked)] += 1
        assert len(set(asked)) == len(asked)
        for question in asked:
            answer = reply_to(chat(picture, *said, question), scenes)
            assert answer == sentence_again(toy_world.scene(picture), question), question
            assert fault_of(Answer(text=answer, finish_reason="stop"), request=question, template="") is None
            kinds[" ".join(question.split()[:2])] += 1
            said += [question, answer]
        assert reply_to(chat(picture, LIST_PROMPT), scenes) == listed, "the same picture, the same list"
    assert set(lengths) == {3, 4, 5} and lengths[5] > lengths[3]
    assert set(kinds) == {"How many", "What colour", "What shape", "Where is", "Is there"}


def test_the_questions_of_a_picture_ask_about_most_of_what_it_shows(toy_world: ToyWorld, pictures: list[bytes]) -> None:
    scenes = read_facts(toy_world.root / "scene_facts.jsonl")
    named = shown = 0
    for picture in pictures:
        asked = questions_in(reply_to(chat(picture, LIST_PROMPT), scenes))
        told = [reply_to(chat(picture, question), scenes).split() for question in asked]
        for thing in toy_world.scene(picture)["things"]:
            shown += 1
            named += any({thing["colour"], thing["shape"], thing["position"]} <= set(words) for words in told)
    assert named > 0.75 * shown


def test_a_description_is_still_what_other_words_get(toy_world: ToyWorld, pictures: list[bytes]) -> None:
    scenes = read_facts(toy_world.root / "scene_facts.jsonl")
    described = reply_to(chat(pictures[0], "Describe it."), scenes)
    assert all(thing["colour"] in described for thing in toy_world.scene(pictures[0])["things"])
    with pytest.raises(ValueError, match="several pictures"):
        reply_to({"messages": chat(pictures[0], "x")["messages"] + chat(pictures[1], LIST_PROMPT)["messages"]}, scenes)  # type: ignore[operator]


def test_the_synthesis_over_toy_pictures_gives_each_its_dialogue(
    toy_world: ToyWorld, pictures: list[bytes], tmp_path: Path, sentence_again: Callable[..., str | None]
) -> None:
    """Through the shards, the chat protocol, the journal and the side file: what training would read is right."""
    rows = [
        Sample(
            key=make_key("Toy", n),
            dataset="Toy",
            query=Side(text=f"number {n}"),
            positive=Side(text="<|image_1|>", images=(pictures[n],)),
            negatives=(Side(text="no picture"), Side(images=(pictures[n + 1],))),
        )
        for n in range(20)
    ]
    write_shards(rows, tmp_path / "shards", dataset="Toy", kind="pairs")
    with serve(toy_world.root / "scene_facts.jsonl") as url:
        teacher = ServedTeacher(urls=(url,), model=MODEL_NAME)
        counts = synthesize(tmp_path / "shards", tmp_path / "qa", teacher=teacher, kind=DIALOGUE)
    assert (counts["read"], counts["described"], counts["rejected"]) == (40, 40, 0)
    table = QaTable.open(tmp_path / "qa", "dialogue")
    for n, row in enumerate(rows):
        assert table.turns("Toy", row.key, "query") == table.turns("Toy", row.key, "negative_0") == ()
        for side, picture in (("positive", pictures[n]), ("negative_1", pictures[n + 1])):
            turns = table.turns("Toy", row.key, side)
            assert 3 <= len(turns) <= 5
            again = [sentence_again(toy_world.scene(picture), turn.question) for turn in turns]
            assert [turn.answer for turn in turns] == again
