"""What the synthesis leaves out and why: answers that are no target, requests that the server does not take, a second process."""

import base64
import io
import json
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from data_prep.qa_description import PROMPT
from data_prep.qa_join import REJECTS_NAME
from data_prep.qa_script import side_identity
from data_prep.qa_teacher import ServedTeacher
from data_prep.synthesize_qa import JOURNAL_NAME, main, synthesize
from pipeline.chat import Answer, Journal, Patience, endpoints
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.errors import EndpointSetupError, PipelineError, ServiceError
from pipeline.sample import Sample, Side
from tests.chat_server import Reply, chat_server, completion
from tests.shards import write_shards

CROPS, SCENES = "Crops", "Scenes"  # in the order in which they are asked
NUM_CROPS, NUM_SCENES = 25, 8
SENTENCE = "A red car stands in front of house number {number}."


def picture(number: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (width, 30), (number, 9, 9)).save(file, "PNG")
    return file.getvalue()


def side(number: int, width: int) -> Side:
    return Side(text="<|image_1|>\nFind a caption for the picture.", images=(picture(number, width),))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A set of crops that are 8 pixels wide, and after it one of pictures 60 wide; each row of its own."""
    out = tmp_path_factory.mktemp("rejects") / "shards"
    for dataset, count, width in ((CROPS, NUM_CROPS, 8), (SCENES, NUM_SCENES, 60)):
        rows = [
            Sample(key=make_key(dataset, n), dataset=dataset, query=side(n, width), positive=Side(text=f"house {n}"))
            for n in range(count)
        ]
        write_shards(rows, out, dataset=dataset, kind="pairs")
    return out


def asked_about(body: dict[str, Any]) -> tuple[int, int]:
    """Number and width of the picture in a request."""
    encoded = body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2]
    with Image.open(io.BytesIO(base64.b64decode(encoded))) as image:
        return image.getpixel((0, 0))[0], image.width  # type: ignore[index]


def described(number: int, **fields: Any) -> Reply:
    return completion(SENTENCE.format(number=number), **fields)


def scripted(replies: dict[int, Reply]) -> Callable[[int, dict[str, Any]], Reply]:
    """Scenes with a number in `replies` get that; everything else is described."""

    def answer(_: int, body: dict[str, Any]) -> Reply:
        number, width = asked_about(body)
        return replies.get(number, described(number)) if width == 60 else described(number)

    return answer


def ask(
    shards: Path, out: Path, url: str, *, max_unanswered: float = 1.0, answer_tokens: int | None = None, **fields: Any
) -> dict[str, int]:
    patience = Patience(**{"pause_factor": 0.01, "most_in_flight": 1, "give_up_seconds": 20.0, **fields})
    teacher = ServedTeacher(urls=(url,), model="teacher", answer_tokens=answer_tokens, patience=patience)
    return synthesize(shards, out, teacher=teacher, max_unanswered=max_unanswered)


def learnt(out: Path, dataset: str, row: int) -> list[str]:
    """Answers that training would read for a row's query."""
    return [turn.answer for turn in QaTable.open(out).turns(dataset, make_key(dataset, row), "query")]


NO_TARGETS = {
    0: completion("A red car stands in fr", finish_reason="length"),
    1: completion("I'm sorry, but I can't assist with that."),
    2: completion("a red car " * 20),
    3: completion(None),
    4: completion("A red car", finish_reason="content_filter"),
    5: completion("Find a caption for the picture."),
    6: described(6, finish_reason=None),
}


def test_only_whole_answers_that_describe_are_learnt_and_the_rest_is_counted_by_reason(shards: Path, tmp_path: Path) -> None:
    with chat_server(scripted(NO_TARGETS)) as server:
        counts = ask(shards, tmp_path, server.url)
    reasons = {"cut": 1, "refusal": 1, "loop": 1, "empty": 1, "withheld": 1, "echo": 1}
    assert {name: count for name, count in counts.items() if name.startswith("rejected_")} == {
        f"rejected_{kind}": count for kind, count in reasons.items()
    }
    assert (counts["described"], counts["unmarked"], counts["rejected"]) == (NUM_CROPS + 2, 1, 6)
    assert counts["read"] == counts["reconstructed"] + counts["described"] + counts["skipped"] + counts["rejected"]
    assert [learnt(tmp_path, SCENES, row) for row in range(6)] == [[]] * 6
    assert learnt(tmp_path, SCENES, 6) == [SENTENCE.format(number=6)]
    rejects = [json.loads(line) for line in (tmp_path / REJECTS_NAME).read_text().splitlines()]
    assert [(reject["source"], reject["row"]) for reject in rejects] == [(SCENES, row) for row in range(6)]
    assert rejects[0]["reason"] == "query: cut short by the limit of tokens (finish_reason 'length'): 'A red car stands in fr'"
    journal = [json.loads(line) for line in (tmp_path / JOURNAL_NAME).read_text().splitlines()]
    assert len(journal) == NUM_CROPS + NUM_SCENES, "originals are kept"
    assert {"I'm sorry, but I can't assist with that.", "A red car stands in fr"} < {line["answer"] for line in journal}


def test_what_is_left_out_is_not_asked_again_but_for_what_a_higher_limit_may_make_whole(shards: Path, tmp_path: Path) -> None:
    with chat_server(scripted(NO_TARGETS)) as server:
        first = ask(shards, tmp_path, server.url)
        again = ask(shards, tmp_path, server.url)
        assert again == first | {"asked": 0}
        assert ask(shards, tmp_path, server.url, answer_tokens=9) == again, "a lower limit makes nothing whole"
    with chat_server(scripted({})) as server:
        more = ask(shards, tmp_path, server.url, answer_tokens=512)
        assert [asked_about(body) for body in server.requests] == [(0, 60)]
        assert server.requests[0]["max_tokens"] == 512
        assert (more["asked"], more["described"]) == (1, NUM_CROPS + 3)
        assert learnt(tmp_path, SCENES, 0) == [SENTENCE.format(number=0)]
        assert ask(shards, tmp_path, server.url)["asked"] == 0, "a lower limit takes nothing back"


def test_rejected_answers_count_against_the_share_that_may_be_lost(shards: Path, tmp_path: Path) -> None:
    with chat_server(scripted(NO_TARGETS)) as server:
        with pytest.raises(ServiceError, match=r"^6 of 33 sides with pictures have no answer to learn \(1 .*--answer-tokens"):
            ask(shards, tmp_path, server.url, max_unanswered=0.18)
        assert ask(shards, tmp_path, server.url, max_unanswered=0.19)["rejected"] == 6


def test_an_old_journal_is_cleaned_without_asking(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Lines of before finish_reason was kept: a refusal is known, a cut answer is not, and the number of such is said."""
    sides = [(side(n, 8), f"crop {n}") for n in range(NUM_CROPS)]
    sides += [(side(n, 60), f"scene {n}") for n in range(1, NUM_SCENES)] + [(side(0, 60), "I'm sorry, I can't see the picture.")]
    lines = [{"id": side_identity(asked, asked=(PROMPT, "teacher")), "answer": answer} for asked, answer in sides]
    (tmp_path / JOURNAL_NAME).write_text("".join(json.dumps(line) + "\n" for line in lines))
    with chat_server(scripted({})) as server:
        counts = ask(shards, tmp_path, server.url)
        assert server.requests == []
    assert (counts["described"], counts["unmarked"], counts["rejected_refusal"]) == (32, 32, 1)
    assert learnt(tmp_path, SCENES, 0) == []
    assert learnt(tmp_path, SCENES, 1) == ["scene 1"]
    assert f"{SCENES}: 1 of 16 sides get no question: 1 refusal" in caplog.text
    assert "32 sides are described by answers without finish_reason" in caplog.text


@pytest.mark.parametrize("status", [400, 413, 422])
def test_a_refused_request_costs_its_side_alone_however_many_there_are(shards: Path, tmp_path: Path, status: int) -> None:
    """All 25 crops of the first set are too small for this server: the second set is asked all the same."""

    def picky(_: int, body: dict[str, Any]) -> Reply:
        number, width = asked_about(body)
        return described(number) if width >= 28 else Reply(b"width:8 must be larger than factor:28", status=status)

    with chat_server(picky) as server:
        counts = ask(shards, tmp_path, server.url)
        assert (counts["rejected_refused"], counts["described"]) == (NUM_CROPS, NUM_SCENES)
        assert len(server.requests) == NUM_CROPS + 1 + NUM_SCENES, "a refusal is not asked twice in one run"
        again = ask(shards, tmp_path, server.url)
        assert again == counts | {"asked": 0}
        assert Counter(asked_about(body)[1] for body in server.requests) == {8: 2 * NUM_CROPS, 60: NUM_SCENES, 224: 2}, (
            "at the tenth refusal it is tried whether the server takes anything"
        )
    assert "HTTP " + str(status) in json.loads((tmp_path / REJECTS_NAME).read_text().splitlines()[0])["reason"]


def test_a_refusal_shows_that_the_endpoint_is_up(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Most calls get no answer, over a longer time than none at all may come."""
    monkeypatch.setattr(endpoints, "_FIRST_ASIDE_SECONDS", 0.02)

    def flickering(number: int, body: dict[str, Any]) -> Reply:
        return Reply(b"", status=400 if asked_about(body)[0] % 4 == 0 else 503, delay_seconds=0.03)

    with chat_server(flickering) as server:
        counts = ask(shards, tmp_path, server.url, tries=1, give_up_seconds=0.9)
    assert (counts["rejected_refused"], counts["rejected_unanswered"], counts["described"]) == (9, 24, 0)


@pytest.mark.parametrize("status", [429, 500, 503])
def test_an_endpoint_that_is_down_still_ends_the_run(shards: Path, tmp_path: Path, status: int) -> None:
    with chat_server(lambda number, body: Reply(b"", status=status)) as server:
        with pytest.raises(ServiceError, match="no endpoint has answered for 1 seconds"):
            ask(shards, tmp_path, server.url, tries=1000, give_up_seconds=0.6, pause_factor=0.1)
        assert len(server.requests) < 2 * NUM_CROPS


@pytest.mark.parametrize("status", [401, 404, 307])
def test_a_wrong_key_or_address_ends_the_run_at_its_first_call(shards: Path, tmp_path: Path, status: int) -> None:
    with chat_server(lambda number, body: Reply(b"no", status=status)) as server:
        with pytest.raises(EndpointSetupError, match=f"HTTP {status}: no; "):
            ask(shards, tmp_path, server.url)
        assert len(server.requests) <= 5, "what was waiting for its turn at most"


def test_one_picture_that_a_gateway_forbids_does_not_end_the_run(shards: Path, tmp_path: Path) -> None:
    with chat_server(scripted({3: Reply(b"blocked", status=403)})) as server:
        counts = ask(shards, tmp_path, server.url)
    assert (counts["rejected_unanswered"], counts["described"]) == (1, NUM_CROPS + NUM_SCENES - 1)


def test_a_second_process_over_one_folder_ends_with_one_line(shards: Path, tmp_path: Path) -> None:
    command = ["--shards", str(shards), "--out", str(tmp_path)]
    journal = tmp_path / JOURNAL_NAME
    with chat_server(scripted({})) as server:
        with Journal(journal) as held:
            held.record("one", Answer(text="so far"))
            before = journal.read_bytes()
            second = CliRunner().invoke(main, [*command, "--url", server.url])
            unasked = CliRunner().invoke(main, command)
            with pytest.raises(PipelineError, match="another process"):
                Journal(journal)
        assert server.requests == []
        assert journal.read_bytes() == before
        for done in (second, unasked):
            assert done.exit_code == 1
            assert done.output == (
                f"Error: {journal}: another process keeps answers there; wait for it, or name another folder\n"
            )
        assert not list(tmp_path.glob("*.arrow"))
        assert CliRunner().invoke(main, [*command, "--url", server.url, "--workers", "1"]).exit_code == 0


def test_shards_that_changed_are_joined_anew_and_only_what_is_new_is_asked(shards: Path, tmp_path: Path) -> None:
    """A set lost its first row and got another in its place: no answer moves to a row that it was not given for."""
    out = tmp_path / "qa"
    changed = tmp_path / "shards"
    rows = [n + 1 for n in range(NUM_SCENES)]
    write_shards(
        [
            Sample(key=make_key(SCENES, n), dataset=SCENES, query=side(row, 60), positive=Side(text="x"))
            for n, row in enumerate(rows)
        ],
        changed,
        dataset=SCENES,
        kind="pairs",
    )
    with chat_server(scripted({})) as server:
        ask(shards, out, server.url)
        assert ask(changed, out, server.url)["asked"] == 1
    assert [learnt(out, SCENES, n) for n in range(NUM_SCENES)] == [[SENTENCE.format(number=row)] for row in rows]
