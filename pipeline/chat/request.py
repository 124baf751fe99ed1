"""What is asked of a chat model: words and pictures, how the answer is sampled, and the key that is equal where all of it is."""

import base64
import hashlib
import io
import json
from collections.abc import Iterator
from dataclasses import dataclass

from PIL import Image

MAX_ANSWER_TOKENS = 256
_SIGNATURES = ((b"\x89PNG", b"image/png"), (b"\xff\xd8\xff", b"image/jpeg"), (b"GIF8", b"image/gif"), (b"RIFF", b"image/webp"))
_MARK = "picture"
"""Where a picture goes in the JSON of a call."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How an answer is drawn. At `temperature` 0 a model says what it finds most likely; `seed` None is the server's own.

    `top_logprobs` over 0 asks for as many of the likeliest tokens at each place of the answer, with their log-probabilities.
    """

    max_tokens: int = MAX_ANSWER_TOKENS
    temperature: float = 0
    seed: int | None = None
    top_logprobs: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatRequest:
    """A text and encoded pictures, behind a `history` of questions with their answers.

    The pictures stand before the first question. `key` stands for the answer in a journal; where it is empty, `content_key` does.
    Requests with one key are asked once.
    """

    text: str
    images: tuple[bytes, ...] = ()
    history: tuple[tuple[str, str], ...] = ()
    sampling: Sampling = Sampling()
    key: str = ""


def content_key(request: ChatRequest, model: str) -> str:
    """Equal for requests of the same pictures, words and sampling of the same model (32 hex digits)."""
    digest = hashlib.sha256()
    for part in _parts(request, model):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


def _parts(request: ChatRequest, model: str) -> Iterator[str]:
    sampling = request.sampling
    yield from (model, str(sampling.max_tokens), repr(float(sampling.temperature)))
    yield from (str(sampling.seed), str(sampling.top_logprobs))
    yield str(len(request.images))
    yield from (hashlib.sha256(image).hexdigest() for image in request.images)
    yield from (words for turn in request.history for words in turn)
    yield request.text


def plain_request(*, with_picture: bool) -> ChatRequest:
    """What no endpoint refuses that serves the model: one word about a grey picture, or about nothing."""
    grey = Image.new("RGB", (224, 224), (127, 127, 127))
    file = io.BytesIO()
    grey.save(file, "PNG")
    return ChatRequest(text="Say one word.", images=(file.getvalue(),) if with_picture else (), sampling=Sampling(max_tokens=1))


def encode(request: ChatRequest, model: str) -> bytes:
    """The body of a call: in its first message the pictures, as data URIs, before the words.

    A data URI has nothing to escape, so pictures are put in behind the JSON encoder, which would look at each of their bytes.
    Nothing that may hold the same mark stands before the pictures.
    """
    content: list[dict[str, object]] = [{"type": "image_url", "image_url": {"url": _MARK}} for _ in request.images]
    messages: list[dict[str, object]] = []
    for question, answer in request.history:
        content.append({"type": "text", "text": question})
        messages += [{"role": "user", "content": content}, {"role": "assistant", "content": answer}]
        content = []
    content.append({"type": "text", "text": request.text})
    messages.append({"role": "user", "content": content})
    body = json.dumps({"messages": messages, "model": model, **_sampled(request.sampling)}).encode()
    first, *rest = body.split(_MARK.encode(), len(request.images))
    return b"".join([first, *(part for pair in zip(map(_data_uri, request.images), rest, strict=True) for part in pair)])


def _sampled(sampling: Sampling) -> dict[str, object]:
    """The settings of a call that say how to draw; what is left to the server is left out."""
    settings: dict[str, object] = {"max_tokens": sampling.max_tokens, "temperature": sampling.temperature}
    if sampling.seed is not None:
        settings["seed"] = sampling.seed
    if sampling.top_logprobs:
        settings |= {"logprobs": True, "top_logprobs": sampling.top_logprobs}
    return settings


def data_uri(image: bytes) -> str:
    """An encoded picture as a data URI, its media type taken from its first bytes (JPEG where they tell nothing)."""
    return _data_uri(image).decode("ascii")


def _data_uri(image: bytes) -> bytes:
    media = next((name for signature, name in _SIGNATURES if image.startswith(signature)), b"image/jpeg")
    return b"data:" + media + b";base64," + base64.b64encode(image)
