"""Questions and answers about the sides of every pair, by a vision-language model, as side files joined by key.

Kind `qa` (CREM's homogeneous data) is one of each a side: a side without a picture is asked to reconstruct its text, which needs
no model. Kinds `dialogue` (CoMa), `caption` and `description` are about its pictures: three to five turns, or one. The model
stands behind an OpenAI-compatible endpoint, or answers in this process. Answers are journalled as they come: a run that was
killed goes on. Answers that are no target (qa_filters) stay in the journal and are rejects here: an old journal is cleaned as it
is joined.
"""

import json
import logging
import sys
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import click

from data_prep.qa_counts import MAX_UNANSWERED, Counts, listed
from data_prep.qa_drawn import drawn
from data_prep.qa_join import VOID, Join, Progress, pair_datasets
from data_prep.qa_kinds import BY_NAME, QA, Kind
from data_prep.qa_prompts import read_prompts
from data_prep.qa_script import Failure, Told
from data_prep.qa_teacher import (
    JOURNAL_NAME,
    Asker,
    LocalTeacher,
    ServedTeacher,
    Teacher,
    addresses,
    journals_beside,
    outcome_of,
    refuse_both,
)
from data_prep.slices import Slice
from pipeline.chat import Journal, Script, Totals
from pipeline.data.qa import KINDS, QaKind, kind_folder
from pipeline.data.shards import ShardIndex
from pipeline.errors import ConfigError, PipelineError, ServiceError
from pipeline.lock import hold
from pipeline.sample import Side

logger = logging.getLogger(__name__)

WHOLE = Slice(index=0, of=1)


def synthesize(
    shards: Path,
    out: Path,
    *,
    teacher: Teacher | None,
    kind: Kind = QA,
    max_unanswered: float = MAX_UNANSWERED,
    progress: Progress = lambda done, total, what: None,
) -> dict[str, int]:
    """Write a side file of a kind for every dataset of pairs in `shards` and return the counts by name (see Counts).

    Without a teacher only sides without pictures get a turn. A side whose call failed, or whose answer is no target, is a counted
    reject, written with its reason to rejects.jsonl; failed calls are made again when this is called again. Memory does not
    depend on the number of sides: all are asked about first, and read once more to be joined.

    Raises ServiceError when no endpoint answers, or when more than `max_unanswered` of the sides with pictures have no answer to
    learn, for whatever reason; PipelineError where another process synthesizes into `out`.
    """
    index, place = ShardIndex.open(shards), kind_folder(out, kind.name)
    with ExitStack() as stack:
        beside = journals_beside(place)
        journal = stack.enter_context(Journal(place / JOURNAL_NAME, beside=beside))  # also the lock of the folder
        for other in beside:
            hold(stack.enter_context(other.open("rb")), busy=f"{other}: a slice is still asked about; wait for it to end")
        if teacher:
            asker = stack.enter_context(teacher.asker(kind, journal))
            _ask(index, teacher, kind, asker, progress)
            came = asker.totals
        else:
            came = Totals()
            rest = "only sides without pictures get a question; " if kind.texts else ""
            logger.warning("no --url and no --local: %ssides with pictures are counted as skipped", rest)
        join = Join(index, out, kind, teacher=teacher, journal=journal)
        counts = join.run(progress)
    counts.asked, counts.prompt_tokens, counts.answer_tokens = came.answers, came.prompt_tokens, came.answer_tokens
    _refuse_unanswered(counts, max_unanswered, join.rejects_path)
    return counts.by_name()


def synthesize_slice(
    shards: Path,
    out: Path,
    part: Slice,
    *,
    teacher: Teacher,
    kind: Kind = QA,
    progress: Progress = lambda done, total, what: None,
) -> dict[str, int]:
    """Ask about the sides of one slice, into a journal of its own, and write no side file: `synthesize` takes all journals in.

    A side belongs to a slice by what it shows and says, so that no two slices ask the same, whatever rows share it. Slices need
    nothing of each other. Returns the answers that came and the requests that failed. Raises as `synthesize`.
    """
    place = kind_folder(out, kind.name)
    name = f"answers-{part.index:05d}-of-{part.of:05d}.jsonl"
    with (
        Journal(place / name, beside=journals_beside(place, name)) as journal,
        teacher.asker(kind, journal) as asker,
    ):
        _ask(ShardIndex.open(shards), teacher, kind, asker, progress, part=part)
    totals = asker.totals
    tokens = {"prompt_tokens": totals.prompt_tokens, "answer_tokens": totals.answer_tokens} if totals.prompt_tokens else {}
    return {"asked": totals.answers, "failed": totals.failed, **tokens}


def _ask(index: ShardIndex, teacher: Teacher, kind: Kind, asker: Asker, progress: Progress, *, part: Slice = WHOLE) -> None:
    """Have every side with pictures answered, as far as it can be; what is in the journal is not asked for again."""
    datasets = pair_datasets(index)
    total = sum(map(len, datasets.values()))

    def scripts() -> Iterator[Script[Told | Failure]]:
        done = 0
        for name, rows in datasets.items():
            for row in rows:
                for side in kind.sides(index.read(row)):
                    if not side.is_text_only and _is_of(side, part, kind, teacher.model):
                        yield outcome_of(side, kind, model=teacher.model, sampling=teacher.sampling(kind))
                done += 1
                progress(done, total, _note(name, asker.totals))

    for _ in asker.run(scripts()):
        pass
    progress(total, total, _note("all asked", asker.totals))


def _note(what: str, totals: Totals) -> str:
    """What is at work, and what has come in this run."""
    if not totals.calls:
        return what
    failed = f", {totals.failed:,} failed" if totals.failed else ""
    return f"{what}; {totals.answers:,} answers{failed}, {totals.prompt_tokens:,} tokens in, {totals.answer_tokens:,} out"


def _is_of(side: Side, part: Slice, kind: Kind, model: str) -> bool:
    """Whether a side is of a slice: by the identity of its first request."""
    return part.of == 1 or int(next(kind.script(side)).identity(model)[:15], 16) % part.of == part.index


def _refuse_unanswered(counts: Counts, share: float, rejects: Path) -> None:
    """Raise ServiceError where more than this share of the sides with pictures has no answer: few may be lost, not many."""
    lacking = Counter(counts.reasons)
    del lacking[VOID.kind]
    asked = counts.described + lacking.total()
    if lacking.total() > share * asked:
        raise ServiceError(
            f"{lacking.total()} of {asked} sides with pictures have no answer to learn ({listed(lacking)}), for the reasons in "
            f"{rejects}; run the same command again for those unanswered or refused, with more --answer-tokens for those cut, or "
            "raise --max-unanswered to do without them"
        )


@click.command(context_settings={"show_default": True})
@click.option("--shards", type=click.Path(path_type=Path), required=True, help="Folder of shards that `crem convert` wrote.")
@click.option("--out", type=click.Path(path_type=Path), required=True, help="Folder for the QA side files and the journal.")
@click.option(
    "--url",
    multiple=True,
    metavar="URL|FILE",
    help="Base address of an endpoint, such as http://127.0.0.1:8000/v1, or a file with one a line, which may change meanwhile. "
    "May be given several times; without it and --local, no picture is described.",
)
@click.option(
    "--local", type=click.Path(path_type=Path), metavar="FOLDER", help="Model folder that answers in this process instead."
)
@click.option(
    "--kind", metavar="|".join(KINDS), default=KINDS[0], help="What is asked: of each side, or about its pictures alone."
)
@click.option(
    "--prompts",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE.toml",
    help="Wordings of your own for these kinds, and kinds of your own.",
)
@click.option("--model", default="Qwen/Qwen2.5-VL-7B-Instruct", help="Model name that the endpoint serves.")
@click.option(
    "--workers",
    type=click.IntRange(1),
    show_default="as many as it answers without a queue",
    help="Calls in flight at one endpoint, at most.",
)
@click.option(
    "--most-pictures", type=click.IntRange(1), metavar="N", help="Different pictures of each dataset to ask about (CoMa: 30000)."
)
@click.option("--shard-index", type=click.IntRange(0), metavar="I", help="Ask about slice I of --num-shards alone, from 0.")
@click.option(
    "--num-shards", type=click.IntRange(1), metavar="N", help="Slices of the whole work, such as tasks of a Slurm array."
)
@click.option(
    "--answer-tokens",
    type=click.IntRange(1),
    show_default=", ".join(f"{kind.max_tokens} of {kind.name}" for kind in BY_NAME.values()),
    help="Tokens that an answer may have.",
)
@click.option(
    "--max-unanswered", type=click.FloatRange(0, 1), default=MAX_UNANSWERED, help="Share of pictures that may stay without one."
)
def main(
    shards: Path, out: Path, url: tuple[str, ...], local: Path | None, kind: QaKind, prompts: Path | None, **given: Any
) -> None:
    """Synthesize a question and an answer for each side of every pair, or dialogues, captions or descriptions of pictures.

    The key of the endpoint, if it needs one, is read from CREM_API_KEY. Stopped at any moment, the same command goes on
    without asking anything twice. Slices are asked about by as many commands at once, each with a journal of its own; the
    command without --shard-index then takes all journals in and writes the side files.

    \b
    Examples, with a model served by vLLM:
      vllm serve Qwen/Qwen2.5-VL-7B-Instruct --port 8000
      python -m data_prep.synthesize_qa --shards work/shards --out work/qa --url http://127.0.0.1:8000/v1
      python -m data_prep.synthesize_qa --kind dialogue --shards work/shards --out work/qa --url http://127.0.0.1:8000/v1
    Without a server, for small corpora:
      python -m data_prep.synthesize_qa --shards work/shards --out work/qa --local models/Qwen2.5-VL-3B-Instruct
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s")
    try:
        asked = _named(kind, read_prompts(prompts))
        part = slice_of(given.pop("shard_index"), given.pop("num_shards"))
        max_unanswered, most = given.pop("max_unanswered"), given.pop("most_pictures")
        teacher = _teacher(url, local, **given)
        asked = drawn(asked, shards, most, _progress_line)
        if part is not None:
            if teacher is None:
                raise ConfigError("--shard-index: nothing is asked without --url or --local")
            counts = synthesize_slice(shards, out, part, teacher=teacher, kind=asked, progress=_progress_line)
        else:
            counts = synthesize(shards, out, teacher=teacher, kind=asked, max_unanswered=max_unanswered, progress=_progress_line)
    except PipelineError as error:
        raise click.ClickException(str(error)) from error
    except OSError as error:
        raise click.ClickException(f"{error.filename or 'the file system'}: {error.strerror or error}") from error
    click.echo(json.dumps(counts))


def _named(name: str, kinds: Mapping[QaKind, Kind]) -> Kind:
    if name not in kinds:
        raise ConfigError(f"--kind {name}: there are {', '.join(kinds)}; --prompts may add one")
    return kinds[name]


def _teacher(
    url: tuple[str, ...], local: Path | None, *, model: str, answer_tokens: int | None, workers: int | None
) -> Teacher | None:
    """Whom the options name; None for nobody."""
    refuse_both(url, local)
    if local is not None:
        return LocalTeacher(folder=local, answer_tokens=answer_tokens)
    return ServedTeacher(urls=addresses(url), model=model, answer_tokens=answer_tokens, workers=workers) if url else None


def slice_of(index: int | None, of: int | None) -> Slice | None:
    """The slice that two options name together; None where neither is given. Raises ConfigError for one without the other."""
    if index is None and of is None:
        return None
    if index is None or of is None:
        raise ConfigError("--shard-index and --num-shards go together")
    return Slice(index=index, of=of)


def _progress_line(done: int, total: int, what: str) -> None:
    """A line that rewrites itself on a terminal; one a tenth of the way elsewhere."""
    if sys.stderr.isatty():
        click.echo(f"\r{what}: {done}/{total}\x1b[K", nl=done == total, err=True)
    elif total and done * 10 // total != (done - 1) * 10 // total:
        click.echo(f"{what}: {done}/{total}", err=True)


if __name__ == "__main__":
    main()
