"""Kinds `caption` and `description`: what is asked about a picture, what is learnt, and whose pictures are asked about."""

from pathlib import Path
from typing import Any

import pytest

from data_prep import qa_caption
from data_prep.qa_kinds import CAPTION, DESCRIPTION, Kind
from data_prep.qa_script import Failure, Told
from data_prep.qa_teacher import ServedTeacher
from data_prep.scene_server import read_facts, reply_to
from data_prep.synthesize_qa import synthesize
from pipeline.chat import Answer
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.sample import Sample, Side, Turn
from tests.chat_server import Reply, chat_server, completion
from tests.data_prep.conftest import ToyWorld, things_told
from tests.data_prep.test_synthesize_dialogue import digest_of, words_of
from tests.data_prep.test_synthesize_qa import picture
from tests.data_prep.test_toy_dialogues import chat
from tests.shards import write_shards

KINDS = [(CAPTION, qa_caption.CAPTION), (DESCRIPTION, qa_caption.DESCRIPTION)]


@pytest.mark.parametrize(("kind", "wording"), KINDS, ids=["caption", "description"])
def test_each_picture_is_asked_about_once_whatever_its_side_says(kind: Kind, wording: qa_caption.Wording, tmp_path: Path) -> None:
    """Queries with words of their own, a positive with the same picture, hard negatives; sides of text get nothing."""

    def answer(number: int, body: dict[str, Any]) -> Reply:
        assert words_of(body) == wording.prompt
        return completion(f"A square of kind {digest_of(body)}.")

    rows = [
        Sample(
            key=make_key("Pics", n),
            dataset="Pics",
            query=Side(instruction="Find. ", text=f"<|image_1|>\nquery {n}", images=(picture(n % 2),)),
            positive=Side(text=f"text {n}") if n else Side(text="<|image_1|>", images=(picture(1),)),
            negatives=(Side(text="none"), Side(text="<|image_1|>", images=(picture(2),))),
        )
        for n in range(4)
    ]
    write_shards(rows, tmp_path / "shards", dataset="Pics", kind="pairs")
    with chat_server(answer) as server:
        teacher = ServedTeacher(urls=(server.url,), model="teacher")
        counts = synthesize(tmp_path / "shards", tmp_path / "qa", teacher=teacher, kind=kind)
        asked = [digest_of(body) for body in server.requests]
    assert len(asked) == len(set(asked)) == counts["asked"] == 3 and counts["described"] == 9
    table = QaTable.open(tmp_path / "qa", kind.name)
    told = [table.turns("Pics", rows[n].key, side) for n in (0, 1) for side in ("query", "positive", "negative_0", "negative_1")]
    assert [len(turns) for turns in told] == [1, 1, 0, 1, 1, 0, 0, 1]
    assert told[1] == told[4] != told[0] and {turn.question for turns in told for turn in turns} == {wording.question}


@pytest.mark.parametrize("wording", [wording for _, wording in KINDS], ids=["caption", "description"])
@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (Answer(text="A red square.", finish_reason="stop"), None),
        (Answer(text="A red", finish_reason="length"), "cut"),
        (Answer(text="I'm sorry, but I can't see it.", finish_reason="stop"), "refusal"),
    ],
)
def test_an_answer_that_is_no_target_is_left_out(wording: qa_caption.Wording, answer: Answer, kind: str | None) -> None:
    script = qa_caption.tell(Side(text="words", images=(b"x",)), wording)
    request = next(script)
    assert request.about == Side(images=(b"x",)) and request.history == ()
    with pytest.raises(StopIteration) as end:
        script.send(answer)
    outcome = end.value.value
    if kind is None:
        assert outcome == Told(turns=(Turn(question=wording.question, answer="A red square."),), unmarked=False)
    else:
        assert isinstance(outcome, Failure) and outcome.kind == kind
    echoed = qa_caption.tell(Side(images=(b"x",)), wording)
    next(echoed)
    with pytest.raises(StopIteration) as end:
        echoed.send(Answer(text=wording.prompt, finish_reason="stop"))
    assert end.value.value.kind == "echo"


def test_the_toy_world_s_server_writes_its_own_captions(toy_world: ToyWorld) -> None:
    """In one of the wordings of its pairs, the same each time; a description is what it says to anything else."""
    scenes = read_facts(toy_world.root / "scene_facts.jsonl")
    pictures = [data for _, data in sorted(toy_world.train_pictures().items())][::40][:10]
    asked = (qa_caption.CAPTION.prompt, qa_caption.DESCRIPTION.prompt, "Describe it.")
    captions, descriptions, others = ([reply_to(chat(data, words), scenes) for data in pictures] for words in asked)
    shown = [
        {(thing["position"], thing["colour"], thing["shape"]) for thing in toy_world.scene(data)["things"]} for data in pictures
    ]
    assert [things_told(text) for text in captions] == shown and captions != descriptions == others
    assert captions == [reply_to(chat(data, asked[0]), scenes) for data in pictures]
