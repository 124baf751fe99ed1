"""Who judges: nobody (the rules alone), a chat model behind endpoints, or a model folder in this process."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

from eval.judges.wording import VERSION
from pipeline.chat import Answer, ChatEngine, ChatRequest, EndpointList, Journal, Patience, Script
from pipeline.chat.engine import PATIENCE
from pipeline.errors import ConfigError
from pipeline.manifest import file_digest, fingerprint

if TYPE_CHECKING:
    from pipeline.model.text_model import TextModel

EXACT = "exact"
"""The judge that there is without any: rules alone, which give the same every time."""

T = TypeVar("T")


class Judge(Protocol):
    """Answers scripts of requests. Its name stands in every result."""

    @property
    def name(self) -> str:
        """The model, and the version of the words it is asked with."""

    @property
    def model(self) -> str:
        """The model alone."""

    def run(self, scripts: Iterable[Script[T]], folder: Path) -> Iterator[T]:
        """What each script returns, as they end; replies are kept in a journal of the folder and asked for once."""


def journal_path(folder: Path, model: str) -> Path:
    """Where a judge's replies are kept."""
    return folder / f"judge-{fingerprint(model)[:12]}.jsonl"


@dataclass(frozen=True, slots=True)
class EndpointJudge:
    """A chat model behind one or several OpenAI-compatible endpoints."""

    model: str
    urls: Sequence[str | Path]
    patience: Patience = PATIENCE

    @property
    def name(self) -> str:
        """Without the address: another server of the same model is the same judge."""
        return f"{self.model}, words {VERSION}"

    def run(self, scripts: Iterable[Script[T]], folder: Path) -> Iterator[T]:
        """As Judge.run, many at once. Raises ServiceError where no endpoint answers."""
        with (
            Journal(journal_path(folder, self.model)) as journal,
            ChatEngine(EndpointList(self.urls), model=self.model, journal=journal, patience=self.patience) as engine,
        ):
            yield from engine.run(scripts)


@dataclass(slots=True)
class LocalJudge:
    """A causal language model of a folder, in this process."""

    folder: Path
    device: str | None = None
    dtype: Any = None
    _loaded: "TextModel | None" = None

    @property
    def model(self) -> str:
        """The folder's name and what its configuration holds."""
        return f"{self.folder.resolve().name} {file_digest(self.folder / 'config.json')[:8]}"

    @property
    def name(self) -> str:
        """The model and the words."""
        return f"{self.model}, words {VERSION}"

    def run(self, scripts: Iterable[Script[T]], folder: Path) -> Iterator[T]:
        """As Judge.run, one after the other."""
        with Journal(journal_path(folder, self.model)) as journal:
            for script in scripts:
                yield self._run_one(script, journal)

    def _run_one(self, script: Script[T], journal: Journal) -> T:
        try:
            request = next(script)
            while True:
                answer = journal.get(request.key)
                if answer is None:
                    answer = self._ask(request)
                    journal.record(request.key, answer)
                request = script.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def _ask(self, request: ChatRequest) -> Answer:
        if self._loaded is None:
            from pipeline.model.device import usual_place
            from pipeline.model.text_model import TextModel

            device, dtype = usual_place(self.device, self.dtype)
            self._loaded = TextModel.load(self.folder, device=device, dtype=dtype)
        sampling = request.sampling
        seed = int(fingerprint(request.key)[:8], 16)  # one a try: the same words may be asked again
        text = self._loaded.complete(request.text, max_tokens=sampling.max_tokens, temperature=sampling.temperature, seed=seed)
        return Answer(text=text, finish_reason="stop", max_tokens=sampling.max_tokens)


def judge_of(name: str, urls: Sequence[str], *, device: str | None = None, dtype: Any = None) -> Judge | None:
    """The judge that `--judge` and `--judge-url` name: None for `exact`, a folder for one in this process, else a served model.

    Raises ConfigError for a model without an address, or an address without a model.
    """
    if name == EXACT:
        if urls:
            raise ConfigError("--judge-url: name the model that is served there with --judge")
        return None
    if urls:
        return EndpointJudge(name, [Path(url) if Path(url).is_file() else url for url in urls])
    if (Path(name) / "config.json").is_file():
        return LocalJudge(Path(name), device, dtype)
    raise ConfigError(f"--judge {name}: neither {EXACT} nor a model folder; name the address that serves it with --judge-url")
