"""The calls of an engine, within its event loop: which endpoint gets a request, what is tried again, and when to give up."""

import asyncio
import logging
import random
import time
from collections.abc import Callable
from dataclasses import dataclass

from pipeline.chat.endpoints import Endpoint, Endpoints
from pipeline.chat.journal import Failed, Journal
from pipeline.chat.reply import MAX_PAUSE_SECONDS, Answer, RetryableError
from pipeline.chat.request import ChatRequest, encode, plain_request
from pipeline.chat.transport import Transport
from pipeline.errors import EndpointSetupError, RefusedError, ServiceError

logger = logging.getLogger(__name__)

REFUSED, UNANSWERED, NO_LOGPROBS = "refused", "unanswered", "no log-probabilities"
"""Kinds of failed requests: the server does not take this one, no answer came, or one without the log-probabilities asked for."""
_TICK_SECONDS = 0.05
_SYNC_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.5
_FIRST_REFUSALS = 10
"""So many refused by an endpoint that has answered nothing, and it is tried whether it takes anything at all."""
_BUSY_TRIES = 50
"""Times that one request is tried again because the server has too much to do, which is no fault of either."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Patience:
    """What a call may take, how often a request is tried, and how long no endpoint may answer before all is given up.

    `pause_factor` scales the pauses between tries of a request. `most_in_flight` bounds what one endpoint gets at once; None: as
    much as it answers without a queue.
    """

    timeout_seconds: float = 60.0
    tries: int = 5
    give_up_seconds: float = 600.0
    pause_factor: float = 1.0
    most_in_flight: int | None = None


@dataclass(slots=True)
class Totals:
    """What came in this run: answers, failed requests, calls made for them, and the tokens of the answered as servers count."""

    answers: int = 0
    failed: int = 0
    calls: int = 0
    prompt_tokens: int = 0
    answer_tokens: int = 0


class Caller:
    """Answers requests by calls of endpoints and journals what comes. All methods belong to one event loop."""

    def __init__(
        self,
        endpoints: Endpoints,
        transport: Transport,
        *,
        model: str,
        patience: Patience,
        journal: Journal,
        totals: Totals,
        came: Callable[[str, Answer | Failed], None],
    ) -> None:
        """`came` is told each outcome."""
        self._totals = totals
        self._endpoints, self._transport, self._model, self._patience = endpoints, transport, model, patience
        self._journal, self._came = journal, came
        self._tasks: set[asyncio.Task[None]] = set()
        self._one_trial = asyncio.Lock()
        self._broken: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._alive_at = time.monotonic()
        self._reason = "nothing was asked"

    def start(self, key: str, request: ChatRequest) -> None:
        """Begin to ask; the outcome comes later."""
        task = asyncio.create_task(self._answer(key, request))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    async def watch(self) -> None:
        """Look after the endpoints and the journal until cancelled.

        Raises ServiceError where no endpoint has answered for too long, EndpointSetupError where none takes any request, and
        whatever else broke a request.
        """
        synced = time.monotonic()
        while not self._broken.done():
            await asyncio.sleep(_TICK_SECONDS)
            now = time.monotonic()
            if now - synced >= _SYNC_SECONDS:
                synced = now
                self._endpoints.refresh()
                await asyncio.to_thread(self._journal.sync)
            self._endpoints.assign()
            self._alive_at = self._alive_at if self._tasks else now
            if now - self._alive_at > self._patience.give_up_seconds:
                raise ServiceError(
                    f"no endpoint has answered for {now - self._alive_at:.0f} seconds ({self._reason}); the {len(self._journal)} "
                    "answers so far are kept: run the same command again when one is up"
                )
        await self._broken

    async def end(self) -> None:
        """Cancel what is under way."""
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()) is not None and not self._broken.done():
            self._broken.set_exception(error)

    async def _answer(self, key: str, request: ChatRequest) -> None:
        """Ask until there is an answer or a reason to have none; the answer is in the journal before anybody hears of it."""
        outcome = await self._outcome(request)
        if isinstance(outcome, Answer):
            self._journal.record(key, outcome)
            self._totals.answers += 1
            self._totals.prompt_tokens += outcome.tokens[0]
            self._totals.answer_tokens += outcome.tokens[1]
        else:
            self._totals.failed += 1
        self._came(key, outcome)

    async def _outcome(self, request: ChatRequest) -> Answer | Failed:
        body, tries, busy = encode(request, self._model), 0, 0
        while True:
            endpoint = await self._endpoints.acquire()
            try:
                answer = await self._call(endpoint, request, body)
                if request.sampling.top_logprobs and not answer.top_logprobs:
                    return Failed(NO_LOGPROBS, f"{endpoint.url}: answered without the log-probabilities that it was asked for")
                return answer
            except RefusedError as error:
                return Failed(REFUSED, f"{endpoint.url}: {error}")
            except RetryableError as error:
                tries, busy = tries + (not error.is_busy), busy + error.is_busy
                reason = f"{endpoint.url}: {error}"
            except EndpointSetupError as error:
                if (hopeless := self._endpoints.setup_error()) is not None:
                    raise hopeless from None
                tries, reason = tries + 1, f"{endpoint.url}: {error}"
            finally:
                self._endpoints.release(endpoint)
            self._reason = reason
            logger.debug("chat call %d failed: %s", tries + busy, reason)
            if tries >= self._patience.tries or busy >= _BUSY_TRIES:
                return Failed(UNANSWERED, f"no answer after {tries + busy} calls ({reason})")
            await asyncio.sleep(self._pause_seconds(tries + busy - 1))

    async def _call(self, endpoint: Endpoint, request: ChatRequest, body: bytes) -> Answer:
        """One call, and what it says of its endpoint. Raises as Transport.call."""
        begun, is_full = time.monotonic(), endpoint.in_flight >= endpoint.limit.slots
        self._totals.calls += 1
        try:
            answer = await self._transport.call(endpoint.url, body, max_tokens=request.sampling.max_tokens)
        except RefusedError as error:
            await self._try_plainly(endpoint, request, str(error))
            self._alive_at = time.monotonic()
            endpoint.lives()
            raise
        except EndpointSetupError as error:
            if endpoint.answered:
                endpoint.failed(str(error))
            else:
                endpoint.refuses(error)
            raise
        except RetryableError as error:
            endpoint.limit.overloaded(begun, time.monotonic())
            endpoint.waits(error.pause_seconds)
            if not error.is_busy:
                endpoint.failed(str(error))
            raise
        self._alive_at = time.monotonic()
        endpoint.lives()
        endpoint.answered += 1
        endpoint.limit.answered(begun, self._alive_at, is_full=is_full)
        return answer

    async def _try_plainly(self, endpoint: Endpoint, request: ChatRequest, words: str) -> None:
        """Raise EndpointSetupError where an endpoint refuses whatever it is asked, as some do for a model that they do not serve.

        The first contents may all be what it cannot take, such as tiny pictures. So it is asked something that nobody refuses.
        """
        endpoint.refused += 1
        async with self._one_trial:
            if endpoint.setup_error is not None:
                raise endpoint.setup_error
            if endpoint.answered or endpoint.takes_plain or endpoint.refused < _FIRST_REFUSALS:
                return
            plain = plain_request(with_picture=bool(request.images))
            self._totals.calls += 1
            try:
                await self._transport.call(endpoint.url, encode(plain, self._model), max_tokens=plain.sampling.max_tokens)
                endpoint.takes_plain = True
            except RetryableError:
                return  # tried again at the next refusal
            except RefusedError:
                none = f"it refuses a plain request too, and has answered none of {endpoint.refused}: check the model's name"
                error = EndpointSetupError(f"{words}; {none}")
                endpoint.refuses(error)
                raise error from None

    def _pause_seconds(self, tries: int) -> float:
        """Half to one and a half times 0.5, 1, 2, 4 ... seconds: many requests must not come back at one moment."""
        pause = min(_FIRST_PAUSE_SECONDS * 2.0 ** min(tries, 20), MAX_PAUSE_SECONDS)
        return pause * (0.5 + random.random()) * self._patience.pause_factor
