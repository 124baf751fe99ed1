"""Scripts that are followed side by side: each hears what the journal knows, and of the rest every key is asked for once."""

from collections.abc import Callable, Generator, Iterator
from typing import Any, TypeVar

from pipeline.chat.journal import Failed, Journal
from pipeline.chat.reply import Answer
from pipeline.chat.request import ChatRequest, content_key

T = TypeVar("T")

Script = Generator[ChatRequest, Answer | Failed, T]
"""Says requests one after another, each with the answer to the one before it in hand, and returns how it ended."""


class FollowedScripts:
    """Scripts on their way. `ask` is told the key and the request of what the journal lacks, once a key until it has come."""

    def __init__(self, journal: Journal, model: str, ask: Callable[[str, ChatRequest], None]) -> None:
        self._journal, self._model, self._ask = journal, model, ask
        self._asked_by: dict[str, list[Script[Any]]] = {}
        self.waiting = 0

    def go_on(self, script: Script[T], answer: Answer | Failed | None = None) -> Iterator[T]:
        """Follow a script as far as answers are known, and ask for the first that is not. Yields its end."""
        try:
            while True:
                request = next(script) if answer is None else script.send(answer)
                key = request.key or content_key(request, self._model)
                answer = None if key in self._asked_by else self._journal.known(key, request.sampling.max_tokens)
                if answer is None:
                    self._wait(script, key, request)
                    return
        except StopIteration as end:
            yield end.value

    def came(self, key: str, outcome: Answer | Failed) -> Iterator[Any]:
        """Hand what came of a key to all who asked for it; yields the ends of those that it ends."""
        if isinstance(outcome, Failed):
            self._journal.note_failed(key, outcome)
        for script in self._asked_by.pop(key):
            self.waiting -= 1
            yield from self.go_on(script, outcome)

    def leave(self) -> None:
        """Forget who waits: what has been asked for is told to nobody when it comes."""
        self._asked_by = {key: [] for key in self._asked_by}
        self.waiting = 0

    def _wait(self, script: Script[Any], key: str, request: ChatRequest) -> None:
        if key not in self._asked_by:
            self._ask(key, request)
            self._asked_by[key] = []
        self._asked_by[key].append(script)
        self.waiting += 1
