"""Asks a model of this process as `ChatEngine` asks endpoints: many requests at once, each key once, answers journalled."""

from collections.abc import Iterable, Iterator, Sequence
from itertools import chain, repeat
from typing import Protocol, TypeVar

from pipeline.chat.caller import Totals
from pipeline.chat.journal import Failed, Journal
from pipeline.chat.reply import Answer
from pipeline.chat.request import ChatRequest
from pipeline.chat.scripts import FollowedScripts, Script

T = TypeVar("T")

MOST_WAITING = 256
"""Scripts that wait at the same time: of so many requests those of like length are answered together."""


class AnsweringModel(Protocol):
    """A model that answers many requests, in an order of its own."""

    def answers(self, requests: Sequence[tuple[str, ChatRequest]]) -> Iterator[tuple[str, Answer | Failed]]:
        """Each key with what became of its request, as they come."""


class LocalEngine:
    """Answers from the journal, else from the model.

    A request that failed is not written down: it is made again by the next engine, and once by this one however many ask for it.
    An answer that was cut short is asked for again under a higher limit of tokens. `totals` counts what came in this run.
    """

    def __init__(self, model: AnsweringModel, *, name: str, journal: Journal) -> None:
        """`name` is the model's, for requests without a key of their own."""
        self.totals = Totals()
        self._model, self._journal = model, journal
        self._asked: dict[str, ChatRequest] = {}
        self._scripts = FollowedScripts(journal, name, self._asked.__setitem__)

    def run(self, scripts: Iterable[Script[T]]) -> Iterator[T]:
        """What each script returns, as they end. Equal requests of several scripts are answered once."""
        rest: Iterator[Script[T] | None] = chain(scripts, repeat(None))
        while True:
            while self._scripts.waiting < MOST_WAITING and (script := next(rest)) is not None:
                yield from self._scripts.go_on(script)
            if not self._asked:
                return
            asked = list(self._asked.items())
            self._asked.clear()
            for key, outcome in self._model.answers(asked):
                self._count(key, outcome)
                yield from self._scripts.came(key, outcome)
            self._journal.sync()

    def _count(self, key: str, outcome: Answer | Failed) -> None:
        """Keep an answer before anybody hears of it."""
        self.totals.calls += 1
        if isinstance(outcome, Failed):
            self.totals.failed += 1
            return
        self._journal.record(key, outcome)
        self.totals.answers += 1
        self.totals.prompt_tokens += outcome.tokens[0]
        self.totals.answer_tokens += outcome.tokens[1]
