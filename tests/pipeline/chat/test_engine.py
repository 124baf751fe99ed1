"""The asking engine against a scripted server: what is tried again, what is asked once, and what never shows."""

import email.utils
import json
import logging
import threading
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from pipeline.chat import KEY_VARIABLE, REFUSED, UNANSWERED, Answer, ChatRequest, Failed, Sampling, Script
from pipeline.chat import endpoints as endpoints_module
from pipeline.errors import ConfigError, EndpointSetupError, ServiceError
from tests.chat_server import Reply, chat_server, completion
from tests.pipeline.chat.conftest import MakeEngine


def words(body: dict[str, Any]) -> str:
    return str(body["messages"][-1]["content"][-1]["text"])


def echo(number: int, body: dict[str, Any]) -> Reply:
    return completion(words(body).upper())


def asked(*texts: str, **fields: Any) -> list[ChatRequest]:
    return [ChatRequest(text=text, **fields) for text in texts]


def test_every_request_gets_its_own_answer_and_equal_ones_are_made_once(engine: MakeEngine) -> None:
    texts = [f"number {n % 70}" for n in range(300)]
    with chat_server(echo) as server, engine(server.url) as asker:
        came = [(request.text, outcome.text) for request, outcome in asker.ask(asked(*texts))]  # type: ignore[union-attr]
    assert Counter(came) == Counter((text, text.upper()) for text in texts)
    assert Counter(map(words, server.requests)) == Counter(set(texts))
    assert (asker.totals.answers, asker.totals.failed, asker.totals.calls) == (70, 0, 70)


def test_what_was_answered_is_not_asked_by_the_next(engine: MakeEngine) -> None:
    with chat_server(echo) as server:
        with engine(server.url) as asker:
            list(asker.ask(asked("a", "b")))
        with engine(server.url) as asker:
            came = {request.text: outcome for request, outcome in asker.ask(asked("a", "b", "c"))}
        assert list(map(words, server.requests))[2:] == ["c"]
    assert came["a"] == Answer(text="A", finish_reason="stop", max_tokens=256)


def test_a_key_of_the_callers_own_decides_what_is_the_same(engine: MakeEngine) -> None:
    with chat_server(echo) as server, engine(server.url) as asker:
        mine = [ChatRequest(text="one", key="k"), ChatRequest(text="two", key="k"), ChatRequest(text="one", key="other")]
        assert len(list(asker.ask(mine))) == 3
    assert len(server.requests) == 2


def test_a_cut_answer_is_asked_again_under_a_higher_limit_alone(engine: MakeEngine) -> None:
    def cut(number: int, body: dict[str, Any]) -> Reply:
        return completion("A red ca" if body["max_tokens"] < 50 else "A red car", finish_reason="length")

    def ask(limit: int) -> list[Answer | Failed]:
        with engine(server.url) as asker:
            return [got for _, got in asker.ask([ChatRequest(text="?", sampling=Sampling(max_tokens=limit), key="k")])]

    with chat_server(cut) as server:
        assert ask(40) == ask(40) == ask(30) == [Answer(text="A red ca", finish_reason="length", max_tokens=40)]
        assert len(server.requests) == 1
        assert ask(60) == ask(40) == [Answer(text="A red car", finish_reason="length", max_tokens=60)]
        assert len(server.requests) == 2


FAILURES = {
    "503": Reply(b"busy", status=503),
    "429": Reply(b"slow down", status=429),
    "bad json": Reply(b"{ not json"),
    "no choice": Reply(b'{"choices": []}'),
    "deep json": Reply(b"[" * 100_000),
    "page": Reply(b"<html><body>Gateway</body></html>"),
    "list": Reply(b"[1]"),
    "text": Reply(b'{"choices": [{"message": "text"}]}'),
    "error 529": Reply(b'{"error": {"message": "overloaded", "code": 529}}'),
    "error 503": Reply(b'{"object": "error", "message": "busy", "code": 503}'),
    "strings": completion(["not", "text"]),
    "object": completion({"text": "in an object"}),
    "surrogate": completion("half of \ud83d"),
    "abort": completion("The ca", finish_reason="abort"),
    "dropped": Reply(b"", hangs_up=True),
    "cut reply": Reply(completion("fine").body, headers={"Content-Length": "900"}),
    "not http": Reply(b"", headers={"Content-Length": "many"}),
    "logprobs": Reply(b'{"choices": [{"message": {"content": "a"}, "logprobs": {"content": [{"top_logprobs": [3]}]}}]}'),
    "too long": Reply(b" " * (9 << 20)),
}


@pytest.mark.parametrize("failure", FAILURES.values(), ids=FAILURES)
def test_passing_failures_are_tried_again(engine: MakeEngine, failure: Reply) -> None:
    with (
        chat_server(lambda number, body: failure if number < 2 else completion("at last")) as server,
        engine(server.url) as asker,
    ):
        ((_, answer),) = asker.ask(asked("?"))
    assert isinstance(answer, Answer) and answer.text == "at last"
    assert len(server.requests) == 3
    assert asker.totals.calls == 3


def test_tries_are_bounded_the_last_reason_is_told_and_the_next_engine_asks_again(engine: MakeEngine) -> None:
    with chat_server(lambda number, body: Reply(f"fault {number}".encode(), status=500)) as server:
        with engine(server.url, tries=3) as asker:
            came = [outcome for _, outcome in asker.ask(asked("?", "?"))]
            came += [outcome for _, outcome in asker.ask(asked("?"))]
        assert came == [Failed(UNANSWERED, f"no answer after 3 calls ({server.url}: HTTP 500: fault 2)")] * 3
        assert len(server.requests) == 3, "once by one engine"
        with engine(server.url, tries=2) as asker:
            list(asker.ask(asked("?")))
        assert len(server.requests) == 5


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b"image too\nsmall", status=400), "HTTP 400: image too small"),
        (Reply(b"", status=413), "HTTP 413"),
        (Reply(b"", status=422), "HTTP 422"),
        (Reply(b'{"object": "error", "message": "too long", "code": 400}'), "HTTP 400: {"),
    ],
)
def test_a_refused_request_is_made_once_and_the_others_pass(engine: MakeEngine, reply: Reply, said: str) -> None:
    def picky(number: int, body: dict[str, Any]) -> Reply:
        return reply if words(body) == "bad" else echo(number, body)

    with chat_server(picky) as server, engine(server.url) as asker:
        came = {request.text: outcome for request, outcome in asker.ask(asked("bad", "good", "bad"))}
    assert isinstance(came["good"], Answer)
    refused = came["bad"]
    assert isinstance(refused, Failed) and refused.kind == REFUSED and said in refused.reason
    assert len(server.requests) == 2


@pytest.mark.parametrize(
    ("reply", "said"),
    [
        (Reply(b'{"error": {"message": "no such model", "code": 404}}'), "HTTP 404: .*no such model"),
        (Reply(b"", status=401), f"set {KEY_VARIABLE}"),
        (Reply(b"", status=403), f"set {KEY_VARIABLE}"),
        (Reply(b"no such model", status=404), "no such model; check the address and the model's name"),
        (Reply(b"", status=405), "HTTP 405"),
    ],
)
def test_an_endpoint_that_takes_nothing_ends_it_at_once(engine: MakeEngine, reply: Reply, said: str) -> None:
    with chat_server(lambda number, body: reply) as server, engine(server.url) as asker:
        with pytest.raises(EndpointSetupError, match=said) as caught:
            list(asker.ask(asked(*map(str, range(40)))))
        assert server.url in str(caught.value)
    assert len(server.requests) <= 9, "no more than were in flight"


def test_a_forbidden_request_among_others_ends_nothing(engine: MakeEngine) -> None:
    def picky(number: int, body: dict[str, Any]) -> Reply:
        return Reply(b"not this one", status=403) if words(body) == "bad" else echo(number, body)

    with chat_server(picky) as server, engine(server.url, tries=2) as asker:
        list(asker.ask(asked("first")))
        came = {request.text: outcome for request, outcome in asker.ask(asked(*"abc", "bad", *"def"))}
    assert isinstance(came["bad"], Failed) and came["bad"].kind == UNANSWERED and "not this one" in came["bad"].reason
    assert sum(isinstance(outcome, Answer) for outcome in came.values()) == 6


def test_one_endpoint_without_the_model_is_left_out_with_a_word(
    engine: MakeEngine, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(endpoints_module, "_MOST_ASIDE_SECONDS", 30.0)
    with (
        chat_server(lambda n, b: Reply(b"no such model", status=404)) as wrong,
        chat_server(echo) as right,
        engine(wrong.url, right.url) as asker,
    ):
        came = [outcome for _, outcome in asker.ask(asked(*"abcdefghijklmnop"))]
    assert all(isinstance(outcome, Answer) for outcome in came) and len(right.requests) == 16
    assert len(wrong.requests) <= 9 and f"{wrong.url}: set aside (HTTP 404: no such model" in caplog.text


def refuses(number: int, body: dict[str, Any]) -> Reply:
    """What some servers say to the name of a model that they do not serve."""
    return Reply(b"no model of this name", status=400)


def failures(came: list[tuple[ChatRequest, Answer | Failed]]) -> int:
    return sum(isinstance(outcome, Failed) and outcome.kind == REFUSED for _, outcome in came)


def test_an_endpoint_that_refuses_all_ends_it_after_the_first_few(engine: MakeEngine) -> None:
    said = r"HTTP 400: no model of this name; it refuses a plain request too, and has answered none of 10: check the model's name"
    with chat_server(refuses) as server, engine(server.url, most_in_flight=1) as asker:
        with pytest.raises(EndpointSetupError, match=said) as caught:
            list(asker.ask(asked(*map(str, range(40)))))
        assert str(caught.value).startswith(f"{server.url}: HTTP 400") and len(server.requests) == 11
    with chat_server(refuses) as one, chat_server(refuses) as two, engine(one.url, two.url) as asker:
        with pytest.raises(EndpointSetupError) as caught:
            list(asker.ask(asked(*map(str, range(400)))))
        assert one.url in str(caught.value) and two.url in str(caught.value) and len(one.requests + two.requests) < 60


@pytest.mark.parametrize(("bad", "plain"), [(range(9), 0), (range(30), 1), ((0, *range(10, 30)), 0)])
def test_refusals_are_those_of_contents_where_anything_is_answered(engine: MakeEngine, bad: tuple[int, ...], plain: int) -> None:
    """Nine, then answers; all, and an answer to the plain request alone; one bad picture, good ones, and many bad ones."""

    def picky(number: int, body: dict[str, Any]) -> Reply:
        return refuses(number, body) if words(body) in map(str, bad) else echo(number, body)

    with chat_server(picky) as server, engine(server.url, most_in_flight=1) as asker:
        assert failures(list(asker.ask(asked(*map(str, range(30)))))) == len(bad)
    assert len(server.requests) == 30 + plain and len(server.requests[-1]["messages"]) == 1


def test_a_server_without_an_eye_for_pictures_is_found_out(engine: MakeEngine) -> None:
    """The plain request has a picture where the refused one had: a text model answers everything else."""

    def blind(number: int, body: dict[str, Any]) -> Reply:
        return refuses(number, body) if "data:image" in json.dumps(body) else echo(number, body)

    with chat_server(blind) as server, engine(server.url) as asker:
        assert failures(list(asker.ask(asked("a", "b")))) == 0
    with chat_server(blind) as server, engine(server.url) as asker, pytest.raises(EndpointSetupError, match="no model"):
        list(asker.ask(asked(*map(str, range(2, 40)), images=(b"\xff\xd8\xff picture",))))


def test_a_plain_request_that_gets_no_answer_decides_nothing(engine: MakeEngine) -> None:
    def busy(number: int, body: dict[str, Any]) -> Reply:
        return refuses(number, body) if body["max_tokens"] > 1 else Reply(b"", status=503 if number < 14 else 200)

    with chat_server(busy) as server, engine(server.url, most_in_flight=1) as asker:
        assert failures(list(asker.ask(asked(*map(str, range(15)))))) == 15
    assert sum(body["max_tokens"] == 1 for body in server.requests) == 6, "from the tenth on, as none said anything of use"


def test_one_endpoint_of_another_model_that_says_400_is_left_out(engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refusal takes no time, so that it would get more and more, and all of that would be lost."""
    monkeypatch.setattr(endpoints_module, "_MOST_ASIDE_SECONDS", 30.0)

    def slow(number: int, body: dict[str, Any]) -> Reply:
        return completion(words(body), delay_seconds=0.005)

    with chat_server(slow) as right, chat_server(refuses) as wrong, engine(wrong.url, right.url) as asker:
        came = list(asker.ask(asked(*map(str, range(200)))))
    assert failures(came) <= 9 and len(came) == 200
    assert len(wrong.requests) <= 9 + 8 + 1, "ten, what was in flight, and the plain one"


def test_no_endpoint_for_long_is_an_error_that_says_what_is_kept(engine: MakeEngine) -> None:
    with chat_server(lambda n, b: echo(n, b) if n < 3 else Reply(b"gone", status=500)) as server:
        hopeless = pytest.raises(ServiceError, match=r"no endpoint has answered for 1 seconds .*HTTP 500: gone.* the 3 answers")
        with engine(server.url, give_up_seconds=0.6, tries=20) as asker, hopeless:
            list(asker.ask(asked(*"abcdefgh")))
        assert len(server.requests) < 60, "set aside, it is tried now and then"
    with engine(server.url, give_up_seconds=0.2, tries=20) as asker, pytest.raises(ServiceError, match="Cannot connect"):
        list(asker.ask(asked("new")))


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [("1", 1.0, 3.0), ("0.7", 0.7, 2.5), *((header, 0, 0.9) for header in ("", "soon", "-5", "nan", "\u00b2"))],
)
def test_retry_after_keeps_every_request_from_the_endpoint(engine: MakeEngine, header: str, least: float, most: float) -> None:
    times: list[float] = []

    def busy(number: int, body: dict[str, Any]) -> Reply:
        """The one that is in flight beside the refused one ends after it, so that none leaves before the refusal is read."""
        times.append(time.monotonic())
        refused = Reply(b"", status=429, headers={"Retry-After": header})
        return completion(words(body), delay_seconds=0.4 if number == 1 else 0.0) if number else refused

    with chat_server(busy) as server, engine(server.url, most_in_flight=2) as asker:
        assert len(list(asker.ask(asked(*"abcdefgh")))) == 8
    late = [moment - times[0] for moment in times[2:]]
    assert min(late) >= least - 0.05 and times[1] - times[0] <= most


def test_retry_after_may_be_a_date_and_is_bounded() -> None:
    from pipeline.chat.reply import asked_pause_seconds as pause

    soon, far, past = (email.utils.formatdate(time.time() + seconds, usegmt=True) for seconds in (25, 9_000_000, -25))
    assert 5 <= pause(soon) <= 25
    assert (pause(far), pause(past), pause("900"), pause("inf"), pause("20")) == (30, 0, 30, 30, 20)
    assert pause("Tue, 99 Nov 2026 00:00:00 GMT") == 0


def test_a_silent_server_and_one_that_drips_cost_the_timeout(engine: MakeEngine) -> None:
    """Each byte of the dripping one comes in time; all of them would take 40 seconds."""
    for reply in (completion("late", delay_seconds=3.0), Reply(b" " * 400, drip_seconds=0.1)):
        begun = time.monotonic()
        with chat_server(lambda number, body, reply=reply: reply) as server:
            with engine(server.url, timeout_seconds=0.3, tries=2) as asker:
                ((_, outcome),) = asker.ask(asked("?"))
            assert isinstance(outcome, Failed) and "no whole reply in time" in outcome.reason
            assert time.monotonic() - begun < 2.0


def test_the_key_is_sent_and_shown_nowhere(
    engine: MakeEngine, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret\r\n")
    caplog.set_level(logging.DEBUG)
    said = b"cannot accept Bearer sk-very-secret"
    statuses = [503, 200, 400, 403, 403, 403, 403, 403]

    def repeats(number: int, body: dict[str, Any]) -> Reply:
        return completion("fine") if statuses[number] == 200 else Reply(said, status=statuses[number])

    with chat_server(repeats) as server, engine(server.url, key=None) as asker:
        came = [outcome for text in "abc" for _, outcome in asker.ask(asked(text))]
    assert set(server.keys) == {"Bearer sk-very-secret"}
    written = (tmp_path / "answers.jsonl").read_text()
    assert "sk-very-secret" not in f"{came!r} {asker!r} {vars(asker.endpoints)!r} {caplog.text} {written}"
    assert "***" in repr(came) and "chat call 1 failed" in caplog.text


@pytest.mark.parametrize("key", ["sk-secret\nX-Header: 1", "sk-secret\u201d", "sk-secret\x7f"])
def test_a_key_that_no_request_can_carry_is_refused_unshown(engine: MakeEngine, key: str) -> None:
    with pytest.raises(ConfigError, match=f"{KEY_VARIABLE}: the key holds") as caught, engine("http://127.0.0.1:1/v1", key=key):
        pass
    assert "secret" not in str(caught.value)


def test_a_server_on_this_machine_is_asked_past_the_proxy(engine: MakeEngine, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with (
        chat_server(lambda number, body: completion("from the proxy")) as proxy,
        chat_server(lambda number, body: completion("from the server")) as server,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        here, named, away = server.url, server.url.replace("127.0.0.1", "localhost"), "http://elsewhere.invalid/v1"
        for number, (url, by) in enumerate(((here, "server"), (named, "server"), (away, "proxy"))):
            with engine(url, journal=f"{number}") as asker:
                ((_, answer),) = asker.ask(asked("?"))
            assert isinstance(answer, Answer) and answer.text == f"from the {by}"


def test_the_key_does_not_follow_a_redirect(engine: MakeEngine) -> None:
    with chat_server(lambda number, body: completion("stolen")) as other:
        moved = Reply(b"", status=307, headers={"Location": f"{other.url}/chat/completions"})
        refused = pytest.raises(EndpointSetupError, match="HTTP 307")
        with chat_server(lambda number, body: moved) as server, engine(server.url, key="sk-secret") as asker, refused:
            list(asker.ask(asked("?")))
        assert other.requests == []


@pytest.mark.parametrize(
    ("content", "text"),
    [
        (None, ""),
        (" \n", ""),
        ([], ""),
        ([{"type": "text", "text": "a red "}, {"type": "text", "text": "car"}], "a red car"),
        ([{"type": "thinking", "thinking": "hm"}, {"type": "output_text", "text": "a car"}], "a car"),
    ],
    ids=["null", "blank", "no parts", "parts", "thoughts"],
)
def test_what_a_model_says_is_taken_at_the_first_call(engine: MakeEngine, content: object, text: str) -> None:
    with chat_server(lambda number, body: completion(content, finish_reason=None)) as server, engine(server.url) as asker:
        ((_, answer),) = asker.ask(asked("?", sampling=Sampling(max_tokens=9)))
    assert answer == Answer(text=text, finish_reason="", max_tokens=9) and len(server.requests) == 1


def test_logits_of_yes_and_no_come_with_the_answer_and_out_of_the_journal(engine: MakeEngine) -> None:
    likely = [{"token": "Yes", "logprob": -0.25}, {"token": "No", "logprob": -1.5}]
    choice = {"message": {"content": "Yes"}, "finish_reason": "length", "logprobs": {"content": [{"top_logprobs": likely}]}}
    body = json.dumps({"choices": [choice], "usage": {"prompt_tokens": 300, "completion_tokens": 1}}).encode()
    told = Answer(
        text="Yes", finish_reason="length", max_tokens=1, tokens=(300, 1), top_logprobs=((("Yes", -0.25), ("No", -1.5)),)
    )
    with chat_server(lambda number, _: Reply(body)) as server:
        for _ in range(2):
            with engine(server.url) as asker:
                ((_, answer),) = asker.ask(asked("?", sampling=Sampling(max_tokens=1, top_logprobs=2)))
            assert answer == told
    (said,) = server.requests
    assert (said["logprobs"], said["top_logprobs"]) == (True, 2)


def test_a_refusal_beside_the_content_is_what_the_model_said(engine: MakeEngine) -> None:
    message = b'{"choices": [{"message": {"content": null, "refusal": "I cannot help."}, "finish_reason": "stop"}]}'
    with chat_server(lambda number, body: Reply(message)) as server, engine(server.url) as asker:
        ((_, answer),) = asker.ask(asked("?"))
    assert isinstance(answer, Answer) and answer.text == "I cannot help."


def test_scripts_go_on_from_their_answers_and_end_with_what_they_return(engine: MakeEngine) -> None:
    def count(start: int) -> Script[tuple[int, list[str]]]:
        said: list[str] = []
        for number in range(start, start + 3):
            answer = yield ChatRequest(text=f"after {number}")
            assert isinstance(answer, Answer)
            said.append(answer.text)
        return start, said

    with chat_server(echo) as server, engine(server.url) as asker:
        ended = dict(asker.run(count(start) for start in range(40)))
    assert ended == {start: [f"AFTER {start + n}" for n in range(3)] for start in range(40)}
    assert len(server.requests) == 42, "equal questions of several scripts are asked once"


def test_requests_are_read_no_further_ahead_than_there_is_room(engine: MakeEngine) -> None:
    """So memory does not depend on how many there are."""
    read, window, ahead = [0], [0], [0]

    def many() -> Iterator[ChatRequest]:
        for number in range(150):
            window[0] = max(window[0], asker.endpoints.window)
            read[0] += 1
            yield ChatRequest(text=f"{number}")

    with chat_server(echo) as server, engine(server.url, most_in_flight=16) as asker:
        for done, _ in enumerate(asker.ask(many())):
            ahead[0] = max(ahead[0], read[0] - done)
    assert done == 149 and ahead[0] <= window[0] + 1 < 50


def test_answers_are_kept_before_anybody_takes_them(engine: MakeEngine, tmp_path: Path) -> None:
    with chat_server(echo) as server, engine(server.url) as asker:
        coming = asker.ask(asked(*"abcdef"))
        next(coming)
        end = time.monotonic() + 10
        while len((tmp_path / "answers.jsonl").read_text().splitlines()) < 6 and time.monotonic() < end:
            time.sleep(0.01)
        assert len((tmp_path / "answers.jsonl").read_text().splitlines()) == 6
        coming.close()
        assert [request.text for request, _ in asker.ask(asked("a", "g"))] == ["a", "g"]
    assert len(server.requests) == 7


def test_after_an_error_of_the_callers_nobody_goes_on_asking(engine: MakeEngine) -> None:
    with chat_server(lambda number, body: completion("late", delay_seconds=30.0)) as server:
        begun = time.monotonic()
        with pytest.raises(KeyboardInterrupt), engine(server.url) as asker:
            threading.Timer(0.1, asker._came.put, [KeyboardInterrupt()]).start()  # as ctrl-C at this moment would be
            list(asker.ask(asked(*"abcdefgh")))
        assert time.monotonic() - begun < 5
        asked_so_far = len(server.requests)
        time.sleep(0.15)
        assert len(server.requests) == asked_so_far
