"""The chat client against a scripted server: what is sent, what is retried, and what never shows."""

import base64
import email.utils
import logging
import time

import pytest

from pipeline.chat import KEY_VARIABLE, Answer, ChatClient, data_uri
from pipeline.errors import ConfigError, EndpointSetupError, RefusedError, ServiceError
from tests.chat_server import Reply, chat_server, completion

PNG = b"\x89PNG\r\n\x1a\n and the rest"
JPEG = b"\xff\xd8\xff\xe0 and the rest"


def client(url: str, **fields: object) -> ChatClient:
    return ChatClient(**{"url": url, "model": "m", "api_key": "", "pause": lambda seconds: None, **fields})


def test_request_has_pictures_as_data_uris_before_the_text() -> None:
    with chat_server(lambda number, body: completion(" four cats \n")) as server:
        assert client(server.url, max_tokens=9).complete("What is it?", [PNG, JPEG]).text == "four cats"
    (body,) = server.requests
    first, second, text = body["messages"][0]["content"]
    assert (body["model"], body["max_tokens"], text) == ("m", 9, {"type": "text", "text": "What is it?"})
    head, encoded = first["image_url"]["url"].split(",")
    assert (head, base64.b64decode(encoded)) == ("data:image/png;base64", PNG)
    assert second["image_url"]["url"] == data_uri(JPEG)
    assert second["image_url"]["url"].startswith("data:image/jpeg;base64,")


def test_a_dialogue_shows_its_pictures_once_before_the_first_question() -> None:
    with chat_server(lambda number, body: completion("two")) as server:
        client(server.url, temperature=0.7).complete("Three?", [PNG], [("One?", "one"), ("Two?", "two")])
        client(server.url).complete("Three?", [PNG])
    said, alone = (body["messages"] for body in server.requests)
    picture = {"type": "image_url", "image_url": {"url": data_uri(PNG)}}
    assert said == [
        {"role": "user", "content": [picture, {"type": "text", "text": "One?"}]},
        {"role": "assistant", "content": "one"},
        {"role": "user", "content": [{"type": "text", "text": "Two?"}]},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": [{"type": "text", "text": "Three?"}]},
    ]
    assert alone == [{"role": "user", "content": [picture, {"type": "text", "text": "Three?"}]}]
    assert [body["temperature"] for body in server.requests] == [0.7, 0]


@pytest.mark.parametrize(
    "failure",
    [
        Reply(b"busy", status=503),
        Reply(b"slow down", status=429, headers={"Retry-After": "1"}),
        Reply(b"{ not json"),
        Reply(b'{"choices": []}'),
        Reply(b"[" * 100_000),
        Reply(b"<html><body>Gateway</body></html>"),
        Reply(b"[1]"),
        Reply(b'{"choices": [{"message": "text"}]}'),
        Reply(b'{"error": {"message": "overloaded", "code": 529}}'),
        Reply(b'{"object": "error", "message": "busy", "code": 503}'),
        completion(["not", "text"]),
        completion({"text": "in an object"}),
        completion("half of \ud83d"),
        completion("The ca", finish_reason="abort"),
    ],
    ids="503 429 bad_json no_choice deep_json page list text error_529 error_503 strings object surrogate abort".split(),
)
def test_passing_failures_are_retried(failure: Reply) -> None:
    pauses: list[float] = []
    with chat_server(lambda number, body: failure if number < 2 else completion("at last")) as server:
        assert client(server.url, pause=pauses.append).complete("?").text == "at last"
    assert len(server.requests) == 3
    assert len(pauses) == 2
    assert all(pause > 0 for pause in pauses)
    if failure.status == 429:
        assert pauses[0] >= 1.0, "Retry-After is a lower bound"


def test_pauses_grow_and_are_jittered() -> None:
    def pauses() -> list[float]:
        seen: list[float] = []
        with chat_server(lambda number, body: Reply(b"", status=500)) as server, pytest.raises(ServiceError):
            client(server.url, max_retries=4, pause=seen.append).complete("?")
        return seen

    first, second = pauses(), pauses()
    assert len(first) == 4
    assert first != second
    assert all(0.25 * 2**n <= pause <= 0.75 * 2**n for n, pause in enumerate(first))


def test_retries_are_bounded_and_the_last_reason_is_told() -> None:
    with chat_server(lambda number, body: Reply(f"fault {number}".encode(), status=500)) as server:
        with pytest.raises(ServiceError, match=r"after 3 calls \(HTTP 500: fault 2\)"):
            client(server.url, max_retries=2).complete("?")
        assert len(server.requests) == 3


@pytest.mark.parametrize("finish_reason", ["stop", "length", "content_filter", None])
def test_answer_tells_why_it_ends_and_under_which_limit(finish_reason: str | None) -> None:
    with chat_server(lambda number, body: completion(" A red car on a str", finish_reason=finish_reason)) as server:
        answer = client(server.url, max_tokens=7).complete("?")
    assert answer == Answer(text="A red car on a str", finish_reason=finish_reason or "", max_tokens=7)


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
def test_what_a_model_says_is_taken_at_the_first_call(content: object, text: str) -> None:
    with chat_server(lambda number, body: completion(content)) as server:
        assert client(server.url).complete("?").text == text
        assert len(server.requests) == 1


def test_a_refusal_beside_the_content_is_what_the_model_said() -> None:
    message = b'{"choices": [{"message": {"content": null, "refusal": "I cannot help."}, "finish_reason": "stop"}]}'
    with chat_server(lambda number, body: Reply(message)) as server:
        assert client(server.url).complete("?").text == "I cannot help."


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (Reply(b"image too\nsmall", status=400), RefusedError, "HTTP 400: image too small"),
        (Reply(b"", status=413), RefusedError, "HTTP 413"),
        (Reply(b"", status=422), RefusedError, "HTTP 422"),
        (Reply(b'{"object": "error", "message": "too long", "code": 400}'), RefusedError, "HTTP 400: .*too long"),
        (Reply(b'{"error": {"message": "no such model", "code": 404}}'), EndpointSetupError, "HTTP 404: .*no such model"),
        (Reply(b"", status=401), EndpointSetupError, f"set {KEY_VARIABLE}"),
        (Reply(b"", status=403), EndpointSetupError, f"set {KEY_VARIABLE}"),
        (Reply(b"no such model", status=404), EndpointSetupError, "no such model; check the address and the model's name"),
        (Reply(b"", status=405), EndpointSetupError, "HTTP 405"),
    ],
)
def test_lasting_failures_are_not_retried_and_tell_the_request_from_the_endpoint(
    reply: Reply, kind: type[ServiceError], words: str
) -> None:
    with chat_server(lambda number, body: reply) as server:
        with pytest.raises(ServiceError, match=words) as caught:
            client(server.url).complete("?")
        assert type(caught.value) is kind
        assert len(server.requests) == 1


@pytest.mark.parametrize("status", [408, 429, 500, 501, 503, 529])
def test_an_endpoint_that_is_down_or_busy_refuses_no_request(status: int) -> None:
    with chat_server(lambda number, body: Reply(b"", status=status)) as server:
        with pytest.raises(ServiceError, match="after 3 calls") as caught:
            client(server.url, max_retries=2).complete("?")
        assert type(caught.value) is ServiceError


@pytest.mark.parametrize(
    ("header", "least", "most"),
    [
        ("20", 20, 20),
        ("2.5", 2.5, 2.5),
        ("900", 30, 30),
        ("inf", 30, 30),
        *((header, 0, 0.75) for header in ("", "soon", "-5", "nan", "\u00b2", "Tue, 99 Nov 2026 00:00:00 GMT")),
    ],
)
def test_retry_after_is_heeded_within_bounds(header: str, least: float, most: float) -> None:
    assert least <= pause_after(header) <= most


@pytest.mark.parametrize(("seconds", "least", "most"), [(25, 5, 25), (9_000_000, 30, 30), (-25, 0, 0.75)])
def test_retry_after_may_be_a_date(seconds: float, least: float, most: float) -> None:
    assert least <= pause_after(email.utils.formatdate(time.time() + seconds, usegmt=True)) <= most


def pause_after(header: str) -> float:
    """How long the client waits after a 429 with this Retry-After."""
    pauses: list[float] = []
    busy = Reply(b"", status=429, headers={"Retry-After": header})
    with chat_server(lambda number, body: completion("fine") if number else busy) as server:
        client(server.url, pause=pauses.append).complete("?")
    return pauses[0]


def test_a_silent_server_costs_the_timeout_not_for_ever() -> None:
    begun = time.monotonic()
    with (
        chat_server(lambda number, body: completion("late", delay_seconds=1.0)) as server,
        pytest.raises(ServiceError, match="after 2 calls"),
    ):
        client(server.url, timeout_seconds=0.1, max_retries=1).complete("?")
    assert time.monotonic() - begun < 3.0


def test_a_reply_that_drips_ends_at_the_deadline() -> None:
    """Each byte comes within the timeout; all of them would take 40 seconds."""
    begun = time.monotonic()
    with (
        chat_server(lambda number, body: Reply(b" " * 400, drip_seconds=0.1)) as server,
        pytest.raises(ServiceError, match=r"after 1 calls \(the reply did not end in time\)"),
    ):
        client(server.url, timeout_seconds=0.4, deadline_seconds=0.5).complete("?")
    assert time.monotonic() - begun < 5.0


def test_a_reply_that_breaks_off_is_asked_for_again() -> None:
    whole = completion("fine").body
    cut = Reply(whole, headers={"Content-Length": str(len(whole) + 9)})
    with chat_server(lambda number, body: completion("fine") if number else cut) as server:
        assert client(server.url).complete("?").text == "fine"
        assert len(server.requests) == 2


def test_no_call_is_begun_after_the_deadline() -> None:
    with (
        chat_server(lambda number, body: Reply(b"", status=503, headers={"Retry-After": "20"})) as server,
        pytest.raises(ServiceError, match="after 1 calls"),
    ):
        client(server.url, deadline_seconds=5.0, max_retries=50).complete("?")
    assert len(server.requests) == 1


def test_nobody_listening_is_a_service_error() -> None:
    with chat_server(lambda number, body: completion("x")) as server:
        url = server.url
    with pytest.raises(ServiceError, match="is the server up"):
        client(url, max_retries=1).complete("?")


def test_key_is_sent_and_shown_nowhere(caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-very-secret")
    caplog.set_level(logging.DEBUG)
    with chat_server(
        lambda number, body: Reply(b"cannot accept Bearer sk-very-secret", status=503 if number < 2 else 403)
    ) as server:
        asker = ChatClient(url=server.url, model="m", pause=lambda seconds: None)
        with pytest.raises(ServiceError) as caught:
            asker.complete("?")
    assert server.keys == ["Bearer sk-very-secret"] * 3
    assert "sk-very-secret" not in f"{caught.value!r} {asker!r} {caplog.text}"
    assert "***" in str(caught.value)
    assert "call 1 failed" in caplog.text


def test_a_key_with_a_line_break_at_its_end_works_and_one_inside_is_refused_unshown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(KEY_VARIABLE, "sk-secret\r\n")
    with chat_server(lambda number, body: completion("fine")) as server:
        assert ChatClient(url=server.url, model="m").complete("?").text == "fine"
        assert server.keys == ["Bearer sk-secret"]
        for key in ("sk-secret\nX-Header: 1", "sk-secret\u201d", "sk-secret\x7f"):
            monkeypatch.setenv(KEY_VARIABLE, key)
            with pytest.raises(ConfigError, match=f"{KEY_VARIABLE}: the key holds") as caught:
                ChatClient(url=server.url, model="m")
            assert "secret" not in str(caught.value)


def test_a_server_on_this_machine_is_asked_past_the_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("no_proxy", raising=False)
    with (
        chat_server(lambda number, body: completion("from the proxy")) as proxy,
        chat_server(lambda number, body: completion("from the server")) as server,
    ):
        monkeypatch.setenv("http_proxy", proxy.url)
        for url in (server.url, server.url.replace("127.0.0.1", "localhost")):
            assert client(url).complete("?").text == "from the server"
        assert client("http://elsewhere.invalid/v1").complete("?").text == "from the proxy"


def test_key_does_not_follow_a_redirect() -> None:
    with chat_server(lambda number, body: completion("stolen")) as other:
        target = {"Location": f"{other.url}/chat/completions"}
        with (
            chat_server(lambda number, body: Reply(b"", status=307, headers=target)) as server,
            pytest.raises(ServiceError, match="HTTP 307"),
        ):
            client(server.url, api_key="sk-secret").complete("?")
        assert other.requests == []


@pytest.mark.parametrize(
    "url",
    [
        "127.0.0.1:8000/v1",
        "file:///etc/passwd",
        "http://",
        "http://[::1/v1",
        "http://me:secret@host/v1",
        "http://gpu01..cluster:8000/v1",
        "http://host:8000/v1\u2013chat",
    ],
)
def test_wrong_addresses_are_refused_without_showing_a_password(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        client(url)
    assert "--url" in str(caught.value)
    assert "secret" not in str(caught.value)
