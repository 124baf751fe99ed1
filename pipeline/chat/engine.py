"""Asks many things of chat endpoints at once and keeps every answer in a journal: each key once, over any number of starts.

An event loop in a thread of its own talks to the endpoints (`caller`); the caller's thread says what to ask and takes what came.
"""

import asyncio
import queue
import threading
from collections.abc import Iterable, Iterator
from itertools import chain, repeat
from types import TracebackType
from typing import TypeVar

from pipeline.chat.address import checked_key, key_from_environment
from pipeline.chat.caller import Caller, Patience, Totals
from pipeline.chat.endpoints import EndpointList, Endpoints
from pipeline.chat.journal import Failed, Journal
from pipeline.chat.reply import Answer
from pipeline.chat.request import ChatRequest
from pipeline.chat.scripts import FollowedScripts, Script
from pipeline.chat.transport import Transport

PATIENCE = Patience()
T = TypeVar("T")

_Came = tuple[str, Answer | Failed] | BaseException


class ChatEngine:
    """Answers from the journal, else from the endpoints. Use it as a context manager, from one thread.

    A request that failed is not written down: it is made again by the next engine, and once by this one however many ask for it.
    An answer that was cut short is asked for again under a higher limit of tokens. `totals` counts what came in this run.
    """

    def __init__(
        self, addresses: EndpointList, *, model: str, journal: Journal, patience: Patience = PATIENCE, api_key: str | None = None
    ) -> None:
        """`api_key` None: the environment's. Raises ConfigError for a key that no request can carry."""
        self.journal, self.model, self.totals = journal, model, Totals()
        self._patience, self._api_key = patience, checked_key(key_from_environment() if api_key is None else api_key)
        self._endpoints = Endpoints(addresses, most_in_flight=patience.most_in_flight)
        self._came: queue.SimpleQueue[_Came] = queue.SimpleQueue()
        self._scripts = FollowedScripts(journal, model, self._submit)
        self._caller: Caller | None = None
        self._loop = asyncio.new_event_loop()
        self._is_up, self._stop = threading.Event(), asyncio.Event()
        self._thread = threading.Thread(target=self._serve, daemon=True, name="chat")

    def __enter__(self) -> "ChatEngine":
        self._thread.start()
        self._is_up.wait()
        if self._caller is None:
            self._take()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()
        self._loop.close()

    @property
    def endpoints(self) -> Endpoints:
        """What is known of the endpoints: what is in flight, and what each has answered."""
        return self._endpoints

    def ask(self, requests: Iterable[ChatRequest]) -> Iterator[tuple[ChatRequest, Answer | Failed]]:
        """Each request with what became of it, as they come. The iterable is read as far ahead as the endpoints have room.

        Raises ServiceError where no endpoint answers for long, EndpointSetupError where none takes any request.
        """
        return self.run(_one(request) for request in requests)

    def run(self, scripts: Iterable[Script[T]]) -> Iterator[T]:
        """What each script returns, as they end; raises as `ask`. Equal requests of several scripts are made once.

        One run at a time: what a run that is left early has asked is journalled when it comes, and told to nobody.
        """
        rest: Iterator[Script[T] | None] = chain(scripts, repeat(None))
        try:
            while True:
                while self._scripts.waiting < self._endpoints.window and (script := next(rest)) is not None:
                    yield from self._scripts.go_on(script)
                if not self._scripts.waiting:
                    return
                yield from self._scripts.came(*self._take())
        finally:
            self._scripts.leave()

    def _submit(self, key: str, request: ChatRequest) -> None:
        assert self._caller is not None, "use the engine as a context manager"
        self._loop.call_soon_threadsafe(self._caller.start, key, request)

    def _take(self) -> tuple[str, Answer | Failed]:
        """Wait for what comes next. Raises what broke the calls."""
        came = self._came.get()
        if isinstance(came, BaseException):
            raise came
        return came

    def _serve(self) -> None:
        """Run the loop until told to stop, in a thread of its own; what breaks it is raised in the other."""
        serving = self._loop.create_task(self._call_until_stopped())
        self._loop.run_until_complete(asyncio.wait({serving}))
        if (error := serving.exception()) is not None:
            self._came.put(error)
        self._is_up.set()

    async def _call_until_stopped(self) -> None:
        async with Transport(timeout_seconds=self._patience.timeout_seconds, api_key=self._api_key) as transport:
            self._caller = Caller(
                self._endpoints,
                transport,
                model=self.model,
                patience=self._patience,
                journal=self.journal,
                totals=self.totals,
                came=lambda key, outcome: self._came.put((key, outcome)),
            )
            self._is_up.set()
            watch, stop = asyncio.create_task(self._caller.watch()), asyncio.create_task(self._stop.wait())
            await asyncio.wait({watch, stop}, return_when=asyncio.FIRST_COMPLETED)
            if watch.done() and (error := watch.exception()) is not None:
                self._came.put(error)
            watch.cancel()
            await self._caller.end()
            await stop


def _one(request: ChatRequest) -> Script[tuple[ChatRequest, Answer | Failed]]:
    """The script of a single request."""
    answer = yield request
    return request, answer
