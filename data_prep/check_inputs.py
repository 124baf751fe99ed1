"""Looks at a data folder before any work starts: what there is and what is missing, by name and count.

A line for each dataset of MMEB-train (rows, and those printed in the papers), each set of MMEB-eval (read whole, every picture
decoded, with the fingerprint of its content), each file of conversations (its rows as the conversion would judge them) and each
source of their pictures; and which of the files a recipe draws from.
"""

from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from pipeline.data import mmeb, mmeb_eval
from pipeline.data.mmeb_registry import META
from pipeline.data.mmeb_train_sets import TRAIN_SETS, shortfall
from pipeline.data.picture_count import PictureCount
from pipeline.data.sharegpt4v_release import ConversationFile, find_conversations, unread_files
from pipeline.data.sharegpt4v_survey import survey
from pipeline.errors import DataError
from pipeline.phase import Mixture
from pipeline.recipes import load

EVAL_QUERIES = 1000
"""Queries of each of MMEB-eval's 36 sets."""

_SHOWN_DIGITS = 16


@dataclass(frozen=True, slots=True)
class Finding:
    """What there is to say of a part of the data folder."""

    part: str
    text: str
    is_problem: bool = False

    @property
    def line(self) -> str:
        """One line, marked where it is a problem."""
        return f"{'!' if self.is_problem else ' '} {self.part}: {self.text}"


def check(data: Path, mixture: Mixture | None = None) -> Iterator[Finding]:
    """All findings of a data folder. A part that cannot be used is a finding; nothing is raised for it.

    `mixture` is that of the recipe which is to be trained, for which sets of conversations must be there; None is the paper's,
    for which they need not.
    """
    yield from _guarded(mmeb.TRAIN, lambda: _check_all(data, mmeb.train_datasets(data), check_train))
    yield from _absent(mmeb.TRAIN, TRAIN_SETS, data)
    yield from _guarded(mmeb_eval.EVAL, lambda: _check_all(data, mmeb_eval.eval_datasets(data), check_eval))
    yield from _absent(mmeb_eval.EVAL, META, data)
    yield from _guarded("conversations", lambda: _check_talks(data, mixture))


def check_train(data: Path, dataset: str) -> Iterator[Finding]:
    """Rows and pictures of a dataset of MMEB-train. Raises DataError for one that is unusable as a whole."""
    rows = mmeb.count_train(data, dataset)
    known, lacks = TRAIN_SETS.get(dataset), shortfall(dataset, rows)
    printed = f", {known.rows} printed, {known.meta_task}, {known.form}" if known else ""
    yield Finding(dataset, f"{rows} rows{printed}")
    if lacks:
        yield Finding(dataset, f"about {lacks} rows fewer than printed: a part, or another release", is_problem=True)
    yield _pictures(dataset, mmeb.count_train_pictures(data, dataset))


def check_eval(data: Path, dataset: str) -> Iterator[Finding]:
    """A set of MMEB-eval, read whole and decoded. Raises DataError for one that is unusable."""
    found = mmeb_eval.read_eval(data, dataset)
    print_ = mmeb_eval.eval_fingerprint(found)[:_SHOWN_DIGITS]
    sizes = f"{len(found.queries)} queries, {len(found.candidates)} candidates, pools of {min(map(len, found.pools))} and more"
    yield Finding(dataset, f"{sizes}, fingerprint {print_}")
    if dataset in META and len(found.queries) != EVAL_QUERIES:
        yield Finding(
            dataset, f"has {len(found.queries)} queries, MMEB has {EVAL_QUERIES}: never compare its score", is_problem=True
        )


def check_conversations(talks: ConversationFile) -> Iterator[Finding]:
    """What the rows of a file hold, why some would be rejected, and pictures by source. Raises DataError for a file or a zip
    that is unusable.
    """
    found = survey(talks)
    rejected = sum(reason.count for reason in found.rejected)
    kinds = f"{found.with_picture} with a picture, {found.text_only} of text alone, {rejected} rejected"
    missing = sum(source.missing for source in found.sources)
    yield Finding(talks.dataset, f"{found.rows} rows: {kinds}" + (f", {missing} without their picture" if missing else ""))
    for reason in found.rejected:
        yield Finding(
            talks.dataset, f"{reason.count} rows rejected, the first row {reason.row}: {reason.reason}", is_problem=True
        )
    for source in found.sources:
        yield _pictures(talks.dataset, source, f"{source.source}: ")


def _pictures(part: str, count: PictureCount, prefix: str = "") -> Finding:
    """Missing pictures, and how often rows share one: in the shards each row has a copy of its own (docs/decisions/027)."""
    shared = f"; {count.different} different ones, each {count.sharing:.1f} times in the shards" if count.sharing > 1 else ""
    first = f", the first {count.first_missing}" if count.missing else ""
    return Finding(
        part, f"{prefix}{count.missing} of {count.named} pictures missing{first}{shared}", is_problem=count.missing > 0
    )


def check_mixture(talks: Collection[str], mixture: Mixture, *, is_asked: bool) -> Iterator[Finding]:
    """Sets of conversations that a mixture draws from and the folder lacks, and those that it has and the mixture does not name.

    The first are a problem where the recipe is the user's choice (`is_asked`).
    """
    recipe = "the recipe" if is_asked else "the paper's recipe"
    absent = [name for name in mixture.outside_sets if name not in talks]
    if absent and mixture.outside:
        yield Finding("conversations", f"{recipe} draws from {', '.join(absent)}, which is not here", is_problem=is_asked)
    unread = [name for name in talks if not (mixture.outside and mixture.reads(name))]
    if unread:
        yield Finding("conversations", f"{recipe} draws nothing from {', '.join(unread)} (mixture.outside_sets)")


def _check_talks(data: Path, mixture: Mixture | None) -> Iterator[Finding]:
    talks = find_conversations(data)
    unread = ", ".join(str(path.relative_to(data)) for path in unread_files(data))
    if not talks:
        yield Finding("conversations", "none found")
    if unread:
        yield Finding(
            "conversations", f"not read, since no file of conversations has that name there: {unread}", is_problem=not talks
        )
    for each in talks:
        yield from _guarded(each.dataset, partial(check_conversations, each))
    paper = load("crem_2b").phase.mixture
    yield from check_mixture([each.dataset for each in talks], mixture or paper, is_asked=mixture is not None)


def _check_all(data: Path, names: list[str], one: Callable[[Path, str], Iterator[Finding]]) -> Iterator[Finding]:
    for name in names:
        yield from _guarded(name, partial(one, data, name))


def _guarded(part: str, look: Callable[[], Iterator[Finding]]) -> Iterator[Finding]:
    try:
        yield from look()
    except DataError as error:
        yield Finding(part, str(error), is_problem=True)


def _absent(part: str, known: Collection[str], data: Path) -> Iterator[Finding]:
    absent = [name for name in known if not (data / part / name).is_dir()]
    yield Finding(
        part, f"{len(known) - len(absent)} of {len(known)} sets" + (f"; not here: {', '.join(absent)}" if absent else "")
    )
