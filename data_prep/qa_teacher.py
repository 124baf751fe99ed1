"""The vision-language model that is asked about sides with pictures, and the way from a side's script to its outcome."""

from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol, TypeVar

from data_prep.qa_filters import Fault
from data_prep.qa_kinds import Kind
from data_prep.qa_script import Failure, Told
from pipeline.chat import (
    UNANSWERED,
    ChatEngine,
    EndpointList,
    Failed,
    Journal,
    Patience,
    Sampling,
    Script,
    Totals,
    checked_key,
    key_from_environment,
)
from pipeline.sample import Side

T = TypeVar("T")
JOURNAL_NAME = "answers.jsonl"
ASKED_AGAIN = frozenset(Fault) - {Fault.WITHHELD, Fault.UNKNOWN_END}
"""Faults that another draw may be without, for a kind that asks again; what a server withholds it withholds again."""
NOT_ASKED = Failed(UNANSWERED, "not asked yet")


class Asker(Protocol):
    """Whoever follows scripts to their ends, with answers out of a journal or into it."""

    totals: Totals

    def run(self, scripts: Iterable[Script[T]]) -> Iterator[T]:
        """What each script returns, as they end."""


class Teacher(Protocol):
    """A model by its name, and how it is asked."""

    @property
    def model(self) -> str:
        """Part of every key: answers of another model are other answers."""

    def sampling(self, kind: Kind) -> Sampling:
        """How answers of a kind are drawn."""

    def asker(self, kind: Kind, journal: Journal) -> AbstractContextManager[Asker]:
        """What asks it, while the block runs."""


def addresses(given: Iterable[str]) -> tuple[str | Path, ...]:
    """What a user gave as `--url`: an address has a scheme, anything else is a file of addresses."""
    return tuple(one if "://" in one else Path(one) for one in given)


def journals_beside(place: Path, name: str = JOURNAL_NAME) -> list[Path]:
    """The journals of a kind's folder but for one."""
    return [path for path in sorted(place.glob("answers*.jsonl")) if path.name != name]


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedTeacher:
    """A model behind OpenAI-compatible endpoints: addresses, or a file of them that may change while they are asked.

    `answer_tokens` None: each kind has its own. `workers` None: as many calls in flight as an endpoint answers without a queue.
    """

    urls: tuple[str | Path, ...]
    model: str
    answer_tokens: int | None = None
    workers: int | None = None
    patience: Patience | None = None

    def __post_init__(self) -> None:
        """Raises ConfigError for an address, file of addresses or key that cannot be used."""
        EndpointList(self.urls)
        checked_key(key_from_environment())

    def sampling(self, kind: Kind) -> Sampling:
        """As the kind is asked, with the user's limit of tokens."""
        return Sampling(max_tokens=self.answer_tokens or kind.max_tokens, temperature=kind.temperature)

    def asker(self, kind: Kind, journal: Journal) -> ChatEngine:
        """An engine over the addresses, with the time that an answer of the kind may take."""
        patience = self.patience or Patience(timeout_seconds=kind.timeout_seconds, most_in_flight=self.workers)
        return ChatEngine(EndpointList(self.urls), model=self.model, journal=journal, patience=patience)


def outcome_of(side: Side, kind: Kind, *, model: str, sampling: Sampling) -> Script[Told | Failure]:
    """The kind's script of a side in the words of the chat: it ends at the first request without an answer.

    An answer that is no target is asked for again at another seed, `kind.again` times at most; the script hears of the last.
    """
    script = kind.script(side)
    request = next(script)
    while True:
        answer = yield request.chat(model, sampling)
        for seed in range(1, kind.again + 1):
            if isinstance(answer, Failed) or request.fault_of(answer) not in ASKED_AGAIN:
                break
            answer = yield replace(request, seed=seed).chat(model, sampling)
        if isinstance(answer, Failed):
            return Failure(answer.kind, answer.reason)
        try:
            request = script.send(answer)
        except StopIteration as end:
            return end.value


def follow(script: Script[T], journal: Journal) -> T:
    """How a script ends with what a journal has; what it lacks has not been asked yet."""
    answer = None
    while True:
        try:
            request = next(script) if answer is None else script.send(answer)
        except StopIteration as end:
            return end.value
        answer = journal.known(request.key, request.sampling.max_tokens) or NOT_ASKED
