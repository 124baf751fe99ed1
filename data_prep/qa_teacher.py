"""The vision-language model that describes sides with pictures: asked in threads, each distinct side once."""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, replace
from functools import partial
from types import TracebackType

from data_prep.qa_filters import RULES, WORDS, fault_of
from data_prep.qa_journal import Journal, side_identity
from pipeline.chat import Answer, ChatClient
from pipeline.errors import EndpointSetupError, RefusedError, ServiceError
from pipeline.sample import IMAGE_MARKER, Side

DESCRIBE = "Describe the represented image"
"""The question that is recorded, and later learnt, for a side with pictures."""

PROMPT = (
    "An image search engine will store the picture above together with this request:\n{request}\n\n"
    "Say in one to three plain sentences what the picture shows, dwelling on whatever the request is about: name the objects "
    "with their number, colour and place, and copy any writing that matters. State only what can be seen. "
    "Do not repeat the request, and do not begin with phrases such as 'The picture shows'."
)
"""What the model is asked. A changed word makes every side be asked again: the journal's keys depend on it."""

_PENDING_PER_WORKER = 4
_HOPELESS_FAILURES = 20

UNANSWERED, REFUSED = "unanswered", "refused"
"""Kinds of failed calls, beside the faults of answers: no answer came, or the server does not take this request."""


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a side has no answer to learn: a word to count by, and a sentence for the list of rejects."""

    kind: str
    reason: str


def request_of(side: Side) -> str:
    """What a side asks or says, on one line and without markers of pictures; empty where there is nothing but those."""
    return " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())


def prompt(side: Side) -> str:
    """The words that go with a side's pictures."""
    return PROMPT.format(request=request_of(side) or "(none)")


class Teacher:
    """Answers by side identity. What the model says goes to the journal as it comes; what is wrong with it, or with its call,
    stands in `failures`.

    An answer that is in the journal is not asked for again, but for one that was cut short below the present limit of tokens.
    A failed call is in no journal: it is made again by the next Teacher.
    """

    def __init__(self, client: ChatClient, journal: Journal, *, workers: int) -> None:
        self.journal = journal
        self.failures: dict[str, Failure] = {}
        self.asked = 0
        self._is_stopped = threading.Event()
        self._client, self._workers = replace(client, pause=partial(self._pause, client)), workers
        self._pool = ThreadPoolExecutor(workers)
        self._pending: dict[Future[Answer], tuple[str, str]] = {}
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
        """Ask about a side unless its answer is known or on its way, and return its identity. Waits while too many are."""
        if any(future.done() for future in self._pending):
            self._collect()  # before a long way of known sides: a kill must not cost what has come
        identity = side_identity(side, asked=(PROMPT, self._client.model))
        if identity in self.failures or identity in self._awaited:
            return identity
        known = self.journal.answers.get(identity)
        if known is not None and not self._may_now_be_whole(known):
            self._judge(identity, known, request_of(side))
            return identity
        while len(self._pending) >= self._workers * _PENDING_PER_WORKER:
            self._collect()
        self._pending[self._pool.submit(self._client.complete, prompt(side), side.images)] = identity, request_of(side)
        self._awaited.add(identity)
        return identity

    def finish(self) -> None:
        """Wait for all answers that are on their way."""
        while self._pending:
            self._collect()
        self.journal.sync()

    def _may_now_be_whole(self, answer: Answer) -> bool:
        return answer.finish_reason in RULES.cut_ends and answer.max_tokens < self._client.max_tokens

    def _judge(self, identity: str, answer: Answer, request: str) -> None:
        fault = fault_of(answer, request=request, template=PROMPT)
        if fault is not None:
            self.failures[identity] = Failure(
                fault, f"{WORDS[fault]} (finish_reason {answer.finish_reason!r}): {answer.text[:80]!r}"
            )

    def _collect(self) -> None:
        """Take the answers that have come. Raises ServiceError when the endpoint is down, or was never set up."""
        done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        for future in sorted(done, key=lambda future: future.exception() is not None):  # answers first, as a failure may end it
            identity, request = self._pending.pop(future)
            self._awaited.remove(identity)
            try:
                answer = future.result()
            except RefusedError as error:
                self._unanswered_in_a_row = 0
                self.failures[identity] = Failure(REFUSED, str(error))
            except ServiceError as error:
                self._note_unanswered(identity, error)
            else:
                self.asked, self._unanswered_in_a_row = self.asked + 1, 0
                self.journal.record(identity, answer)
                self._judge(identity, answer, request)

    def _note_unanswered(self, identity: str, error: ServiceError) -> None:
        """Raise ServiceError where no call can be answered: the first one meets a wrong key or address, or none is for long."""
        self.failures[identity] = Failure(UNANSWERED, str(error))
        self._unanswered_in_a_row += 1
        if isinstance(error, EndpointSetupError) and not self.asked:
            raise error
        if self._unanswered_in_a_row >= _HOPELESS_FAILURES:
            raise ServiceError(
                f"{self._unanswered_in_a_row} sides in a row had no answer ({error}); the {len(self.journal.answers)} answers so "
                "far are kept: run the same command again when the endpoint is up"
            ) from error
