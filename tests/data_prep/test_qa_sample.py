"""A sample before a large synthesis: what it asks, what it says of the rest, and the sheet that shows it."""

import base64
import json
from pathlib import Path
from typing import Any

import pytest

from data_prep.qa_kinds import DIALOGUE, QA
from data_prep.qa_sample import Asked, Distinct, Sample, forecast, sides_left, take_sample
from data_prep.qa_script import Failure, Told
from data_prep.qa_sheet import write_sheet
from data_prep.synthesize_qa import synthesize
from pipeline.sample import Side, Turn
from tests.chat_server import Reply, chat_server
from tests.data_prep.test_synthesize_qa import NUM_PICTURES, picture_of, shards, teacher

__all__ = ["shards"]

NUM = 6


def reply(number: int, body: dict[str, Any]) -> Reply:
    """An answer with 100 tokens in and 7 out."""
    choice = {"message": {"role": "assistant", "content": f"picture <{len(picture_of(body))}> & more"}, "finish_reason": "stop"}
    return Reply(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 100, "completion_tokens": 7}}).encode())


def test_a_sample_asks_different_sides_and_the_large_run_asks_the_rest(shards: Path, tmp_path: Path) -> None:
    with chat_server(reply) as server:
        served = teacher(server.url)
        sample = take_sample(shards, tmp_path, NUM, teacher=served, kind=QA)
        assert len(server.requests) == len({picture_of(body) for body in server.requests}) == NUM
        left = sides_left(shards, tmp_path, teacher=served, kind=QA, progress=lambda *_: None)
        assert left == NUM_PICTURES - NUM
        again = take_sample(shards, tmp_path, NUM, teacher=served, kind=QA)
        assert len(server.requests) == NUM and again.rate == 0 and len(again.asked) == NUM
        notes = list[tuple[int, int, str]]()
        counts = synthesize(shards, tmp_path, teacher=served, progress=lambda *note: notes.append(note))
        assert len(server.requests) == NUM_PICTURES
    assert (60, 60, "all asked; 14 answers, 1,400 tokens in, 98 out") in notes
    assert (counts["asked"], counts["prompt_tokens"], counts["answer_tokens"]) == (14, 1400, 98)
    assert sample.requests == 1 and (sample.tokens(0), sample.tokens(1)) == (100, 7) and sample.rate > 0
    assert all(one.where.startswith("Pics, pics-000000") and one.where.endswith(", query") for one in sample.asked)
    assert sides_left(shards, tmp_path, teacher=served, kind=QA, progress=lambda *_: None) == 0


def asked(outcome: Told | Failure, *, requests: int = 1, tokens: tuple[int, int] = (100, 7), text: str = "") -> Asked:
    return Asked(
        where="Pics <1>", side=Side(text=text, images=(b"\x89PNG 1",)), requests=requests, tokens=tokens, outcome=outcome
    )


TOLD = Told(turns=(Turn(question="What <b>?", answer="A & <script>"),), unmarked=False, left_out=("refusal",))


def test_what_the_rest_takes_by_hand() -> None:
    """Four and two requests a side, 300 and 100 tokens in, 30 and 10 out: 1,000 sides take 3,000 requests at 2 a second."""
    sample = Sample(
        asked=(asked(TOLD, requests=4, tokens=(300, 30)), asked(Failure("cut", "no"), requests=2, tokens=(100, 10))), rate=2.0
    )
    assert list(forecast(sample, 1000, (0.5, 10.0))) == [
        "asked for real: 2 sides, 1 without an answer to learn; 3.00 requests each",
        "left: about 1,000 different sides, 3,000 requests, 200,000 tokens in and 20,000 out",
        "0.4 hours at the 2.00 requests a second of this sample; a long run has more in flight",
        "cost: 0.30, at 0.5 and 10.0 a million tokens",
    ]
    silent = Sample(asked=(asked(TOLD, tokens=(0, 0)),), rate=0)
    assert list(forecast(silent, 10, (1, 1)))[1:] == [
        "left: about 10 different sides, 10 requests, tokens unknown: the server does not tell",
        "hours unknown: all of the sample had been answered before",
    ]


@pytest.mark.parametrize(("most", "share"), [(5000, 0.0), (500, 0.15)])
def test_different_keys_are_counted_once_in_flat_memory(most: int, share: float) -> None:
    """Exact where all fit; else within three standard errors, 1 / sqrt(500) each."""
    counted = Distinct(most=most)
    for number in [*range(4000), *range(4000)]:
        counted.add(f"{(number + 1) * 0x9E3779B97F4A7C15 % (1 << 64):016x}{number:016x}")
    assert abs(counted.count - 4000) <= share * 4000 and len(counted._kept) <= most


def test_the_sheet_shows_pictures_questions_answers_and_no_markup_of_theirs(tmp_path: Path) -> None:
    sample = Sample(asked=(asked(TOLD, text="<|image_1|> Find <i>it</i>."), asked(Failure("cut", "by <length>"))), rate=1.0)
    write_sheet(tmp_path / "new" / "sheet.html", {"dialogue": sample}, {"dialogue": ["3 < 4 hours"]})
    page = (tmp_path / "new" / "sheet.html").read_text()
    shown = base64.b64encode(b"\x89PNG 1").decode()
    assert page.count(f'<img src="data:image/png;base64,{shown}"') == 2
    for words in ("What &lt;b&gt;?", "A &amp; &lt;script&gt;", "Find &lt;i&gt;it", "cut: by &lt;length&gt;", "left out: refusal"):
        assert words in page
    assert "<script" not in page and "<i>" not in page and "3 &lt; 4 hours" in page and "Pics &lt;1&gt;" in page


def test_dialogues_count_all_of_their_requests(shards: Path, tmp_path: Path) -> None:
    def talk(number: int, body: dict[str, Any]) -> Reply:
        words = body["messages"][-1]["content"][-1]["text"]
        said = "What is it?\nWhere is it?\nWhen is it?" if words == DIALOGUE.wording["prompt"] else f"Part {len(words)} of it."
        choice = {"message": {"content": said}, "finish_reason": "stop"}
        return Reply(json.dumps({"choices": [choice], "usage": {"prompt_tokens": 10, "completion_tokens": 2}}).encode())

    with chat_server(talk) as server:
        sample = take_sample(shards, tmp_path, 3, teacher=teacher(server.url), kind=DIALOGUE)
    assert (sample.requests, sample.tokens(0), sample.tokens(1)) == (4, 40, 8) and len(server.requests) == 12
