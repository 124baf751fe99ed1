"""The vision-language model that is asked about sides with pictures, and the way from a side's script to its outcome."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Protocol, TypeVar

from data_prep.qa_filters import Fault
from data_prep.qa_kinds import Kind
from data_prep.qa_script import Failure, Told
from pipeline.chat import (
    UNANSWERED,
    AnsweringModel,
    ChatEngine,
    EndpointList,
    Failed,
    Journal,
    LocalEngine,
    Patience,
    Sampling,
    Script,
    Totals,
    checked_key,
    key_from_environment,
)
from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import fingerprint
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
        return _sampling(kind, self.answer_tokens)

    def asker(self, kind: Kind, journal: Journal) -> ChatEngine:
        """An engine over the addresses, with the time that an answer of the kind may take."""
        patience = self.patience or Patience(timeout_seconds=kind.timeout_seconds, most_in_flight=self.workers)
        return ChatEngine(EndpointList(self.urls), model=self.model, journal=journal, patience=patience)


@dataclass(frozen=True, kw_only=True)
class LocalTeacher:
    """A model folder that answers in this process, on the GPU where there is one. It is loaded when it is first asked.

    `answer_tokens` None: each kind has its own. `option` is what the user named it with.
    """

    folder: Path
    answer_tokens: int | None = None
    option: str = "--local"

    def __post_init__(self) -> None:
        """Raises CheckpointError for a folder without a model."""
        if not (self.folder / "config.json").is_file():
            raise CheckpointError(
                f"{self.option} {self.folder}: no config.json in it, so it is not a model folder; name one, such as a downloaded "
                "Qwen2.5-VL-3B-Instruct"
            )

    @cached_property
    def model(self) -> str:
        """The folder's name and what all of its files hold: a copy elsewhere is the same model."""
        from pipeline.model.backbone import folder_digests  # pulls in torch, which --help must not wait for

        return f"{self.folder.resolve().name} {fingerprint(folder_digests(self.folder))[:12]}"

    def sampling(self, kind: Kind) -> Sampling:
        """As the kind is asked, with the user's limit of tokens."""
        return _sampling(kind, self.answer_tokens)

    def asker(self, kind: Kind, journal: Journal) -> AbstractContextManager[Asker]:
        """As `engine`, whatever the kind."""
        return nullcontext(self.engine(journal))

    def engine(self, journal: Journal) -> LocalEngine:
        """An engine over the model. Raises CheckpointError for a folder whose model does not load."""
        return LocalEngine(self._loaded, name=self.model, journal=journal)

    @cached_property
    def _loaded(self) -> AnsweringModel:
        from pipeline.chat_model import ChatModel
        from pipeline.model.device import usual_place

        device, dtype = usual_place()
        return ChatModel.load(self.folder, device=device, dtype=dtype)


def refuse_both(urls: Sequence[str], local: object | None) -> None:
    """Raise ConfigError where endpoints and a folder are named at once."""
    if urls and local is not None:
        raise ConfigError("--local: a model folder answers in place of an endpoint; leave --url out, or --local")


def _sampling(kind: Kind, answer_tokens: int | None) -> Sampling:
    return Sampling(max_tokens=answer_tokens or kind.max_tokens, temperature=kind.temperature)


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
