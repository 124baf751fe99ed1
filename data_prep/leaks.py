"""Pictures and texts of a benchmark that occur in the training corpus too, by content hash, for each dataset.

The benchmark's hashes stand in memory and the corpus streams past them, so memory grows with the benchmark alone. A picture is
compared by the bytes that the conversion stores for it: one that was encoded anew by somebody else is not found.
"""

import hashlib
import itertools
import json
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data.keys import slug
from pipeline.data.mmeb_eval import EvalSet, eval_datasets, read_eval
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.pictures import untouched
from pipeline.data.reject import RowError
from pipeline.data.shard_format import INDEX_NAME
from pipeline.data.shards import ShardIndex
from pipeline.manifest import write_atomic
from pipeline.sample import Sample, Side

Progress = Callable[[str, int, int], None]
Prepare = Callable[[bytes], bytes]

QUERY_PICTURES, CANDIDATE_PICTURES = "query pictures", "candidate pictures"
QUERY_TEXTS, CANDIDATE_TEXTS, QUERIES = "query texts", "candidate texts", "whole queries"
KINDS = (QUERY_PICTURES, CANDIDATE_PICTURES, QUERY_TEXTS, CANDIDATE_TEXTS, QUERIES)
"""What is compared. A whole query is its pictures and its own words together: the same question about the same picture."""

_HASH_BYTES = 16
_PROGRESS_ROWS = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Overlap:
    """Of one evaluation set and kind: how many different ones there are, how many of them train has, and in which datasets."""

    dataset: str
    kind: str
    distinct: int
    shared: int
    where: dict[str, int]


@dataclass(frozen=True, slots=True, kw_only=True)
class Leaks:
    """All overlaps of a benchmark with a corpus, whose content `shards` is the fingerprint of."""

    shards: str
    overlaps: tuple[Overlap, ...]

    def lines(self) -> list[str]:
        """A line for every overlap that is not empty, and one that says how many sets have none."""
        found = [
            f"{each.dataset}: {each.shared} of {each.distinct} {each.kind} occur in train ({_where(each.where)})"
            for each in self.overlaps
            if each.shared
        ]
        names = {each.dataset for each in self.overlaps}
        clean = names - {each.dataset for each in self.overlaps if each.shared}
        return [*found, f"{len(clean)} of {len(names)} evaluation sets share nothing with train"]


def find_leaks(data: Path, shards: Path, progress: Progress) -> Leaks:
    """Compare `<data>/MMEB-eval` with the shards. Raises DataError when either is missing or damaged."""
    index = ShardIndex.open(shards)
    prepare = untouched if index.max_pixels is None else PicturePreparer(max_pixels=index.max_pixels, verify=False)
    wanted: dict[tuple[str, str], set[bytes]] = {}
    names = eval_datasets(data)
    for done, name in enumerate(names, start=1):
        wanted |= {(name, kind): found for kind, found in _of_benchmark(read_eval(data, name, verify=False), prepare).items()}
        progress("of the benchmark", done, len(names))
    return Leaks(shards=index.fingerprint, overlaps=tuple(_overlaps(wanted, index, shards, progress)))


def write_leaks(leaks: Leaks, path: Path) -> None:
    """Write the findings as JSON."""
    write_atomic(path, json.dumps(asdict(leaks), indent=1) + "\n")


def _overlaps(
    wanted: dict[tuple[str, str], set[bytes]], index: ShardIndex, shards: Path, progress: Progress
) -> Iterator[Overlap]:
    every = frozenset[bytes]().union(*wanted.values())
    seen: defaultdict[bytes, set[str]] = defaultdict(set)
    for dataset, rows in index.datasets.items():
        for row, pictures in zip(rows, _picture_hashes(shards / slug(dataset) / INDEX_NAME), strict=True):
            for found in _of_row(index.texts(row), pictures) & every:
                seen[found].add(dataset)
            if row % _PROGRESS_ROWS == 0 or row == rows[-1]:
                progress(f"against {dataset}", row - rows.start + 1, len(rows))
    for (name, kind), hashes in wanted.items():
        shared = [found for found in hashes if found in seen]
        where = Counter(dataset for found in shared for dataset in seen[found])
        yield Overlap(dataset=name, kind=kind, distinct=len(hashes), shared=len(shared), where=dict(sorted(where.items())))


def _of_benchmark(benchmark: EvalSet, prepare: Prepare) -> dict[str, set[bytes]]:
    """Hashes of an evaluation set by kind."""
    hashes: dict[str, set[bytes]] = {kind: set() for kind in KINDS}
    queries = ((side, QUERY_PICTURES, QUERY_TEXTS) for side in benchmark.queries)
    candidates = ((side, CANDIDATE_PICTURES, CANDIDATE_TEXTS) for side in benchmark.candidates)
    for side, pictures, texts in itertools.chain(queries, candidates):
        stored = [_stored(encoded, prepare) for encoded in side.images]
        hashes[pictures].update(b"i" + digest for digest in stored)
        hashes[texts].update(_text(side))
        if texts == QUERY_TEXTS:
            hashes[QUERIES].update(_whole(side, stored))
    return hashes


def _stored(encoded: bytes, prepare: Prepare) -> bytes:
    """The hash of a picture as the shards hold it; one that they would refuse keeps its own."""
    with suppress(RowError):
        encoded = prepare(encoded)
    return hashlib.sha256(encoded).digest()[:_HASH_BYTES]


def _picture_hashes(index: Path) -> Iterator[list[bytes]]:
    """Hashes of the pictures of every row of an index: no picture is read."""
    for batch in pq.ParquetFile(index).iter_batches(columns=["images.list.element.sha256"]):
        for images in batch.column(0).to_pylist():
            yield [image["sha256"][:_HASH_BYTES] for image in images]


def _of_row(sample: Sample, digests: list[bytes]) -> set[bytes]:
    """Hashes of everything in a training row, `digests` those of its pictures in order."""
    found = {b"i" + digest for digest in digests}
    for side in sample.sides:
        own, digests = digests[: len(side.images)], digests[len(side.images) :]
        found |= {*_text(side), *_whole(side, own)}
    return found


def _text(side: Side) -> set[bytes]:
    """Hashes of a side's own words and, where it has them, of the questions about it."""
    return {b"t" + _digest(text) for text in _words(side)}


def _whole(side: Side, pictures: list[bytes]) -> set[bytes]:
    """Hashes of each of a side's texts together with its pictures; none without a picture."""
    shown = "".join(picture.hex() for picture in pictures)
    return {b"w" + _digest(f"{shown} {text}") for text in _words(side) if shown}


def _words(side: Side) -> list[str]:
    """Own words and questions of a side, without differences of space and case, those that are empty left out."""
    texts = (_normal(text) for text in (side.text, *(turn.question for turn in side.turns)))
    return [text for text in texts if text]


def _normal(text: str) -> str:
    return re.sub(r"\s+", " ", re.sub(r"<\|image_\d+\|>", " ", text)).strip().casefold()


def _digest(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()[:_HASH_BYTES]


def _where(datasets: dict[str, int]) -> str:
    return ", ".join(f"{name} {count}" for name, count in datasets.items())
