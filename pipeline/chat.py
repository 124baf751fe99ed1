"""A small client of OpenAI-compatible chat endpoints (that is how vLLM and its like serve a vision-language model).

Retries are bounded in number and in time. The API key comes from the environment and is never written anywhere.
"""

import base64
import contextlib
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
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.errors import ConfigError, ServiceError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "CREM_API_KEY"
_FALLBACK_KEY_VARIABLE = "OPENAI_API_KEY"
_RETRIED_STATUS = frozenset({408, 409, 425, 429, 500, 502, 503, 504})
_MAX_REPLY_BYTES = 8 << 20
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
class ChatClient:
    """Asks a chat model about a text and pictures.

    `url` is the endpoint's base (`http://host:8000/v1`). One `complete` makes at most `1 + max_retries` calls and ends before
    `deadline_seconds`. `api_key` is left out of the repr, of logs and of every error.
    """

    url: str
    model: str
    api_key: str = field(default_factory=key_from_environment, repr=False)
    timeout_seconds: float = 60.0
    deadline_seconds: float = 300.0
    max_retries: int = 4
    max_tokens: int = 256
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

    def complete(self, text: str, images: Sequence[bytes] = ()) -> str:
        """The model's answer to a text and encoded pictures, white space around it removed; never empty.

        Raises:
            ServiceError: refused, or still failing after the retries or at the deadline.
        """
        body = self._body(text, images)
        end = time.monotonic() + self.deadline_seconds
        reason = ""
        for attempt in range(self.max_retries + 1):
            try:
                return self._call(body, max(min(self.timeout_seconds, end - time.monotonic()), 0.001))
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

    def _body(self, text: str, images: Sequence[bytes]) -> bytes:
        """The request: pictures first, as data URIs, then the text; temperature 0."""
        content: list[dict[str, object]] = [{"type": "image_url", "image_url": {"url": data_uri(image)}} for image in images]
        content.append({"type": "text", "text": text})
        message = {"role": "user", "content": content}
        return json.dumps({"model": self.model, "messages": [message], "max_tokens": self.max_tokens, "temperature": 0}).encode()

    def _call(self, body: bytes, timeout_seconds: float) -> str:
        """One call. HTTP statuses that will not change on repetition become a ServiceError at once."""
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self.api_key}"} if self.api_key else {})
        request = urllib.request.Request(f"{self.url.rstrip('/')}/chat/completions", data=body, headers=headers)
        try:
            with _opener(self.url).open(request, timeout=timeout_seconds) as reply:
                return _answer(reply.read(_MAX_REPLY_BYTES + 1))
        except urllib.error.HTTPError as error:
            raise self._status_error(error) from None
        except (OSError, http.client.HTTPException) as error:
            raise _RetryableError(f"{type(error).__name__}: {error}") from None

    def _status_error(self, error: urllib.error.HTTPError) -> Exception:
        """The error for an HTTP status; the server's words are shown, cut short and without the key."""
        with error:
            words = self._clean(" ".join(error.read(2000).decode("utf-8", "replace").split())[:300])
        if error.code in _RETRIED_STATUS:
            return _RetryableError(f"HTTP {error.code}: {words}", _asked_pause_seconds(error.headers.get("Retry-After", "")))
        hint = f"; set {KEY_VARIABLE}" if error.code in (401, 403) else ""
        return ServiceError(f"{self.url}: HTTP {error.code}: {words}{hint}")

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


def _answer(reply: bytes) -> str:
    """The text inside a reply.

    Raises:
        _RetryableError: not the protocol, or no text: models do that now and then, so it is worth another call.
    """
    if len(reply) > _MAX_REPLY_BYTES:
        raise _RetryableError(f"reply longer than {_MAX_REPLY_BYTES} bytes")
    try:
        text = json.loads(reply)["choices"][0]["message"]["content"]
        str(text).encode()  # half of a surrogate pair is no text
    except (ValueError, LookupError, TypeError, RecursionError):
        raise _RetryableError(f"not a chat completion: {reply[:120]!r}") from None
    if not isinstance(text, str) or not text.strip():
        raise _RetryableError("an empty answer")
    return text.strip()


def _asked_pause_seconds(header: str) -> float:
    """Seconds that a Retry-After header asks for; 0 where it names none, never more than half a minute."""
    return min(float(header), _MAX_PAUSE_SECONDS) if header.isdigit() else 0.0
