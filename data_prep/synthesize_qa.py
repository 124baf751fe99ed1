"""Questions and answers about the sides of every pair, by a vision-language model, as side files joined by key.

Kind `qa` (CREM's homogeneous data) is one of each a side: a side without a picture is asked to reconstruct its text, which needs
no model. Kinds `dialogue` (CoMa), `caption` and `description` are about its pictures: three to five turns, or one. The model
stands behind an OpenAI-compatible endpoint. Answers are journalled as they come: a run that was killed goes on. Answers that are
no target (qa_filters) stay in the journal and are rejects here: an old journal is cleaned as it is joined.
"""

import contextlib
import json
import logging
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import click

from data_prep.qa_counts import DEFAULT_LIMITS, MAX_UNANSWERED, Counts, Limits, listed
from data_prep.qa_journal import Journal
from data_prep.qa_kinds import BY_NAME, QA, Kind
from data_prep.qa_script import Failure
from data_prep.qa_teacher import Teacher
from pipeline.chat import ChatClient
from pipeline.data.keys import source_row
from pipeline.data.qa import KINDS, QaEntry, QaKind, kind_folder, write_qa
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.errors import PipelineError, ServiceError
from pipeline.manifest import write_atomic
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import RECONSTRUCT_TEXT

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (rows read, rows in all, their dataset)."""

JOURNAL_NAME = "answers.jsonl"
REJECTS_NAME = "rejects.jsonl"
NO_MODEL = "skipped"
"""Stands for the identity of a side with pictures where no endpoint was given."""
_VOID = Failure("void", "neither picture nor text")


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
    kind: Kind = QA,
    limits: Limits = DEFAULT_LIMITS,
    progress: Progress = lambda done, total, what: None,
) -> dict[str, int]:
    """Write a side file of a kind for every dataset of pairs in `shards` and return the counts by name (see Counts).

    Without a client only sides without pictures get a turn. A side whose call failed, or whose answer is no target, is a counted
    reject, written with its reason to rejects.jsonl; failed calls are made again when this is called again.

    Raises ServiceError when the endpoint seems down, or when more than the limit of the sides with pictures have no answer to
    learn, for whatever reason; PipelineError where another process synthesizes into `out`.
    """
    index, place = ShardIndex.open(shards), kind_folder(out, kind.name)
    with contextlib.ExitStack() as stack:
        journal = stack.enter_context(Journal(place / JOURNAL_NAME))  # also the lock of the folder
        teacher = stack.enter_context(Teacher(client, journal, kind=kind, workers=limits.workers)) if client else None
        if not teacher:
            rest = "only sides without pictures get a question; " if kind.texts else ""
            logger.warning("no --url: %ssides with pictures are counted as skipped", rest)
        synthesis = _Synthesis(index, out, kind, teacher, progress)
        counts = synthesis.run()
    synthesis.refuse_unanswered(limits.max_unanswered)
    return counts.by_name()


class _Synthesis:
    """One pass over the corpus, dataset by dataset: ask ahead, then write what came back in row order."""

    def __init__(self, index: ShardIndex, out: Path, kind: Kind, teacher: Teacher | None, progress: Progress) -> None:
        self._index, self._out, self._kind, self._teacher, self._progress = index, out, kind, teacher, progress
        self._datasets = {name: rows for name, rows in sorted(index.datasets.items()) if index.kind(name) == "pairs"}
        self._total, self._done = sum(map(len, self._datasets.values())), 0
        self._counts = Counts()
        self._rejects: list[Reject] = []

    def run(self) -> Counts:
        """All datasets of pairs."""
        for name, rows in self._datasets.items():
            before = Counts(read=self._counts.read, reasons=Counter(self._counts.reasons))
            plans = [self._plan(self._index.read(row)) for row in rows]
            if self._teacher:
                self._teacher.finish()
            write_qa(self._rows(name, plans), self._out, dataset=name, kind=self._kind.name)
            if rejected := self._counts.reasons - before.reasons:
                sides = self._counts.read - before.read
                logger.warning("%s: %d of %d sides get no question: %s", name, rejected.total(), sides, listed(rejected))
        if self._counts.unmarked:
            logger.warning(
                "%d sides are described by answers without finish_reason: any that was cut short cannot be told, and is learnt",
                self._counts.unmarked,
            )
        lines = (json.dumps(asdict(reject)) + "\n" for reject in self._rejects)
        write_atomic(self._rejects_path, "".join(lines))
        self._counts.asked = self._teacher.asked if self._teacher else 0
        return self._counts

    def refuse_unanswered(self, share: float) -> None:
        """Raise ServiceError where more than this share of the sides with pictures has no answer: few may be lost, not many."""
        lacking = Counter(self._counts.reasons)
        del lacking[_VOID.kind]
        asked = self._counts.described + lacking.total()
        if lacking.total() > share * asked:
            raise ServiceError(
                f"{lacking.total()} of {asked} sides with pictures have no answer to learn ({listed(lacking)}), for the reasons "
                f"in {self._rejects_path}; run the same command again for those unanswered or refused, with more "
                "--answer-tokens for those cut, or raise --max-unanswered to do without them"
            )

    @property
    def _rejects_path(self) -> Path:
        return kind_folder(self._out, self._kind.name) / REJECTS_NAME

    def _plan(self, sample: Sample) -> tuple[str, list[_Plan]]:
        plans = [self._side_plan(side) for side in self._kind.sides(sample)]
        self._done += 1
        self._progress(self._done, self._total, sample.dataset)
        return sample.key, plans

    def _side_plan(self, side: Side) -> _Plan:
        if side.is_text_only:
            self._counts.read += self._kind.texts
            return _Plan(text=side.text)
        self._counts.read += 1
        return _Plan(identity=self._teacher.want(side) if self._teacher else NO_MODEL)

    def _rows(self, dataset: str, plans: list[tuple[str, list[_Plan]]]) -> Iterator[QaEntry]:
        for key, sides in plans:
            query, positive, *negatives = (self._turns(plan, dataset, key, number) for number, plan in enumerate(sides))
            yield QaEntry(key=key, query=query, positive=positive, negatives=tuple(negatives))

    def _turns(self, plan: _Plan, dataset: str, key: str, number: int) -> tuple[Turn, ...]:
        """The turns of a side, if it got an answer; counted either way."""
        if not plan.identity and not self._kind.texts:
            return ()
        if plan.identity == NO_MODEL:
            self._counts.skipped += 1
            return ()
        if not plan.identity and plan.text.strip():
            self._counts.reconstructed += 1
            return (Turn(question=RECONSTRUCT_TEXT, answer=plan.text),)
        outcome = self._teacher.outcomes[plan.identity] if self._teacher and plan.identity else _VOID
        if isinstance(outcome, Failure):
            self._counts.rejected += 1
            self._counts.reasons[outcome.kind] += 1
            reason = f"{_side_name(number)}: {outcome.reason}"
            self._rejects.append(Reject(source=dataset, row=source_row(key), key=key, reason=reason))
            return ()
        self._counts.described += 1
        self._counts.unmarked += outcome.unmarked
        self._counts.lengths[len(outcome.turns)] += 1
        self._counts.left_out.update(outcome.left_out)
        return outcome.turns


def _side_name(number: int) -> str:
    """What a side of a sample is called, by its place."""
    return ("query", "positive")[number] if number < 2 else f"negative_{number - 2}"


@click.command(context_settings={"show_default": True})
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder of shards that `crem convert` wrote.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the QA side files and the journal.")
@click.option(
    "--url", help="Base address of the endpoint, such as http://127.0.0.1:8000/v1. Without it, no picture is described."
)
@click.option(
    "--kind", type=click.Choice(KINDS), default=KINDS[0], help="What is asked: of each side, or about its pictures alone."
)
@click.option("--model", default="Qwen/Qwen2.5-VL-7B-Instruct", help="Model name that the endpoint serves.")
@click.option("--workers", default=8, help="Calls in flight at the same time.")
@click.option(
    "--answer-tokens",
    type=click.IntRange(1),
    show_default=", ".join(f"{kind.max_tokens} of {kind.name}" for kind in BY_NAME.values()),
    help="Tokens that an answer may have.",
)
@click.option(
    "--max-unanswered", type=click.FloatRange(0, 1), default=MAX_UNANSWERED, help="Share of pictures that may stay without one."
)
def main(shards: Path, out: Path, url: str | None, kind: QaKind, **given: Any) -> None:
    """Synthesize a question and an answer for each side of every pair, or dialogues, captions or descriptions of pictures.

    The key of the endpoint, if it needs one, is read from CREM_API_KEY. Stopped at any moment, the same command goes on
    without asking anything twice.

    \b
    Examples, with a model served by vLLM:
      vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000
      python -m data_prep.synthesize_qa --shards work/shards --out work/qa --url http://127.0.0.1:8000/v1
      python -m data_prep.synthesize_qa --kind dialogue --shards work/shards --out work/qa --url http://127.0.0.1:8000/v1
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asked, model, answer_tokens = BY_NAME[kind], given.pop("model"), given.pop("answer_tokens")
        client = asked.client(url=url, model=model, max_tokens=answer_tokens) if url else None
        counts = synthesize(shards, out, client=client, kind=asked, limits=Limits(**given), progress=_progress_line)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file system'}: {error.strerror or error}") from error
    click.echo(json.dumps(counts))


def _progress_line(done: int, total: int, what: str) -> None:
    """A line that rewrites itself on a terminal; one a tenth of the way elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r{what}: {done}/{total}\x1b[K", nl=done == total, err=True)
    elif total and done * 10 // total != (done - 1) * 10 // total:
        click.echo(f"{what}: {done}/{total}", err=True)


if __name__ == "__main__":
    main()
