"""What a chat endpoint says back: an answer, or why there is none and whether another call may bring one."""

import email.utils
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pipeline.chat.address import KEY_VARIABLE
from pipeline.errors import EndpointSetupError, RefusedError

CUT_ENDS = ("length", "max_tokens", "model_length")
"""Values of finish_reason of an answer that the limit of tokens cut short."""
_RETRIED_ENDINGS = frozenset({"abort", "error"})
"""Values of finish_reason with which servers say that they broke off, through no fault of the request."""
_RETRIED_STATUS = frozenset({408, 409, 425, 429})
"""Besides these, every 5xx."""
_BUSY_STATUS = 429
_SETUP_STATUS = frozenset({401, 402, 403, 404, 405, 407})
"""Besides these, every redirect: the key must not follow one."""
MAX_PAUSE_SECONDS = 30.0

TopLogprobs = tuple[tuple[tuple[str, float], ...], ...]
"""At each place of an answer the likeliest tokens with their log-probabilities."""


class RetryableError(Exception):
    """A call that may succeed when repeated. `pause_seconds` is what the server asked for, 0 where it did not say.

    `is_busy`: the server lives and has too much to do.
    """

    def __init__(self, reason: str, pause_seconds: float = 0.0, *, is_busy: bool = False) -> None:
        super().__init__(reason)
        self.pause_seconds, self.is_busy = pause_seconds, is_busy


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """What a model said, white space around it removed: it may be empty.

    `finish_reason` is the server's word for why it ends there ("stop", "length", "content_filter"), empty where it gave none;
    `max_tokens` the limit under which it was given, 0 where that is not known; `tokens` those of the request and of the answer as
    the server counts them, 0 where it does not.
    """

    text: str
    finish_reason: str = ""
    max_tokens: int = 0
    tokens: tuple[int, int] = (0, 0)
    top_logprobs: TopLogprobs = ()

    @property
    def is_cut(self) -> bool:
        """Whether the limit of tokens cut it short."""
        return self.finish_reason.lower() in CUT_ENDS


def answer_in(raw: bytes, max_tokens: int) -> Answer:
    """The answer inside the body of an HTTP 200.

    Raises:
        RetryableError: not the protocol, or broken off by the server: that happens now and then, so it is worth another call.
        EndpointSetupError, RefusedError: as `status_error`, of a status within the body.
    """
    content = _parsed(raw)
    if (status := _status_within(content)) is not None:
        raise status_error(status, raw[:2000].decode("utf-8", "replace"))
    try:
        choice = content["choices"][0]
        text, finish = _text(choice["message"]), str(choice.get("finish_reason") or "")
        f"{text}{finish}".encode()  # half of a surrogate pair is no text
        logprobs = _top_logprobs(choice.get("logprobs"))
    except (ValueError, LookupError, TypeError, AttributeError):
        raise RetryableError(f"not a chat completion: {raw[:120]!r}") from None
    if finish in _RETRIED_ENDINGS:
        raise RetryableError(f"the server broke the answer off (finish_reason {finish!r})")
    tokens = _tokens(content.get("usage"))
    return Answer(text=text.strip(), finish_reason=finish, max_tokens=max_tokens, tokens=tokens, top_logprobs=logprobs)


def status_error(status: int, words: str, retry_after: str = "") -> Exception:
    """The error for an HTTP status; the server's words are shown, cut short."""
    said = f"HTTP {status}: {' '.join(words.split())[:300]}"
    if status in _RETRIED_STATUS or status >= 500:
        return RetryableError(said, asked_pause_seconds(retry_after), is_busy=status == _BUSY_STATUS)
    if status in _SETUP_STATUS or status < 400:
        hint = f"set {KEY_VARIABLE}" if status in (401, 403) else "check the address and the model's name"
        return EndpointSetupError(f"{said}; {hint}")
    return RefusedError(said)


def asked_pause_seconds(header: str) -> float:
    """Seconds that a Retry-After header asks for, as a number or a date; 0 where it names none, at most half a minute."""
    try:
        seconds = float(header)
    except ValueError:
        try:
            seconds = email.utils.parsedate_to_datetime(header).timestamp() - time.time()
        except (ValueError, OverflowError):
            return 0.0
    return min(seconds, MAX_PAUSE_SECONDS) if seconds > 0 else 0.0


def _parsed(reply: bytes) -> Any:
    """The JSON of a reply. Raises RetryableError for anything else, such as the page of a proxy."""
    try:
        return json.loads(reply)
    except (ValueError, RecursionError):
        raise RetryableError(f"not a chat completion: {reply[:120]!r}") from None


def _status_within(content: Any) -> int | None:
    """The status that some servers and gateways put into the body of an HTTP 200; None where there is none."""
    if not isinstance(content, dict) or content.get("choices"):
        return None
    error = content.get("error", content)
    status = error.get("code") if isinstance(error, dict) else None
    return status if isinstance(status, int) and 400 <= status < 600 else None


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


def _top_logprobs(told: Any) -> TopLogprobs:
    """The likeliest tokens at each place; none where the server told none. Raises as `_text` for another form."""
    places = (told or {}).get("content") or ()
    return tuple(tuple((str(one["token"]), float(one["logprob"])) for one in place.get("top_logprobs") or ()) for place in places)


def _tokens(usage: Any) -> tuple[int, int]:
    """Tokens of the request and of the answer; 0 where the server does not say."""
    told = usage if isinstance(usage, dict) else {}
    counts = (told.get("prompt_tokens"), told.get("completion_tokens"))
    prompt, answer = (count if isinstance(count, int) and count > 0 else 0 for count in counts)
    return prompt, answer
