"""A user's own wordings and kinds, and answers that are asked for again at another seed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_prep.qa_kinds import BY_NAME, QA, Kind
from data_prep.qa_prompts import read_prompts
from data_prep.qa_script import Failure, Told
from data_prep.qa_teacher import outcome_of
from data_prep.synthesize_qa import main
from pipeline.chat import Answer, ChatRequest, Failed, Sampling
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.errors import ConfigError
from pipeline.sample import Side, Turn
from tests.chat_server import Reply, chat_server, completion
from tests.data_prep.test_synthesize_qa import NUM_PICTURES, shards

__all__ = ["shards"]

SIDE = Side(text="<|image_1|>\nFind a caption.", images=(b"\x89PNG 1",))
OWN = """
[qa]
prompt = 'Say of {request} what {"braces"} do.'
again = 2
[dialogue]
least = 2
temperature = 0.2
[counting]
prompt = "Count the things in the picture above."
question = "What is there?"
max_tokens = 40
"""


def kinds_of(tmp_path: Path, text: str) -> dict[str, Kind]:
    path = tmp_path / "prompts.toml"
    path.write_text(text)
    return dict(read_prompts(path))


def requests_of(kind: Kind, replies: list[Answer | Failed]) -> tuple[list[ChatRequest], Told | Failure]:
    """What is asked about the side, each request given the next reply, and how it ends."""
    script, asked = outcome_of(SIDE, kind, model="m", sampling=Sampling(temperature=kind.temperature)), list[ChatRequest]()
    answer: Answer | Failed | None = None
    try:
        while True:
            asked.append(next(script) if answer is None else script.send(answer))
            answer = replies[len(asked) - 1]
    except StopIteration as end:
        return asked, end.value


def test_a_file_changes_wordings_and_adds_kinds(tmp_path: Path) -> None:
    kinds = kinds_of(tmp_path, OWN)
    assert [*kinds] == ["qa", "dialogue", "caption", "description", "counting"] and kinds["caption"] is BY_NAME["caption"]
    good = Answer(text="They hold a cat together.", finish_reason="stop")
    (request,), told = requests_of(kinds["qa"], [good])
    assert request.text == 'Say of Find a caption. what {"braces"} do.'
    assert told == Told(turns=(Turn(question="Describe the represented image", answer=good.text),), unmarked=False)
    (request,), told = requests_of(kinds["counting"], [good])
    assert (request.text, request.images) == ("Count the things in the picture above.", SIDE.images)
    assert isinstance(told, Told) and told.turns[0].question == "What is there?" and kinds["counting"].max_tokens == 40
    assert (kinds["qa"].again, kinds["dialogue"].again, kinds["qa"].wording["again"]) == (2, 0, 2)
    assert kinds["dialogue"].wording["turns"] == [2, 5] and kinds["dialogue"].temperature == 0.2
    same = kinds_of(tmp_path, f"[qa]\nprompt = '''{BY_NAME['qa'].wording['prompt']}'''")["qa"]
    assert same.wording == QA.wording and requests_of(same, [good])[0] == requests_of(QA, [good])[0], "equal words, equal keys"


def test_a_temperature_of_ones_own_is_another_request(tmp_path: Path) -> None:
    good = Answer(text="A cat.", finish_reason="stop")
    (plain,), _ = requests_of(BY_NAME["caption"], [good])
    (drawn,), _ = requests_of(kinds_of(tmp_path, "[caption]\ntemperature = 0.5")["caption"], [good])
    assert drawn.key != plain.key and drawn.sampling.temperature == 0.5


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[qa]\nprompt = 'Describe.'", r"\[qa\]: prompt lacks \{request\}"),
        ("[qa]\nprompt = ' .'", "prompt = ' .' is not a text"),
        ("[qa]\nwords = 'x'", "words is not known; there are again, max_tokens, prompt, question, temperature"),
        ("[caption]\nagain = 1.5", "again = 1.5 is not a whole number from 0 to 20"),
        ("[caption]\nmax_tokens = true", "max_tokens = True is not a whole number over 0"),
        ("[caption]\ntemperature = 3", "temperature = 3 is not a number from 0 to 2"),
        ("[caption]\ntemperature = nan", "temperature = nan is not"),
        ("[dialogue]\nquestion = 'x'", "question is not known"),
        ("[dialogue]\nleast = 6", "least = 6 is over most = 5"),
        ("[counting]\nprompt = 'Count.'", "needs a prompt and the question"),
        ("['../out']\nprompt = 'x'\nquestion = 'y'", "the name is a folder's too"),
        ("qa = 'x'", "is no table"),
        ("", "has no table"),
        ("[qa\n", "cannot be read"),
    ],
)
def test_what_cannot_be_is_one_line(tmp_path: Path, text: str, said: str) -> None:
    with pytest.raises(ConfigError, match=said) as caught:
        kinds_of(tmp_path, text)
    assert "\n" not in str(caught.value) and str(caught.value).startswith(f"--prompts {tmp_path}")
    with pytest.raises(ConfigError, match="No such file"):
        read_prompts(tmp_path / "nowhere.toml")


def test_an_answer_that_is_no_target_is_asked_for_again_at_other_seeds() -> None:
    kind = replace(QA, again=2)
    refusal, good = Answer(text="I can't see the image.", finish_reason="stop"), Answer(text="A cat.", finish_reason="stop")
    asked, told = requests_of(kind, [refusal, refusal, good])
    assert isinstance(told, Told) and told.turns[0].answer == "A cat."
    assert [(request.sampling.seed, request.sampling.temperature) for request in asked] == [(None, 0), (1, 0.7), (2, 0.7)]
    assert len({request.key for request in asked}) == 3 and len({request.text for request in asked}) == 1
    asked, told = requests_of(kind, [refusal] * 3)
    assert len(asked) == 3 and isinstance(told, Failure) and told.kind == "refusal"
    asked, told = requests_of(kind, [Answer(text="", finish_reason="content_filter")])
    assert len(asked) == 1 and isinstance(told, Failure) and told.kind == "withheld"
    asked, told = requests_of(kind, [refusal, Failed("unanswered", "gone")])
    assert len(asked) == 2 and told == Failure("unanswered", "gone"), "the next start asks for it"
    assert len(requests_of(QA, [refusal])[0]) == 1


def test_a_kind_of_ones_own_has_a_folder_and_is_asked_again_until_it_is_told(shards: Path, tmp_path: Path) -> None:
    """At the first asking every picture is refused; the second draw is taken, and a second run asks nothing."""
    prompts, out = tmp_path / "my.toml", tmp_path / "qa"
    prompts.write_text("[counting]\nprompt = 'Count.'\nquestion = 'How many?'\nagain = 1\n")

    def reply(number: int, body: dict[str, Any]) -> Reply:
        return completion("Two cats." if body.get("seed") == 1 else "I'm sorry, but I can't see the image.")

    with chat_server(reply) as server:
        words = ["--shards", str(shards), "--out", str(out), "--url", server.url, "--prompts", str(prompts), "--kind"]
        first = CliRunner().invoke(main, [*words, "counting"])
        assert first.exit_code == 0, first.output
        assert len(server.requests) == 2 * NUM_PICTURES
        assert json.loads(first.stdout.splitlines()[-1])["asked"] == 2 * NUM_PICTURES
        assert CliRunner().invoke(main, [*words, "counting"]).exit_code == 0 and len(server.requests) == 2 * NUM_PICTURES
        unknown = CliRunner().invoke(main, [*words, "songs"])
    assert unknown.exit_code == 1 and "--kind songs: there are qa, dialogue, caption, description, counting" in unknown.output
    turns = QaTable.open(out, "counting").turns("Pics", make_key("Pics", 3), "query")
    assert turns == (Turn(question="How many?", answer="Two cats."),)
