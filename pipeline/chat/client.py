"""A small client of OpenAI-compatible chat endpoints (that is how vLLM and its like serve a vision-language model).

Retries are bounded in number and in time. The API key comes from the environment and is never written anywhere.
"""

import http.client
import logging
import random
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from pipeline.chat.address import checked_key, checked_url, key_from_environment, proxy_of
from pipeline.chat.reply import MAX_PAUSE_SECONDS, Answer, RetryableError, answer_in, status_error
from pipeline.chat.request import MAX_ANSWER_TOKENS, ChatRequest, Sampling, encode
from pipeline.errors import EndpointSetupError, RefusedError, ServiceError

logger = logging.getLogger(__name__)

_MAX_REPLY_BYTES = 8 << 20
_PIECE_BYTES = 64 << 10


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
        checked_url(self.url)
        checked_key(self.api_key)

    def complete(self, text: str, images: Sequence[bytes] = (), history: Sequence[tuple[str, str]] = ()) -> Answer:
        """The model's answer to a text and encoded pictures, behind a `history` of questions with their answers.

        The pictures stand before the first question.

        Raises:
            RefusedError: this request will never pass (HTTP 4xx).
            EndpointSetupError: no request will pass: an unknown address or model, a wrong key, a redirect.
            ServiceError: no connection, a timeout, HTTP 5xx, 429 or not the protocol, still after the retries or at the deadline.
        """
        sampling = Sampling(max_tokens=self.max_tokens, temperature=self.temperature)
        body = encode(ChatRequest(text=text, images=tuple(images), history=tuple(history), sampling=sampling), self.model)
        end = time.monotonic() + self.deadline_seconds
        reason = ""
        for attempt in range(self.max_retries + 1):
            try:
                return self._call(body, end)
            except (EndpointSetupError, RefusedError) as error:
                raise type(error)(f"{self.url}: {self._clean(str(error))}") from None
            except RetryableError as error:
                reason = self._clean(str(error))
                wait = max(error.pause_seconds, self._backoff_seconds(attempt))
            logger.debug("chat call %d failed: %s", attempt + 1, reason)
            if attempt == self.max_retries or time.monotonic() + wait >= end:
                raise ServiceError(
                    f"{self.url}: no answer after {attempt + 1} calls ({reason}); is the server up, and is it the right model?"
                )
            self.pause(wait)
        raise ServiceError(f"{self.url}: max_retries is {self.max_retries}, so no call was made")

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
            raise status_error(error.code, words, error.headers.get("Retry-After", "")) from None
        except (OSError, http.client.HTTPException) as error:
            raise RetryableError(f"{type(error).__name__}: {error}") from None
        return answer_in(raw, self.max_tokens)

    def _backoff_seconds(self, attempt: int) -> float:
        """Half to one and a half times 0.5, 1, 2, 4 ... seconds: many workers must not come back at one moment."""
        return min(0.5 * 2.0**attempt, MAX_PAUSE_SECONDS) * (0.5 + random.random())

    def _clean(self, words: str) -> str:
        """The words without the key: some servers repeat the header they refused."""
        return words.replace(self.api_key, "***") if self.api_key else words


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Follows no redirect: the key must not travel to another host."""

    def redirect_request(self, *_: object, **__: object) -> None:
        """Refuse, so that the status reaches the caller as an HTTPError."""


def _opener(url: str) -> urllib.request.OpenerDirector:
    """What opens an address: through the environment's proxy, but for a server on this machine."""
    proxy = proxy_of(url)
    return urllib.request.build_opener(_NoRedirect, urllib.request.ProxyHandler({"http": proxy, "https": proxy} if proxy else {}))


def _read(reply: http.client.HTTPResponse, end: float) -> bytes:
    """The bytes of a reply. Raises RetryableError for one that is too long, in bytes or in time.

    The timeout of a socket counts anew from every byte, and some gateways send one now and then while they wait.
    """
    pieces: list[bytes] = []
    while piece := reply.read1(_PIECE_BYTES):
        pieces.append(piece)
        if sum(map(len, pieces)) > _MAX_REPLY_BYTES:
            raise RetryableError(f"reply longer than {_MAX_REPLY_BYTES} bytes")
        if time.monotonic() > end:
            raise RetryableError("the reply did not end in time")
    if reply.length:
        raise RetryableError(f"the reply broke off {reply.length} bytes before its end")
    return b"".join(pieces)
