"""Conversion of a data folder in the release layouts into verified shards: every MMEB-train dataset, and the conversations.

Everything streams: one row is in memory at a time, however large the corpus.
"""

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from data_prep.images import PicturePreparer
from pipeline.data import mmeb, sharegpt4v
from pipeline.data.keys import slug
from pipeline.data.shard_stats import Kind
from pipeline.data.shard_writer import Item, write_shards
from pipeline.errors import DataError

MAX_PIXELS = 1280 * 28 * 28
"""Qwen2-VL's limit of 1,280 visual tokens a picture: a larger picture would be shrunk at every reading."""

CONVERSATIONS = "conversations"
PROGRESS_ROWS = 100

Progress = Callable[[str, int, int | None], None]
"""Called with a dataset, its rows done, and its rows in all where that is known beforehand."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """One dataset of a data folder: `read` streams its rows, `total` is their number where a file's footer tells it."""

    dataset: str
    kind: Kind
    read: Callable[[PicturePreparer, Counter[str]], Iterator[Item]]
    total: int | None = None


def silent(dataset: str, done: int, total: int | None) -> None:
    """The progress that nobody watches."""


def convert(
    data: Path,
    out: Path,
    *,
    max_pixels: int = MAX_PIXELS,
    verify: bool = True,
    rows_per_shard: int = 1000,
    progress: Progress = silent,
) -> dict[str, int]:
    """Write shards of every dataset of `data` below `out`, and return the counts; `read == converted + rejected`.

    Pictures beyond `max_pixels` are shrunk once; with `verify` every picture is decoded. Raises DataError for a file that is
    unusable as a whole and for a dataset none of whose rows can be used; single bad rows stand in each dataset's rejects.jsonl.
    """
    counts = Counter[str]()
    prepare = PicturePreparer(max_pixels=max_pixels, verify=verify, counts=counts)
    for source in find_sources(data):
        rows = _watched(source.read(prepare, counts), source, progress)
        stats = write_shards(rows, out, dataset=source.dataset, kind=source.kind, rows_per_shard=rows_per_shard)
        counts.update(
            datasets=1,
            read=stats.read,
            converted=stats.converted,
            rejected=stats.rejected,
            pictures=stats.pictures,
            shards=len(stats.shards),
            bytes=sum(shard.bytes for shard in stats.shards),
        )
    return dict(sorted(counts.items()))


def find_sources(data: Path) -> list[Source]:
    """The datasets of a data folder: MMEB-train by name, then the conversations if there are any. Raises DataError."""
    sources = [_pairs(data, name) for name in mmeb.train_datasets(data)]
    talks = data / "conversations" / "train.json"
    if talks.is_file():
        sources.append(_conversations(talks))
    for name, count in Counter(slug(source.dataset) for source in sources).items():
        if count > 1:
            raise DataError(f"{data}: {count} datasets would share the name {name} in the shards; rename one of their folders")
    return sources


def _pairs(data: Path, name: str) -> Source:
    def read(prepare: PicturePreparer, counts: Counter[str]) -> Iterator[Item]:
        return mmeb.read_train(data, name, prepare=prepare, counts=counts)

    return Source(dataset=name, kind="pairs", read=read, total=mmeb.count_train(data, name))


def _conversations(talks: Path) -> Source:
    def read(prepare: PicturePreparer, counts: Counter[str]) -> Iterator[Item]:
        return sharegpt4v.read(talks, talks.with_name("images.zip"), dataset=CONVERSATIONS, prepare=prepare, counts=counts)

    return Source(dataset=CONVERSATIONS, kind="conversations", read=read)


def _watched(items: Iterable[Item], source: Source, progress: Progress) -> Iterator[Item]:
    done = 0
    for done, item in enumerate(items, start=1):
        yield item
        if done % PROGRESS_ROWS == 0:
            progress(source.dataset, done, source.total)
    progress(source.dataset, done, source.total)
