"""A chat endpoint inside the test: replies follow a script, and every request is kept."""

import json
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from pipeline.chat import Answer, ChatEngine, ChatRequest, EndpointList, Failed, Journal


@dataclass(frozen=True)
class Reply:
    """What the server does with one request: wait, then send a status, headers and a body.

    Where `drip_seconds` is not 0, it waits as long before each byte of the body, for as long as anyone listens. `hangs_up`: the
    connection is closed without a word.
    """

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    delay_seconds: float = 0.0
    drip_seconds: float = 0.0
    hangs_up: bool = False


def completion(content: object, *, finish_reason: str | None = "stop", **kwargs: Any) -> Reply:
    """A well-formed chat completion with this content; without its finish_reason where that is None."""
    choice: dict[str, Any] = {"message": {"role": "assistant", "content": content}}
    if finish_reason is not None:
        choice["finish_reason"] = finish_reason
    return Reply(json.dumps({"choices": [choice]}).encode(), **kwargs)


@dataclass
class ChatServer:
    """`url` is the base address; `requests` the bodies and `keys` the Authorization headers received, in order.

    `delivered` are the numbers of the requests whose reply went out whole, and `ended` counts those that have none to come.
    """

    url: str
    requests: list[dict[str, Any]] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)
    delivered: list[int] = field(default_factory=list)
    ended: int = 0


def told(url: str, requests: Sequence[ChatRequest], *, journal: Path, model: str = "m") -> list[Answer | Failed]:
    """What an endpoint says to each request, in order."""
    with Journal(journal) as kept, ChatEngine(EndpointList([url]), model=model, journal=kept, api_key="") as engine:
        came = {id(request): outcome for request, outcome in engine.ask(requests)}
    return [came[id(request)] for request in requests]


@contextmanager
def chat_server(answer: Callable[[int, dict[str, Any]], Reply]) -> Iterator[ChatServer]:
    """Serve `answer(number of the request, its body)` on the loopback interface."""
    state, lock = ChatServer(""), threading.Lock()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            with lock:
                number = len(state.requests)
                state.requests.append(body)
                state.keys.append(self.headers.get("Authorization"))
            try:
                self.reply(number, answer(number, body))
            except (BrokenPipeError, ConnectionResetError):
                pass  # the client gave up or was killed
            finally:
                with lock:
                    state.ended += 1

        def reply(self, number: int, reply: Reply) -> None:
            time.sleep(reply.delay_seconds)
            if reply.hangs_up:
                return
            self.send_response(reply.status)
            for name, value in {"Content-Length": str(len(reply.body)), **reply.headers}.items():
                self.send_header(name, value)
            self.end_headers()
            pieces = [bytes([byte]) for byte in reply.body] if reply.drip_seconds else [reply.body]
            for piece in pieces:
                time.sleep(reply.drip_seconds)
                self.wfile.write(piece)
            state.delivered.append(number)

        def log_message(self, *_: object) -> None: ...

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        state.url = f"http://127.0.0.1:{server.server_address[1]}/v1"
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
        thread.start()
        try:
            yield state
        finally:
            server.shutdown()
            thread.join()
