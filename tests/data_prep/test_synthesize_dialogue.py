"""Dialogues over a small corpus by an endpoint of many moods: what is asked, by its own log, and what is learnt."""

import base64
import hashlib
import json
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_prep.qa_dialogue import LIST_PROMPT
from data_prep.qa_join import REJECTS_NAME
from data_prep.qa_kinds import DIALOGUE, QA
from data_prep.qa_teacher import ServedTeacher
from data_prep.synthesize_qa import JOURNAL_NAME, main, synthesize
from pipeline.chat import Patience
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.errors import DataError, ServiceError
from pipeline.sample import Sample, Side, Turn
from tests.chat_server import ChatServer, Reply, chat_server, completion
from tests.data_prep.test_synthesize_qa import picture
from tests.faults import kill_at_sizes, seeded_sizes
from tests.shards import write_shards

NUM_ROWS, NUM_PICTURES = 14, 9
REQUESTS = 5  # of a picture whose list has four questions
JOURNAL, REJECTS = Path("dialogue") / JOURNAL_NAME, Path("dialogue") / REJECTS_NAME


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Rows whose query shows one of the first 6 pictures, whose positive is a text, and whose two negatives are a text and one
    of pictures 4 to 8: nine pictures in all, many of them shared."""
    out = tmp_path_factory.mktemp("dialogues") / "shards"
    rows = [
        Sample(
            key=make_key("Pics", n),
            dataset="Pics",
            query=Side(text=f"<|image_1|>\nquery {n}", images=(picture(n % 6),)),
            positive=Side(text=f"caption {n}"),
            negatives=(Side(text="another caption"), Side(text="<|image_1|>", images=(picture(4 + n % 5),))),
        )
        for n in range(NUM_ROWS)
    ]
    write_shards(rows, out, dataset="Pics", kind="pairs")
    return out


def digest_of(body: dict[str, Any]) -> str:
    """The picture of a request."""
    return hashlib.sha256(base64.b64decode(body["messages"][0]["content"][0]["image_url"]["url"].partition(",")[2])).hexdigest()[
        :8
    ]


def words_of(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"][-1]["text"])


def questions_of(digest: str) -> list[str]:
    return [f"What is in part {part} of {digest}?" for part in ("one", "two", "three", "four")]


def answer_of(digest: str, question: str) -> str:
    return f"part {question.split()[4]} has the number {int(digest, 16) % 997}"


def calm(number: int, body: dict[str, Any]) -> Reply:
    """Right answers, that depend on the picture alone."""
    digest, words = digest_of(body), words_of(body)
    return completion("\n".join(questions_of(digest)) if words == LIST_PROMPT else answer_of(digest, words))


def ask(
    shards: Path,
    out: Path,
    url: str,
    *,
    workers: int = 4,
    max_unanswered: float = 0.0,
    answer_tokens: int | None = None,
    **fields: Any,
) -> dict[str, int]:
    patience = Patience(**{"pause_factor": 0.01, "most_in_flight": workers, "give_up_seconds": 20.0, **fields})
    teacher = ServedTeacher(urls=(url,), model="teacher", answer_tokens=answer_tokens, patience=patience)
    return synthesize(shards, out, teacher=teacher, kind=DIALOGUE, max_unanswered=max_unanswered)


def learnt(out: Path, row: int, side: str = "query") -> tuple[Turn, ...]:
    return QaTable.open(out, "dialogue").turns("Pics", make_key("Pics", row), side)


def expected(number: int) -> tuple[Turn, ...]:
    digest = hashlib.sha256(picture(number)).hexdigest()[:8]
    return tuple(Turn(question=q, answer=answer_of(digest, q)) for q in questions_of(digest))


def check_all(out: Path) -> None:
    """The whole side file, from the pictures alone."""
    for row in range(NUM_ROWS):
        assert learnt(out, row) == expected(row % 6)
        assert learnt(out, row, "positive") == learnt(out, row, "negative_0") == learnt(out, row, "negative_2") == ()
        assert learnt(out, row, "negative_1") == expected(4 + row % 5)


def log_of(server: ChatServer) -> Counter[tuple[str, ...]]:
    """How often each request came, by picture and all that was said."""
    return Counter((digest_of(body), *said_in(body)) for body in server.requests)


def said_in(body: dict[str, Any]) -> list[str]:
    contents = [message["content"] for message in body["messages"]]
    return [content if isinstance(content, str) else content[-1]["text"] for content in contents]


def test_each_picture_of_any_side_has_one_dialogue_that_grows(shards: Path, tmp_path: Path) -> None:
    with chat_server(calm) as server:
        counts = ask(shards, tmp_path, server.url)
        log = log_of(server)
    described = {"read": 28, "described": 28, "turns_4": 28, "asked": REQUESTS * NUM_PICTURES}
    assert {name: number for name, number in counts.items() if number} == described
    check_all(tmp_path)
    assert set(log.values()) == {1} and len(log) == REQUESTS * NUM_PICTURES
    digest = hashlib.sha256(picture(2)).hexdigest()[:8]
    questions = questions_of(digest)
    grown = [word for question in questions for word in (question, answer_of(digest, question))]
    said = [request[1:] for request in log if request[0] == digest]
    assert said == [(LIST_PROMPT,), *(tuple(grown[: 2 * n + 1]) for n in range(4))]
    assert {(body["temperature"], body["model"]) for body in server.requests} == {(0.7, "teacher")}
    roles = {tuple(message["role"] for message in body["messages"]) for body in server.requests}
    assert max(roles, key=len) == ("user", "assistant") * 3 + ("user",)


def moody(number: int, body: dict[str, Any]) -> Reply:
    """Every other request fails in one of six ways; a client that asks again is answered after a while."""
    failures = (
        Reply(b"slow down", status=429, headers={"Retry-After": "0"}),
        Reply(b"oh", status=500),
        Reply(b'{"choices": [{"mess', headers={"Content-Length": "400"}),  # dropped before its end
        Reply(b"{ not json"),
        completion("The ca", finish_reason="abort"),
        Reply(b'{"error": {"message": "overloaded", "code": 529}}'),
    )
    return failures[number // 2 % 6] if number % 2 == 0 else Reply(calm(number, body).body, delay_seconds=number % 3 * 0.01)


def test_an_endpoint_of_many_moods_answers_each_request_once(shards: Path, tmp_path: Path) -> None:
    answered: Counter[tuple[str, ...]] = Counter()

    def watched(number: int, body: dict[str, Any]) -> Reply:
        answered[(digest_of(body), *said_in(body))] += number % 2
        return moody(number, body)

    with chat_server(watched) as server:
        counts = ask(shards, tmp_path, server.url, tries=50, timeout_seconds=5.0)
    assert counts["described"] == 28
    check_all(tmp_path)
    assert set(answered.values()) == {1} and len(answered) == REQUESTS * NUM_PICTURES


def test_killed_and_resumed_it_asks_for_nothing_that_it_has(shards: Path, tmp_path: Path) -> None:
    """The server never says the same twice: only a list that is in the journal can be gone on with."""

    def drifting(number: int, body: dict[str, Any]) -> Reply:
        if words_of(body) == LIST_PROMPT:
            return completion("\n".join(f"What is thing {number * 10 + n}?" for n in range(4)), delay_seconds=0.04)
        return completion(f"it is said in answer {number}", delay_seconds=0.04)

    workers = 2
    command = [sys.executable, "-m", "data_prep.synthesize_qa", "--kind", "dialogue", "--shards", str(shards)]
    with chat_server(drifting) as server:
        command += ["--out", str(tmp_path), "--url", server.url, "--model", "teacher", "--workers", str(workers)]
        sizes = seeded_sizes(3, count=3, largest=4000)
        assert kill_at_sizes(command, tmp_path / JOURNAL, sizes) == [-9, -9, -9]
        assert not list((tmp_path / "dialogue").glob("*.arrow")), "the kills came before the side file"
        kept = {json.loads(line)["answer"] for line in whole_lines(tmp_path / JOURNAL)}
        before = len(server.requests)
        counts = ask(shards, tmp_path, server.url, workers=workers)
        total = REQUESTS * NUM_PICTURES
        assert counts["asked"] == total - len(kept) == len(server.requests) - before
        assert before - len(kept) <= workers * len(sizes), "what was in flight"
        assert ask(shards, tmp_path, server.url)["asked"] == 0
    lines = [json.loads(line) for line in whole_lines(tmp_path / JOURNAL)]
    assert len(lines) == len({line["id"] for line in lines}) == total
    answers = {line["answer"] for line in lines}
    for row in range(NUM_ROWS):
        assert len(learnt(tmp_path, row)) == 4 and {turn.answer for turn in learnt(tmp_path, row)} < answers


def whole_lines(path: Path) -> list[str]:
    return [line for line in path.read_text().splitlines(keepends=True) if line.endswith("\n")]


def test_a_call_that_fails_in_the_middle_is_made_again_and_none_before_it(shards: Path, tmp_path: Path) -> None:
    broken = hashlib.sha256(picture(1)).hexdigest()[:8]

    def fails(number: int, body: dict[str, Any]) -> Reply:
        is_third = digest_of(body) == broken and words_of(body) == questions_of(broken)[2]
        return Reply(b"prompt too long", status=400) if is_third else calm(number, body)

    refused = r"^3 of 28 sides with pictures have no answer to learn \(3 refused\)"
    with chat_server(fails) as server, pytest.raises(ServiceError, match=refused):
        ask(shards, tmp_path, server.url)
    rejects = [json.loads(line) for line in (tmp_path / REJECTS).read_text().splitlines()]
    assert [reject["row"] for reject in rejects] == [1, 7, 13]
    assert all(reject["reason"].startswith("query: ") and "prompt too long" in reject["reason"] for reject in rejects)
    assert learnt(tmp_path, 1) == () and learnt(tmp_path, 2) == expected(2)
    with chat_server(calm) as server:
        assert ask(shards, tmp_path, server.url)["asked"] == 2
        assert [words_of(body) for body in server.requests] == questions_of(broken)[2:]
    check_all(tmp_path)


LISTS: dict[int, Callable[[str], Reply]] = {
    0: lambda digest: completion("I'm sorry, but I can't see the picture."),
    1: lambda digest: completion("A car by the sea."),
    2: lambda digest: completion("\n".join(questions_of(digest)), finish_reason="length"),
    3: lambda digest: completion("\n".join([*questions_of(digest), *questions_of(digest)[:1]])),
    4: lambda digest: completion("Sure!\n" + "\n".join(f"{n}) **{q}**" for n, q in enumerate(questions_of(digest), start=1))),
    5: lambda digest: completion(json.dumps([*questions_of(digest), "Where was it taken?", "When?", "Why?"])),
}


def test_what_is_wrong_with_lists_and_answers_is_counted_by_reason(shards: Path, tmp_path: Path) -> None:
    numbers = {hashlib.sha256(picture(n)).hexdigest()[:8]: n for n in range(NUM_PICTURES)}

    def odd(number: int, body: dict[str, Any]) -> Reply:
        digest, words = digest_of(body), words_of(body)
        if words == LIST_PROMPT and numbers[digest] in LISTS:
            return LISTS[numbers[digest]](digest)
        if numbers[digest] == 6 and "part two" in words:
            return completion("I'm sorry, but I can't help with that.")
        if numbers[digest] == 7 and ("part two" in words or "part three" in words):
            return completion("ha" * 60)
        return completion("In a hall.") if words == "Where was it taken?" else calm(number, body)

    with chat_server(odd) as server:
        counts = ask(shards, tmp_path, server.url, max_unanswered=1.0)
        again = ask(shards, tmp_path, server.url, max_unanswered=1.0)
    # Picture n is shown by rows n, n + 6, n + 12 of the queries, and by negatives of rows n - 4, n + 1, n + 6.
    shown = Counter([row % 6 for row in range(NUM_ROWS)] + [4 + row % 5 for row in range(NUM_ROWS)])
    wrong = {"refusal": shown[0], "short_list": shown[1], "cut": shown[2], "few_turns": shown[7]}
    assert {name: number for name, number in counts.items() if name.startswith("rejected_")} == {
        f"rejected_{kind}": number for kind, number in wrong.items()
    }
    assert counts["rejected"] == sum(wrong.values()) and counts["read"] == 28
    left_out = {"repeated": shown[3], "surplus": 2 * shown[5], "refusal": shown[6]}
    assert {name: number for name, number in counts.items() if name.startswith("left_out_")} == {
        f"left_out_{kind}": number for kind, number in left_out.items()
    }
    assert [counts[f"turns_{n}"] for n in (3, 4, 5)] == [shown[6], shown[3] + shown[4] + shown[8], shown[5]]
    assert again == counts | {"asked": 0}, "what is left out is not asked again"
    assert learnt(tmp_path, 4) == expected(4), "without numbers and bold type"
    assert "query: the list of questions: cut short by the limit of tokens" in (tmp_path / REJECTS).read_text()


def test_a_cut_answer_is_asked_again_with_a_higher_limit_and_goes_on_from_there(shards: Path, tmp_path: Path) -> None:
    def cut(number: int, body: dict[str, Any]) -> Reply:
        reply = calm(number, body)
        is_cut = body["max_tokens"] < 100 and "part three" in words_of(body)
        return completion("A long st", finish_reason="length") if is_cut else reply

    with chat_server(cut) as server:
        counts = ask(shards, tmp_path, server.url, answer_tokens=50)
        assert (counts["turns_3"], counts["left_out_cut"]) == (28, 28)
        more = ask(shards, tmp_path, server.url, answer_tokens=500)
    assert more["turns_4"] == 28 and more["asked"] == 2 * NUM_PICTURES, "the cut answer, and the one that now stands behind it"
    check_all(tmp_path)


def test_both_kinds_lie_in_one_folder_and_leave_each_other_alone(shards: Path, tmp_path: Path) -> None:
    with chat_server(lambda number, body: completion("A coloured square.")) as server:
        teacher = ServedTeacher(urls=(server.url,), model="teacher")
        synthesize(shards, tmp_path, teacher=teacher)
        alone = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        print_alone = QaTable.open(tmp_path).fingerprint
        with pytest.raises(DataError, match=r"dialogue: no such folder of synthesized turns of kind dialogue; run the synthesis"):
            QaTable.open(tmp_path, "dialogue")
    with chat_server(calm) as server:
        ask(shards, tmp_path, server.url)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir() if path.is_file()} == alone
    assert QaTable.open(tmp_path).fingerprint == print_alone != QaTable.open(tmp_path, "dialogue").fingerprint
    assert len(QaTable.open(tmp_path).turns("Pics", make_key("Pics", 0), "query")) == 1
    assert QaTable.open(tmp_path).turns("Pics", make_key("Pics", 0), "negative_1") == ()
    with chat_server(calm) as server:
        assert synthesize(shards, tmp_path, teacher=ServedTeacher(urls=(server.url,), model="teacher"), kind=QA)["asked"] == 0


def test_without_an_endpoint_every_picture_is_skipped(shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    counts = synthesize(shards, tmp_path, teacher=None, kind=DIALOGUE)
    assert (counts["read"], counts["skipped"], counts["reconstructed"]) == (28, 28, 0)
    assert "no --url and no --local: sides with pictures are counted as skipped" in caplog.text
    assert learnt(tmp_path, 0) == ()


def test_the_command_has_the_limits_of_the_kind(shards: Path, tmp_path: Path) -> None:
    with chat_server(calm) as server:
        words = ["--shards", str(shards), "--out", str(tmp_path), "--url", server.url, "--kind", "dialogue"]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert json.loads(done.output.splitlines()[-1])["turns_4"] == 28
        assert {body["max_tokens"] for body in server.requests} == {4096}
        CliRunner().invoke(main, [*words, "--model", "another", "--answer-tokens", "9"])
        assert {body["max_tokens"] for body in server.requests[REQUESTS * NUM_PICTURES :]} == {9}
    assert "256 of qa, 4096 of dialogue" in " ".join(CliRunner().invoke(main, ["--help"]).output.split())


def test_dialogues_under_way_do_not_wait_for_one_another(shards: Path, tmp_path: Path) -> None:
    """Nine dialogues of five requests of 0.1 seconds, nine at a time: not much over half a second, against four and a half."""

    def slow(number: int, body: dict[str, Any]) -> Reply:
        return Reply(calm(number, body).body, delay_seconds=0.1)

    with chat_server(slow) as server:
        begun = time.monotonic()
        ask(shards, tmp_path, server.url, workers=NUM_PICTURES)
        assert time.monotonic() - begun < 3
