"""A rank's part of what is to be encoded, on its way into the cache."""

import logging
import os
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from pipeline.data.sampler import deal
from pipeline.encode.embedding_cache import EmbeddingCache
from pipeline.encode.encoder import Encoder, Progress, Sides, check_embeddings
from pipeline.encode.ranks import LONE, Ranks
from pipeline.encode.scratch import filled, parts, scratch
from pipeline.encode.workload import Batches, Workload
from pipeline.errors import ConfigError, PipelineError

LONG_TOKENS = 8192
"""A side beyond it is embedded whole, as all are, and takes minutes on a small machine: that is said before."""

BLOCK_ROWS, BLOCK_SECONDS = 4096, 20.0
"""A block is written when it has so many embeddings, or when its first has waited so long: a kill costs no more than that."""

READ_AHEAD_BYTES = 1 << 28
MOST_WORKERS = 8

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Encoding:
    """How sides are encoded. Nothing of it changes an embedding.

    `cache` is the folder of kept embeddings, which all ranks share (None: nothing is kept); `workers` decode and tokenise beside
    the model (0: it waits for that).
    """

    cache: Path | None = None
    workers: int = 0
    ranks: Ranks = LONE

    @classmethod
    def usual(cls, cache: Path, ranks: Ranks = LONE, *, workers: int | None = None) -> "Encoding":
        """With a cache, and one worker for each core of this rank's share but the one that it works with itself, 1 to 8."""
        shared = len(os.sched_getaffinity(0)) // int(os.environ.get("LOCAL_WORLD_SIZE", ranks.count))
        return cls(cache=cache, workers=max(1, min(MOST_WORKERS, shared - 1)) if workers is None else workers, ranks=ranks)

    def __post_init__(self) -> None:
        if self.cache is None and self.ranks.count > 1:
            raise ConfigError("cache: several processes hand embeddings over in it; name a folder that all of them share")


class Share:
    """`encode` does it; `work` is then the whole workload, `written` the names of this rank's blocks."""

    def __init__(self, encoder: Encoder, sides: Sides, cache: EmbeddingCache, what: str) -> None:
        self.encoder, self.sides, self.cache, self.what = encoder, sides, cache, what
        self.written: list[str] = []
        self._waiting: list[tuple[np.ndarray, np.ndarray]] = []
        self._begun = 0.0

    def encode(self, how: Encoding, progress: Progress) -> None:
        """Embed what is this rank's and not in the cache yet."""
        self.work = Workload.of(self.encoder.reader, self.sides, self.cache.folder)
        batches = self.work.batches()
        count, longest = batches.longer_than(LONG_TOKENS)
        if count:
            logger.warning("%s: nothing is cut, and %d sides have up to about %d tokens", self.what, count, longest)
        own = _own(batches, how.ranks)
        missing = _Missing(self.work, batches, own, self.cache)
        total = sum(len(batches[number]) for number in own)
        done = total - sum(map(len, missing))
        try:
            for batch, prepared in zip(missing, self._prepared(missing, how), strict=True):
                self._take(batch, self.encoder.embed_batch(prepared))
                done += len(batch)
                progress(self.what, done, total)
        finally:
            self._write()

    def _prepared(self, batches: "_Missing", how: Encoding) -> Iterator[Any]:
        """What the encoder makes of the batches before it needs its weights, ahead in other processes."""
        workers = min(how.workers, len(batches) - 1)
        prepared: Any = _Prepared(self, batches)
        if workers < 1:
            yield from (_checked(prepared[number]) for number in range(len(batches)))
            return
        # Brings torch in, which a command's help must not wait for.
        from pipeline.train.dataloader.collate_buffer import load_ahead
        from pipeline.train.dataloader.shared_memory import free_bytes

        limit = min(READ_AHEAD_BYTES, free_bytes() // (2 * how.ranks.count))
        yield from map(_checked, load_ahead(prepared, range(len(batches)), workers, limit=limit))

    def _take(self, batch: np.ndarray, vectors: np.ndarray) -> None:
        self._begun = self._begun if self._waiting else time.monotonic()
        self._waiting.append((self.work.keys[batch], check_embeddings(vectors, self.what)))
        if sum(len(keys) for keys, _ in self._waiting) >= BLOCK_ROWS or time.monotonic() - self._begun > BLOCK_SECONDS:
            self._write()

    def _write(self) -> None:
        """Write what waits as one block: whole batches, so that a run which goes on has the batches of one that never stopped."""
        if self._waiting:
            keys, vectors = map(np.concatenate, zip(*self._waiting, strict=True))
            self._waiting.clear()
            self.written.append(self.cache.add(keys, vectors))


def _own(batches: Batches, ranks: Ranks) -> Sequence[int]:
    """The numbers of this rank's batches, dealt by tokens."""
    if ranks.count == 1:
        return range(len(batches))
    return deal([batches.tokens(number) for number in range(len(batches))], ranks.count)[ranks.rank]


class _Missing:
    """What the cache lacks of some batches: contents (n,), of each batch that it lacks any of."""

    def __init__(self, work: Workload, batches: Batches, own: Sequence[int], cache: EmbeddingCache) -> None:
        self._batches, self._there = batches, scratch(work.folder, len(work.keys), np.bool_)
        for part in parts(len(work.keys)):
            self._there[part] = cache.has(work.keys[part])
        lacking = (number for number in own if not self._there[batches[number]].all())
        self._numbers = filled(scratch(work.folder, len(own), np.int64), lacking)

    def __len__(self) -> int:
        return len(self._numbers)

    def __getitem__(self, number: int) -> np.ndarray:
        batch = self._batches[int(self._numbers[number])]
        return np.array(batch[~self._there[batch]])

    def __iter__(self) -> Iterator[np.ndarray]:
        return map(self.__getitem__, range(len(self)))


class _Prepared:
    """Batches by number, as the encoder prepares them; what went wrong stands in the place of a batch, to cross processes."""

    def __init__(self, share: Share, batches: _Missing) -> None:
        self._share, self._batches = share, batches

    def __getitem__(self, number: int) -> Any:
        share = self._share
        try:
            return share.encoder.reader.batch([share.sides[first] for first in share.work.firsts[self._batches[number]].tolist()])
        except PipelineError as error:
            return error


def _checked(prepared: Any) -> Any:
    if isinstance(prepared, PipelineError):
        raise prepared
    return prepared
