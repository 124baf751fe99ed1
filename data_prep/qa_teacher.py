"""The vision-language model that describes sides with pictures: asked in threads, each distinct side once."""

import threading
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from dataclasses import replace
from functools import partial
from types import TracebackType

from data_prep.qa_journal import Journal, side_identity
from pipeline.chat import ChatClient
from pipeline.errors import ServiceError
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


def prompt(side: Side) -> str:
    """The words that go with a side's pictures."""
    request = " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())
    return PROMPT.format(request=request or "(none)")


class Teacher:
    """Answers by side identity. Answers go to the journal as they come, reasons of failed calls to `failures`."""

    def __init__(self, client: ChatClient, journal: Journal, *, workers: int) -> None:
        self.journal = journal
        self.failures: dict[str, str] = {}
        self.asked = 0
        self._is_stopped = threading.Event()
        self._client, self._workers = replace(client, pause=partial(self._pause, client)), workers
        self._pool = ThreadPoolExecutor(workers)
        self._pending: dict[Future[str], str] = {}
        self._failed_in_a_row = 0

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
        identity = side_identity(side, asked=(PROMPT, self._client.model))
        known = identity in self.journal.answers or identity in self.failures or identity in self._pending.values()
        if not known:
            while len(self._pending) >= self._workers * _PENDING_PER_WORKER:
                self._collect()
            self._pending[self._pool.submit(self._client.complete, prompt(side), side.images)] = identity
        return identity

    def finish(self) -> None:
        """Wait for all answers that are on their way."""
        while self._pending:
            self._collect()
        self.journal.sync()

    def _collect(self) -> None:
        """Take the answers that have come. Raises ServiceError when call after call fails: the endpoint is down."""
        done, _ = wait(self._pending, return_when=FIRST_COMPLETED)
        for future in done:
            identity = self._pending.pop(future)
            try:
                self.journal.record(identity, future.result())
            except ServiceError as error:
                self._note_failure(identity, error)
            else:
                self.asked, self._failed_in_a_row = self.asked + 1, 0

    def _note_failure(self, identity: str, error: ServiceError) -> None:
        self.failures[identity] = str(error)
        self._failed_in_a_row += 1
        if self._failed_in_a_row >= _HOPELESS_FAILURES:
            raise ServiceError(
                f"{self._failed_in_a_row} sides in a row had no answer ({error}); the {len(self.journal.answers)} answers so far "
                "are kept: run the same command again when the endpoint is up"
            ) from error
