"""Stage `judge`: which of a phase's mined candidates a served model holds for no answer to their query."""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from data_prep import scene_server
from data_prep.negatives.judge_words import VERSION
from data_prep.negatives.judging import (
    judge_references,
    read_verdicts,
    refuse_unjudged,
    take_exempt,
    write_verdicts,
)
from data_prep.qa_teacher import Asker, LocalTeacher, addresses
from data_prep.toy_world import FACTS
from eval.negatives_page import Found, write_negatives_page
from jobs.defaults import JUDGE, MAX_UNJUDGED
from jobs.mine import SHEET, STATISTICS
from jobs.stage import Context, Input, Result, Writing
from jobs.train import TrainStage, judged_folder, mined_folder
from pipeline.chat import ChatEngine, EndpointList, Journal, LocalEngine, Patience
from pipeline.data.references import read_references, references_file, verdicts_file
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError
from pipeline.manifest import Manifest, file_digest, fingerprint, write_atomic
from pipeline.negatives import Judged
from pipeline.tracking import Tracker

JOURNAL = "answers.jsonl"


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeStage:
    """Asks about each mined pair of a query and a candidate. Stopped at any moment, it goes on with those that have no answer.

    `url` are addresses and files of addresses of a vision-language model that tells log-probabilities. Without any, `model` may
    be a model folder, which judges in this process; over the toy world a loopback server that knows the scenes stands in.
    `workers` None: calls in flight as each endpoint takes them. More than the share `max_unjudged` of pairs without a verdict
    stop the stage.
    """

    train: TrainStage
    url: tuple[str, ...] = ()
    model: str = JUDGE
    workers: int | None = None
    max_unjudged: float = MAX_UNJUDGED
    writing: Writing = field(default=Writing.KEEP)

    def __post_init__(self) -> None:
        """Raises ConfigError where nothing is judged, or nobody could be asked: not after days of training in front of it."""
        recipe, _ = self.train.recipe, self.negatives
        done = self.folder.is_dir() and Manifest.read(self.folder) is not None
        if not (self.url or self._local or self._is_toy or done):
            raise ConfigError(
                f"--judge-url: phase {recipe.phase.name} takes judged negatives, and nobody judges; give the address of a model "
                "that tells log-probabilities, name a model folder with --judge, or take mined ones: "
                f"--set {recipe.phase_path}.negatives=Mined"
            )
        if self.url:
            EndpointList(addresses(self.url))

    @property
    def context(self) -> Context:
        """What the phase's training has."""
        return self.train.context

    @property
    def negatives(self) -> Judged:
        """What the phase asks for. Raises ConfigError where that is nothing that is judged."""
        recipe = self.train.recipe
        if not isinstance(recipe.phase.negatives, Judged):
            raise ConfigError(
                f"{recipe.phase_path}.negatives: phase {recipe.phase.name} has none judged; "
                f"--set {recipe.phase_path}.negatives=Judged asks for them"
            )
        return recipe.phase.negatives

    @property
    def name(self) -> str:
        """`judge-<phase>`."""
        return self.folder.name

    @property
    def folder(self) -> Path:
        """References, one file a dataset, the verdicts behind them, statistics, a contact sheet, and the journal of answers."""
        return judged_folder(self.context.work, self.train.recipe)

    def inputs(self) -> Mapping[str, Input]:
        """The shards, and what was mined."""
        recipe = self.train.recipe
        mined = Input(path=mined_folder(self.context.work, recipe), made_by=f"mine --phase {recipe.phase.name}")
        return {"shards": Input(path=self.context.shards, made_by="convert"), "mined": mined}

    def settings(self) -> Mapping[str, object]:
        """What is asked, of whom, and what is counted as few. The address is a matter of the machine."""
        return {"negatives": self.negatives, "judge": self._judge, "words": VERSION}

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Judge dataset after dataset. Raises DataError for damaged shards, ServiceError where too many have no verdict."""
        index, mined = ShardIndex.open(self.context.shards), self.inputs()["mined"].path
        names = [name for name in index.datasets if references_file(mined, name).is_file()]
        with Journal(out / JOURNAL) as journal, self._asked(journal) as engine:
            statistics = {name: self._judged(out, mined, index, name, engine) for name in names}
        refuse_unjudged(list(statistics.values()), self.max_unjudged)
        write_atomic(out / STATISTICS, json.dumps(statistics, indent=1) + "\n")
        write_negatives_page(out / SHEET, index, self._found(out, names), seed=self.train.recipe.seed)
        counts = {each: sum(one.get(each, 0) for one in statistics.values()) for each in _COUNTED}
        content = {name: file_digest(references_file(out, name)) for name in names}
        return Result(counts={**counts, "asked": engine.totals.answers}, content=fingerprint(content))

    def _judged(self, out: Path, mined: Path, index: ShardIndex, name: str, engine: Asker) -> dict[str, Any]:
        if name in self.negatives.exempt:
            return take_exempt(mined, out, name)
        references = read_references(references_file(mined, name))
        verdicts = judge_references(index, name, references, engine, progress=self._watched)
        write_verdicts(out, name, verdicts)
        return verdicts.counts(self.negatives.most)

    def _found(self, out: Path, names: list[str]) -> dict[str, Found]:
        """What the contact sheet draws of: verdicts, and references of datasets that are exempt."""
        found = {}
        for name in names:
            if name in self.negatives.exempt:
                found[name] = Found(references=read_references(references_file(out, name)))
            else:
                verdicts = read_verdicts(verdicts_file(out, name))
                found[name] = Found(references=verdicts.references, margins=verdicts.margins)
        return found

    def _watched(self, dataset: str, done: int, total: int) -> None:
        self.context.progress(self.name, done, total, f"{dataset}, pairs judged")

    @property
    def _is_toy(self) -> bool:
        return self.context.data == self.context.toy

    @property
    def _judge(self) -> str:
        """Name of the model that judges."""
        if self._local is not None:
            return self._local.model
        return scene_server.MODEL_NAME if self._is_toy and not self.url else self.model

    @property
    def _local(self) -> LocalTeacher | None:
        """A model of this process, where a folder is named and no address. Raises CheckpointError for one without a model."""
        return LocalTeacher(folder=Path(self.model), option="--judge") if not self.url and Path(self.model).is_dir() else None

    @contextlib.contextmanager
    def _asked(self, journal: Journal) -> Iterator[ChatEngine | LocalEngine]:
        """What asks the judge."""
        if self._local is not None:
            yield self._local.engine(journal)
            return
        patience = Patience(most_in_flight=self.workers)
        with (
            self._endpoints() as urls,
            ChatEngine(EndpointList(addresses(urls)), model=self._judge, journal=journal, patience=patience) as engine,
        ):
            yield engine

    @contextlib.contextmanager
    def _endpoints(self) -> Iterator[tuple[str, ...]]:
        """The addresses to ask: the user's, or the toy world's server for as long as it is needed."""
        if self.url:
            yield self.url
            return
        with scene_server.serve(self.context.data / FACTS) as url:
            yield (url,)


_COUNTED = ("pairs", "negatives", "positives", "fewer")
