"""A question and an answer for each side of every pair (CREM's homogeneous data), as side files joined by key.

A side without a picture is asked to reconstruct its text, which needs no model. A side with pictures is described by a
vision-language model behind an OpenAI-compatible endpoint. Answers are journalled as they come: a run that was killed goes on.
Answers that are no target (qa_filters) stay in the journal and are rejects here: an old journal is cleaned as it is joined.
"""

import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, fields
from pathlib import Path
from typing import Any

import click

from data_prep.qa_journal import Journal
from data_prep.qa_teacher import DESCRIBE, Failure, Teacher
from pipeline.chat import MAX_ANSWER_TOKENS, ChatClient
from pipeline.data.keys import source_row
from pipeline.data.qa import QaEntry, write_qa
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, PipelineError, ServiceError
from pipeline.manifest import write_atomic
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import RECONSTRUCT_TEXT

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (sides done, sides in all, what is being done)."""

MAX_UNANSWERED = 0.01
"""Share of the sides with pictures that may stay without an answer to learn: more, and something is wrong with the teacher."""

JOURNAL_NAME = "answers.jsonl"
REJECTS_NAME = "rejects.jsonl"
NO_MODEL = "skipped"
"""Stands for the identity of a side with pictures where no endpoint was given."""
_VOID = Failure("void", "neither picture nor text")


@dataclass(slots=True, kw_only=True)
class Counts:
    """What became of the sides: `read` is the sum of `reconstructed`, `described`, `skipped` (no endpoint) and `rejected`.

    `unmarked` of the described have an answer without finish_reason, which may have been cut short: nobody can tell. `asked`
    counts the answers that came in this run: equal sides are asked once, and answers of earlier runs are kept. `reasons` are
    the rejected by kind: a fault of the answer (qa_filters), a failed call (qa_teacher), or `void`, neither picture nor text.
    """

    read: int = 0
    reconstructed: int = 0
    described: int = 0
    unmarked: int = 0
    skipped: int = 0
    rejected: int = 0
    asked: int = 0
    reasons: Counter[str] = field(default_factory=Counter)

    def by_name(self) -> dict[str, int]:
        """The numbers by their names; of the reasons those that occurred, as `rejected_<kind>`."""
        numbers = {item.name: getattr(self, item.name) for item in fields(self) if item.name != "reasons"}
        return numbers | {f"rejected_{kind}": count for kind, count in sorted(self.reasons.items())}


@dataclass(frozen=True, slots=True)
class _Plan:
    """A side waiting for its answer: its own text, or the identity under which the teacher was asked."""

    text: str = ""
    identity: str = ""


def synthesize(
    shards: Path,
    out: Path,
    *,
    client: ChatClient | None,
    workers: int = 8,
    max_unanswered: float = MAX_UNANSWERED,
    progress: Progress = lambda done, total, what: None,
) -> dict[str, int]:
    """Write a QA side file for every dataset of pairs in `shards` and return the counts by name (see Counts).

    Without a client only sides without pictures get a turn. A side whose call failed, or whose answer is no target, is a counted
    reject, written with its reason to rejects.jsonl; failed calls are made again when this is called again.

    Raises ServiceError when the endpoint seems down, or when more than a share of `max_unanswered` of the sides with pictures
    have no answer to learn, for whatever reason; PipelineError where another process synthesizes into `out`.
    """
    if workers < 1:
        raise ConfigError(f"--workers {workers}: must be at least 1")
    index = ShardIndex.open(shards)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal(out / JOURNAL_NAME))  # also the lock of the folder
        teacher = stack.enter_context(Teacher(client, journal, workers=workers)) if client else None
        if not teacher:
            logger.warning("no --url: only sides without pictures get a question; sides with pictures are counted as skipped")
        synthesis = _Synthesis(index, out, teacher, progress)
        counts = synthesis.run()
    synthesis.refuse_unanswered(max_unanswered)
    return counts.by_name()


class _Synthesis:
    """One pass over the corpus, dataset by dataset: ask ahead, then write what came back in row order."""

    def __init__(self, index: ShardIndex, out: Path, teacher: Teacher | None, progress: Progress) -> None:
        self._index, self._out, self._teacher, self._progress = index, out, teacher, progress
        self._datasets = {name: rows for name, rows in sorted(index.datasets.items()) if index.kind(name) == "pairs"}
        self._total = 2 * sum(map(len, self._datasets.values()))
        self._counts = Counts()
        self._rejects: list[Reject] = []

    def run(self) -> Counts:
        """All datasets of pairs."""
        for name, rows in self._datasets.items():
            before = Counter(self._counts.reasons)
            plans = [self._plan(self._index.read(row)) for row in rows]
            if self._teacher:
                self._teacher.finish()
            write_qa(self._rows(name, plans), self._out, dataset=name)
            if rejected := self._counts.reasons - before:
                logger.warning("%s: %d of %d sides get no question: %s", name, rejected.total(), 2 * len(rows), _listed(rejected))
        if self._counts.unmarked:
            logger.warning(
                "%d sides are described by answers without finish_reason: any that was cut short cannot be told, and is learnt",
                self._counts.unmarked,
            )
        lines = (json.dumps(asdict(reject)) + "\n" for reject in self._rejects)
        write_atomic(self._out / REJECTS_NAME, "".join(lines))
        self._counts.asked = self._teacher.asked if self._teacher else 0
        return self._counts

    def refuse_unanswered(self, share: float) -> None:
        """Raise ServiceError where more than this share of the sides with pictures has no answer: few may be lost, not many."""
        lacking = Counter(self._counts.reasons)
        del lacking[_VOID.kind]
        asked = self._counts.described + lacking.total()
        if lacking.total() > share * asked:
            raise ServiceError(
                f"{lacking.total()} of {asked} sides with pictures have no answer to learn ({_listed(lacking)}), for the reasons "
                f"in {self._out / REJECTS_NAME}; run the same command again for those unanswered or refused, with more "
                "--answer-tokens for those cut, or raise --max-unanswered to do without them"
            )

    def _plan(self, sample: Sample) -> tuple[str, _Plan, _Plan]:
        assert sample.positive is not None, "a dataset of pairs has positives"
        plans = sample.key, self._side_plan(sample.query), self._side_plan(sample.positive)
        self._counts.read += 2
        self._progress(self._counts.read, self._total, sample.dataset)
        return plans

    def _side_plan(self, side: Side) -> _Plan:
        if side.is_text_only:
            return _Plan(text=side.text)
        return _Plan(identity=self._teacher.want(side) if self._teacher else NO_MODEL)

    def _rows(self, dataset: str, plans: list[tuple[str, _Plan, _Plan]]) -> Iterator[QaEntry]:
        for key, query, positive in plans:
            yield QaEntry(
                key=key,
                query=self._turns(query, dataset=dataset, key=key, side="query"),
                positive=self._turns(positive, dataset=dataset, key=key, side="positive"),
            )

    def _turns(self, plan: _Plan, *, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        """The turn of a side, if it got an answer; counted either way."""
        if plan.identity == NO_MODEL:
            self._counts.skipped += 1
            return ()
        if not plan.identity and plan.text.strip():
            self._counts.reconstructed += 1
            return (Turn(question=RECONSTRUCT_TEXT, answer=plan.text),)
        failure = self._teacher.failures.get(plan.identity) if self._teacher and plan.identity else _VOID
        if self._teacher and failure is None:
            answer = self._teacher.journal.answers[plan.identity]
            self._counts.described += 1
            self._counts.unmarked += not answer.finish_reason
            return (Turn(question=DESCRIBE, answer=answer.text),)
        assert failure is not None, "without a teacher, sides with pictures are skipped"
        self._counts.rejected += 1
        self._counts.reasons[failure.kind] += 1
        self._rejects.append(Reject(source=dataset, row=source_row(key), key=key, reason=f"{side}: {failure.reason}"))
        return ()


def _listed(reasons: Counter[str]) -> str:
    """Numbers by kind, the largest first: "3 cut, 1 refusal"."""
    return ", ".join(f"{count} {kind}" for kind, count in reasons.most_common())


@click.command(context_settings={"show_default": True})
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder of shards that `crem convert` wrote.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the QA side files and the journal.")
@click.option(
    "--url", help="Base address of the endpoint, such as http://127.0.0.1:8000/v1. Without it, no picture is described."
)
@click.option("--model", default="Qwen/Qwen2.5-VL-7B-Instruct", help="Model name that the endpoint serves.")
@click.option("--workers", default=8, help="Calls in flight at the same time.")
@click.option("--answer-tokens", type=click.IntRange(1), default=MAX_ANSWER_TOKENS, help="Tokens that an answer may have.")
@click.option(
    "--max-unanswered", type=click.FloatRange(0, 1), default=MAX_UNANSWERED, help="Share of pictures that may stay without one."
)
def main(shards: Path, out: Path, url: str | None, model: str, answer_tokens: int, **given: Any) -> None:
    """Synthesize a question and an answer for each side of every pair.

    The key of the endpoint, if it needs one, is read from CREM_API_KEY. Stopped at any moment, the same command goes on
    without asking anything twice.

    \b
    Example, with a model served by vLLM:
      vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000
      python -m data_prep.synthesize_qa --shards work/shards --out work/qa --url http://127.0.0.1:8000/v1
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        client = ChatClient(url=url, model=model, max_tokens=answer_tokens) if url else None
        counts = synthesize(shards, out, client=client, progress=_progress_line, **given)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file system'}: {error.strerror or error}") from error
    click.echo(json.dumps(counts))


def _progress_line(done: int, total: int, what: str) -> None:
    """A line that rewrites itself on a terminal; one a tenth of the way elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r{what}: {done}/{total}\x1b[K", nl=done == total, err=True)
    elif total and done * 10 // total != (done - 2) * 10 // total:
        click.echo(f"{what}: {done}/{total}", err=True)


if __name__ == "__main__":
    main()
