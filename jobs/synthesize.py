"""Stage `synthesize`: a question and an answer for each side of every pair."""

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from data_prep import scene_server
from data_prep.qa_filters import RULES
from data_prep.qa_teacher import DESCRIBE, PROMPT
from data_prep.synthesize_qa import synthesize
from data_prep.toy_world import FACTS
from jobs.defaults import ANSWER_TOKENS, MAX_UNANSWERED, TEACHER, TEACHER_WORKERS
from jobs.stage import Context, Input, Result, Writing
from pipeline.chat import ChatClient
from pipeline.data.qa import QaTable
from pipeline.manifest import fingerprint
from pipeline.tracking import Tracker


@dataclass(frozen=True, slots=True, kw_only=True)
class SynthesizeStage:
    """Asks a served vision-language model; over the toy world a loopback server that knows the scenes stands in for it.

    Without `url`, and away from the toy world, only sides without pictures get a turn.
    """

    context: Context
    url: str = ""
    model: str = TEACHER
    workers: int = TEACHER_WORKERS
    answer_tokens: int = ANSWER_TOKENS
    max_unanswered: float = MAX_UNANSWERED
    name: str = "synthesize"
    writing: Writing = Writing.KEEP

    @property
    def folder(self) -> Path:
        """Side files, joined to the shards by key, and the journal of answers."""
        return self.context.qa

    def inputs(self) -> Mapping[str, Input]:
        """The shards."""
        return {"shards": Input(path=self.context.shards, made_by="convert")}

    def settings(self) -> Mapping[str, object]:
        """Who answers, what is asked and which answers are learnt.

        The address is a matter of the machine; whether there is one is not.
        """
        return {
            "teacher": self._teacher,
            "question": DESCRIBE,
            "prompt": PROMPT,
            "answer_tokens": self.answer_tokens,
            "filters": fingerprint(RULES),
        }

    def run(self, out: Path, tracker: Tracker) -> Result:
        """Ask, and write the side files."""

        def report(done: int, total: int, what: str) -> None:
            self.context.progress("synthesize", done, total, what)

        with self._endpoint() as url:
            counts = synthesize(
                self.context.shards,
                out,
                client=ChatClient(url=url, model=self._teacher, max_tokens=self.answer_tokens) if url else None,
                workers=self.workers,
                max_unanswered=self.max_unanswered,
                progress=report,
            )
        return Result(counts=counts, content=QaTable.open(out).fingerprint)

    @property
    def _facts(self) -> Path:
        return self.context.data / FACTS

    @property
    def _teacher(self) -> str:
        """Name of the model that answers; empty where there is none."""
        if self.url:
            return self.model
        return scene_server.MODEL_NAME if self._facts.is_file() else ""

    @contextlib.contextmanager
    def _endpoint(self) -> Iterator[str | None]:
        """The address to ask: the user's, the toy world's server for as long as it is needed, or none."""
        if self.url or not self._facts.is_file():
            yield self.url or None
            return
        with scene_server.serve(self._facts) as url:
            yield url
