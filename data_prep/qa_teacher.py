"""The vision-language model that is asked about sides with pictures: in threads, and of equal sides once."""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from data_prep.qa_filters import RULES
from data_prep.qa_journal import Journal
from data_prep.qa_kinds import Kind
from data_prep.qa_script import Failure, Request, Script, Told
from pipeline.chat import Answer, ChatClient
from pipeline.errors import EndpointSetupError, RefusedError, ServiceError
from pipeline.sample import Side

_PENDING_PER_WORKER = 4
_HOPELESS_FAILURES = 20

UNANSWERED, REFUSED = "unanswered", "refused"
"""Kinds of failed calls, beside the faults of answers: no answer came, or the server does not take this request."""


@dataclass(slots=True)
class _Asking:
    """A side whose script is under way; `request` waits for its answer."""

    identity: str
    script: Script
    request: Request


class Teacher:
    """Outcomes by the identity of a side, which is that of its first request. Answers go to the journal as they come.

    An answer that is in the journal is not asked for again, but for one that was cut short below the present limit of tokens.
    A failed call is in no journal: it is made again by the next Teacher, and what was answered before it is not.
    """

    def __init__(self, client: ChatClient, journal: Journal, *, kind: Kind, workers: int) -> None:
        self.journal = journal
        self.outcomes: dict[str, Told | Failure] = {}
        self.asked = 0
        self._is_stopped = threading.Event()
        self._kind, self._workers = kind, workers
        self._client = replace(client, temperature=kind.temperature, pause=partial(self._pause, client))
        self._pool = ThreadPoolExecutor(workers)
        self._pending: dict[Future[Answer], _Asking] = {}
        self._awaited: set[str] = set()
        self._unanswered_in_a_row = 0

    def __enter__(self) -> "Teacher":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if error is not None:
            self._is_stopped.set()
        self._pool.shutdown(wait=error is None, cancel_futures=True)

    def _pause(self, client: ChatClient, seconds: float) -> None:
        """Wait before another call. Raises ServiceError once nobody waits for it: the process ends when its threads have."""
        client.pause(seconds)
        if self._is_stopped.is_set():
            raise ServiceError(f"{client.url}: stopped")

    def want(self, side: Side) -> str:
        """Ask about a side unless its outcome is known or on its way, and return its identity. Waits while too many are."""
        if any(future.done() for future in self._pending):
            self._collect()  # before a long way of known sides: a kill must not cost what has come
        script = self._kind.script(side)
        request = next(script)
        identity = request.identity(self._client.model)
        if identity in self.outcomes or identity in self._awaited:
            return identity
        while len(self._pending) >= self._workers * _PENDING_PER_WORKER:
            self._collect()
        self._go_on(_Asking(identity, script, request))
        return identity

    def finish(self) -> None:
        """Wait for all answers that are on their way, and for those to what they lead to."""
        while self._pending:
            self._collect()
        self.journal.sync()

    def _go_on(self, asking: _Asking) -> None:
        """Follow a script as far as the journal has its answers; what it lacks is asked."""
        while (answer := self._known(asking.request)) is not None:
            try:
                asking.request = asking.script.send(answer)
            except StopIteration as end:
                self._end(asking, end.value)
                return
        self._awaited.add(asking.identity)
        request = asking.request
        history = [(turn.question, turn.answer) for turn in request.history]
        self._pending[self._pool.submit(self._client.complete, request.text, request.about.images, history)] = asking

    def _known(self, request: Request) -> Answer | None:
        """The answer that the journal has, but for one that a higher limit may now make whole."""
        answer = self.journal.answers.get(request.identity(self._client.model))
        if answer is not None and answer.finish_reason in RULES.cut_ends and answer.max_tokens < self._client.max_tokens:
            return None
        return answer

    def _end(self, asking: _Asking, outcome: Told | Failure) -> None:
        self.outcomes[asking.identity] = outcome
        self._awaited.discard(asking.identity)

    def _collect(self) -> None:
        """Take the answers that have come. Raises ServiceError when the endpoint is down, or was never set up."""
        done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # answers first, as a failure may end it
            asking = self._pending.pop(future)
            try:
                answer = future.result()
            except RefusedError as error:
                self._unanswered_in_a_row = 0
                self._end(asking, Failure(REFUSED, str(error)))
            except ServiceError as error:
                self._note_unanswered(asking, error)
            else:
                self.asked, self._unanswered_in_a_row = self.asked + 1, 0
                self.journal.record(asking.request.identity(self._client.model), answer)
                self._go_on(asking)

    def _note_unanswered(self, asking: _Asking, error: ServiceError) -> None:
        """Raise ServiceError where no call can be answered: the first one meets a wrong key or address, or none is for long."""
        self._end(asking, Failure(UNANSWERED, str(error)))
        self._unanswered_in_a_row += 1
        if isinstance(error, EndpointSetupError) and not self.asked:
            raise error
        if self._unanswered_in_a_row >= _HOPELESS_FAILURES:
            raise ServiceError(
                f"{self._unanswered_in_a_row} sides in a row had no answer ({error}); the {len(self.journal.answers)} answers so "
                "far are kept: run the same command again when the endpoint is up"
            ) from error
