"""A stand-in for a served vision-language model: answers about pictures of the toy world, from the scenes they were drawn from.

It speaks just enough of the OpenAI chat protocol for the synthesis to run without a network or a GPU. Asked for a list of
questions, it gives those of the picture's dialogue; a question of the list has its answer, a caption is one of those that the
toy world's own pairs have, a judge of candidates says yes or no with its log-probabilities, anything else gets a description.
"""

import base64
import binascii
import hashlib
import json
import random
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import click

from data_prep.qa_caption import CAPTION
from data_prep.qa_dialogue import LIST_PROMPT
from data_prep.scene_judge import judge
from data_prep.scene_questions import dialogue
from data_prep.scenes import Scene, caption, description, scene_from_json
from pipeline.errors import DataError, PipelineError

MODEL_NAME = "toy-world-scenes"
HOST = "127.0.0.1"
YES, NO = "Yes", "No"
_SURE, _UNLIKELY = -0.1, -2.5
"""Log-probabilities of a judge's word and of the other."""
_MAX_REQUEST_BYTES = 64 << 20


def read_facts(path: Path) -> dict[str, Scene]:
    """One scene a picture by the sha256 (hex) of its file. Raises DataError for a file that the toy world did not write."""
    scenes: dict[str, Scene] = {}
    try:
        with path.open(encoding="utf-8") as file:
            for line in file:
                fact = json.loads(line)
                scenes[fact["sha256"]] = scene_from_json(fact["scene"])
    except OSError as error:
        raise DataError(f"{path}: cannot be read ({error.strerror}); make the toy world first") from error
    except (ValueError, KeyError, TypeError) as error:
        raise DataError(f"{path}: not a file of scene facts ({error}); make the toy world again") from error
    return scenes


def reply_to(request: object, scenes: Mapping[str, Scene]) -> str:
    """The answer to a chat request, the same for the same pictures and words. Raises ValueError saying what is wrong with it."""
    pictures, words = _read(request)
    if not pictures:
        raise ValueError("no picture in the request")
    digests = [hashlib.sha256(picture).hexdigest() for picture in pictures]
    unknown = [digest for digest in digests if digest not in scenes]
    if unknown:
        raise ValueError(f"picture {unknown[0][:12]} is not of this toy world")
    judged = judge(words, [scenes[digest] for digest in digests])
    if judged is not None:
        return YES if judged else NO
    if words == CAPTION.prompt:
        return " . ".join(caption(scenes[digest], random.Random(digest)) for digest in digests)
    asked = dialogue(scenes[digests[0]], random.Random(digests[0]))
    if words == LIST_PROMPT:
        if len(digests) > 1:
            raise ValueError("one list of questions about several pictures is not known here")
        return "\n".join(f"{number}. {question.text}" for number, question in enumerate(asked, start=1))
    answers = {question.text: question.answer for question in asked} if len(digests) == 1 else {}
    return answers.get(words, " . ".join(description(scenes[digest]) for digest in digests))


@contextmanager
def serve(facts: Path, *, port: int = 0) -> Iterator[str]:
    """Serve on the loopback interface while the block runs; yields the base address. Port 0 takes a free one."""
    handler = type("BoundHandler", (_Handler,), {"scenes": read_facts(facts)})
    with ThreadingHTTPServer((HOST, port), handler) as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True)
        thread.start()
        try:
            yield f"http://{HOST}:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


class _Handler(BaseHTTPRequestHandler):
    """One request: POST /v1/chat/completions or GET /v1/models."""

    scenes: Mapping[str, Scene] = {}
    protocol_version = "HTTP/1.1"
    # Small replies would otherwise wait for the client's delayed acknowledgement.
    disable_nagle_algorithm = True

    def do_GET(self) -> None:
        if self.path != "/v1/models":
            return self._send(404, _error("unknown path"))
        return self._send(200, {"object": "list", "data": [{"id": MODEL_NAME, "object": "model"}]})

    def do_POST(self) -> None:
        if self.path != "/v1/chat/completions":
            return self._send(404, _error("unknown path"))
        size = int(self.headers.get("Content-Length", "0"))
        if size > _MAX_REQUEST_BYTES:
            return self._send(413, _error("request too large"))
        try:
            request = json.loads(self.rfile.read(size))
            answer = reply_to(request, self.scenes)
        except ValueError as error:
            return self._send(400, _error(str(error)))
        return self._send(200, _completion(answer, tells_logprobs=bool(request.get("logprobs"))))

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 (the base class names it so)
        """Say nothing: thousands of requests are made."""

    def _send(self, status: int, body: Mapping[str, Any]) -> None:
        encoded = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(encoded)))
        self.end_headers()
        self.wfile.write(encoded)


def _read(request: object) -> tuple[list[bytes], str]:
    """The pictures of a chat, in order, and the words that were said last. Raises ValueError for anything else."""
    try:
        contents = [message["content"] for message in request["messages"]]  # type: ignore[index]
        parts = [part for content in contents if not isinstance(content, str) for part in content]
        addresses = [part["image_url"]["url"] for part in parts if part["type"] == "image_url"]
        words = " ".join(part["text"] for part in contents[-1] if part["type"] == "text")
    except (LookupError, TypeError) as error:
        raise ValueError("not a chat request with content parts") from error
    return [_picture(str(address)) for address in addresses], words


def _picture(address: str) -> bytes:
    """The picture in a data URI."""
    head, comma, body = address.partition(",")
    if not comma or not head.startswith("data:") or not head.endswith(";base64"):
        raise ValueError("pictures must be base64 data URIs")
    try:
        return base64.b64decode(body, validate=True)
    except binascii.Error as error:
        raise ValueError("a picture is not base64") from error


def _completion(answer: str, *, tells_logprobs: bool = False) -> dict[str, Any]:
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": answer}, "index": 0, "finish_reason": "stop"}
    if tells_logprobs and answer in (YES, NO):
        likely = [{"token": word, "logprob": _SURE if word == answer else _UNLIKELY} for word in (YES, NO)]
        choice["logprobs"] = {"content": [{"token": answer, "logprob": _SURE, "top_logprobs": likely}]}
    return {
        "id": "chatcmpl-scene",
        "object": "chat.completion",
        "created": int(time.time()),
        "model": MODEL_NAME,
        "choices": [choice],
    }


def _error(message: str) -> dict[str, Any]:
    return {"error": {"message": message, "type": "invalid_request_error"}}


@click.command(context_settings={"show_default": True})
@click.option("--facts", type=click.Path(path_type=Path), required=True, help="scene_facts.jsonl of a toy world.")
@click.option("--port", default=0, help="Port on the loopback interface; 0 takes a free one.")
def main(facts: Path, port: int) -> None:
    """Serve descriptions of a toy world's pictures as an OpenAI-compatible endpoint, until Ctrl-C.

    \b
    Example:
      python -m data_prep.scene_server --facts work/toy/scene_facts.jsonl --port 8000
    """
    try:
        with serve(facts, port=port) as url:
            click.echo(f"serving {MODEL_NAME} at {url}")
            threading.Event().wait()
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    except KeyboardInterrupt:
        click.echo("stopped")


if __name__ == "__main__":
    main()
