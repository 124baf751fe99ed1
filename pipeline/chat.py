"""A small client of OpenAI-compatible chat endpoints (that is how vLLM and its like serve a vision-language model).

Retries are bounded in number and in time. The API key comes from the environment and is never written anywhere.
"""

import base64
import contextlib
import email.utils
import http.client
import ipaddress
import json
import logging
import os
import random
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from pipeline.errors import ConfigError, EndpointSetupError, RefusedError, ServiceError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "CREM_API_KEY"
_FALLBACK_KEY_VARIABLE = "OPENAI_API_KEY"
MAX_ANSWER_TOKENS = 256
_RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""Besides these, every 5xx."""
_SETUP_STATUS = frozenset({401, 402, 403, 404, 405, 407})
"""Besides these, every redirect: the key must not follow one."""
_RETRIED_ENDINGS = frozenset({"abort", "error"})
"""Values of finish_reason with which servers say that they broke off, through no fault of the request."""
_MAX_REPLY_BYTES = 8 << 20
_PIECE_BYTES = 64 << 10
_MAX_PAUSE_SECONDS = 30.0
_SIGNATURES = ((b"\x89PNG", "image/png"), (b"\xff\xd8\xff", "image/jpeg"), (b"GIF8", "image/gif"), (b"RIFF", "image/webp"))


class _RetryableError(Exception):
    """A call that may succeed when repeated. `pause_seconds` is what the server asked for, 0 where it did not say."""

    def __init__(self, reason: str, pause_seconds: float = 0.0) -> None:
        super().__init__(reason)
        self.pause_seconds = pause_seconds


def key_from_environment() -> str:
    """The API key from CREM_API_KEY (else OPENAI_API_KEY); empty where neither is set, which local servers accept."""
    return (os.environ.get(KEY_VARIABLE) or os.environ.get(_FALLBACK_KEY_VARIABLE) or "").strip()


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, white space around it removed: it may be empty.

    `finish_reason` is the server's word for why it ends there ("stop", "length", "content_filter"), empty where it gave none;
    `max_tokens` the limit under which it was given, 0 where that is not known.
    """

    text: str
    finish_reason: str = ""
    max_tokens: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatClient:
    """Asks a chat model about a text and pictures.

    `url` is the endpoint's base (`http://host:8000/v1`). One `complete` makes at most `1 + max_retries` calls and ends before
    `deadline_seconds`. At `temperature` 0 a model says what it finds most likely. `api_key` is left out of the repr, of logs and
    of every error.
    """

    url: str
    model: str
    api_key: str = field(default_factory=key_from_environment, repr=False)
    timeout_seconds: float = 60.0
    deadline_seconds: float = 300.0
    max_retries: int = 4
    max_tokens: int = MAX_ANSWER_TOKENS
    temperature: float = 0
    pause: Callable[[float], None] = field(default=time.sleep, repr=False)

    def __post_init__(self) -> None:
        try:
            parts = urllib.parse.urlsplit(self.url)
            self.url.encode("ascii")
            (parts.hostname or "").encode("idna")
        except ValueError as error:
            raise ConfigError(f"--url: not an address ({error}); expected one such as http://127.0.0.1:8000/v1") from None
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ConfigError(f"--url {self.url}: expected an address such as http://127.0.0.1:8000/v1")
        if parts.username or parts.password:
            raise ConfigError(f"--url: no user or password in the address; set {KEY_VARIABLE} instead")
        if not (self.api_key.isascii() and self.api_key.isprintable()):
            raise ConfigError(f"{KEY_VARIABLE}: the key holds a line break or another character that no request can carry")

    def complete(self, text: str, images: Sequence[bytes] = (), history: Sequence[tuple[str, str]] = ()) -> Answer:
        """The model's answer to a text and encoded pictures, behind a `history` of questions with their answers.

        The pictures stand before the first question.

        Raises:
            RefusedError: this request will never pass (HTTP 4xx).
            EndpointSetupError: no request will pass: an unknown address or model, a wrong key, a redirect.
            ServiceError: no connection, a timeout, HTTP 5xx, 429 or not the protocol, still after the retries or at the deadline.
        """
        body = self._body(text, images, history)
        end = time.monotonic() + self.deadline_seconds
        reason = ""
        for attempt in range(self.max_retries + 1):
            try:
                return self._call(body, end)
            except _RetryableError as error:
                reason = self._clean(str(error))
                wait = max(error.pause_seconds, self._backoff_seconds(attempt))
            logger.debug("chat call %d failed: %s", attempt + 1, reason)
            if attempt == self.max_retries or time.monotonic() + wait >= end:
                raise ServiceError(
                    f"{self.url}: no answer after {attempt + 1} calls ({reason}); is the server up, and is it the right model?"
                )
            self.pause(wait)
        raise ServiceError(f"{self.url}: max_retries is {self.max_retries}, so no call was made")

    def _body(self, text: str, images: Sequence[bytes], history: Sequence[tuple[str, str]]) -> bytes:
        """The request: in its first message the pictures, as data URIs, before the words."""
        content: list[dict[str, object]] = [{"type": "image_url", "image_url": {"url": data_uri(image)}} for image in images]
        messages: list[dict[str, object]] = []
        for question, answer in history:
            content.append({"type": "text", "text": question})
            messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
            content = []
        content.append({"type": "text", "text": text})
        messages.append({"role": "user", "content": content})
        request = {"model": self.model, "messages": messages, "max_tokens": self.max_tokens, "temperature": self.temperature}
        return json.dumps(request).encode()

    def _call(self, body: bytes, end: float) -> Answer:
        """One call, over by the monotonic time `end`. HTTP statuses that will not change on repetition are errors at once."""
        timeout_seconds = max(min(self.timeout_seconds, end - time.monotonic()), 0.001)
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", data=body, headers=headers)
        try:
            with _opener(self.url).open(request, timeout=timeout_seconds) as reply:
                raw = _read(reply, end)
        except urllib.error.HTTPError as error:
            with error:
                words = error.read(2000).decode("utf-8", "replace")
            raise self._status_error(error.code, words, error.headers.get("Retry-After", "")) from None
        except (OSError, http.client.HTTPException) as error:
            raise _RetryableError(f"{type(error).__name__}: {error}") from None
        content = _parsed(raw)
        if (status := _status_within(content)) is not None:
            raise self._status_error(status, raw[:2000].decode("utf-8", "replace"), "")
        return _answer(content, raw, self.max_tokens)

    def _status_error(self, status: int, words: str, retry_after: str) -> Exception:
        """The error for an HTTP status; the server's words are shown, cut short and without the key."""
        said = f"HTTP {status}: {self._clean(' '.join(words.split())[:300])}"
        if status in _RETRIED_STATUS or status >= 500:
            return _RetryableError(said, _asked_pause_seconds(retry_after))
        if status in _SETUP_STATUS or status < 400:
            hint = f"set {KEY_VARIABLE}" if status in (401, 403) else "check the address and the model's name"
            return EndpointSetupError(f"{self.url}: {said}; {hint}")
        return RefusedError(f"{self.url}: {said}")

    def _backoff_seconds(self, attempt: int) -> float:
        """Half to one and a half times 0.5, 1, 2, 4 ... seconds: many workers must not come back at one moment."""
        return min(0.5 * 2.0**attempt, _MAX_PAUSE_SECONDS) * (0.5 + random.random())

    def _clean(self, words: str) -> str:
        """The words without the key: some servers repeat the header they refused."""
        return words.replace(self.api_key, "***") if self.api_key else words


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key must not travel to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Refuse, so that the status reaches the caller as an HTTPError."""


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens an address: through the environment's proxy, but for a server on this machine."""
    direct = [urllib.request.ProxyHandler({})] if _is_local(urllib.parse.urlsplit(url).hostname or "") else []
    return urllib.request.build_opener(_NoRedirect, *direct)


def _is_local(name: str) -> bool:
    with contextlib.suppress(ValueError):
        return ipaddress.ip_address(name).is_loopback
    return name == "localhost"


def data_uri(image: bytes) -> str:
    """An encoded picture as a data URI, its media type taken from its first bytes (JPEG where they tell nothing)."""
    media = next((name for signature, name in _SIGNATURES if image.startswith(signature)), "image/jpeg")
    return f"data:{media};base64,{base64.b64encode(image).decode('ascii')}"


def _read(reply: http.client.HTTPResponse, end: float) -> bytes:
    """The bytes of a reply. Raises _RetryableError for one that is too long, in bytes or in time.

    The timeout of a socket counts anew from every byte, and some gateways send one now and then while they wait.
    """
    pieces: list[bytes] = []
    while piece := reply.read1(_PIECE_BYTES):
        pieces.append(piece)
        if sum(map(len, pieces)) > _MAX_REPLY_BYTES:
            raise _RetryableError(f"reply longer than {_MAX_REPLY_BYTES} bytes")
        if time.monotonic() > end:
            raise _RetryableError("the reply did not end in time")
    if reply.length:
        raise _RetryableError(f"the reply broke off {reply.length} bytes before its end")
    return b"".join(pieces)


def _parsed(reply: bytes) -> Any:
    """The JSON of a reply. Raises _RetryableError for anything else, such as the page of a proxy."""
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        raise _RetryableError(f"not a chat completion: {reply[:120]!r}") from None


def _status_within(content: Any) -> int | None:
    """The status that some servers and gateways put into the body of an HTTP 200; None where there is none."""
    if not isinstance(content, dict) or content.get("choices"):
        return None
    error = content.get("error", content)
    status = error.get("code") if isinstance(error, dict) else None
    return status if isinstance(status, int) and 400 <= status < 600 else None


def _answer(content: Any, raw: bytes, max_tokens: int) -> Answer:
    """The answer inside a reply.

    Raises:
        _RetryableError: not the protocol, or broken off by the server: that happens now and then, so it is worth another call.
    """
    try:
        choice = content["choices"][0]
        text, finish = _text(choice["message"]), str(choice.get("finish_reason") or "")
        f"{text}{finish}".encode()  # half of a surrogate pair is no text
    except (ValueError, LookupError, TypeError, AttributeError):
        raise _RetryableError(f"not a chat completion: {raw[:120]!r}") from None
    if finish in _RETRIED_ENDINGS:
        raise _RetryableError(f"the server broke the answer off (finish_reason {finish!r})")
    return Answer(text=text.strip(), finish_reason=finish, max_tokens=max_tokens)


def _text(message: Mapping[str, Any]) -> str:
    """The words of a message: its content as a text or as parts, else its refusal; none at all is an empty answer.

    Raises TypeError, LookupError or AttributeError for anything else.
    """
    content = message["content"] if message.get("refusal") is None else message.get("content") or message["refusal"]
    if isinstance(content, list):
        content = "".join(part["text"] for part in content if part["type"] in ("text", "output_text"))
    if not isinstance(content, str | None):
        raise TypeError("content is no text")
    return content or ""


def _asked_pause_seconds(header: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 where it names none, at most half a minute."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(seconds, _MAX_PAUSE_SECONDS) if seconds > 0 else 0.0
