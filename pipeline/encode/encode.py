"""Sides to embeddings: each distinct content once, in packed batches, kept on disk as it comes, shared out over ranks."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from pipeline.encode.embedding_cache import EmbeddingCache
from pipeline.encode.encoder import Encoder, Progress, Sides, silent
from pipeline.encode.scratch import parts, scratch
from pipeline.encode.share import Encoding, Share
from pipeline.encode.workload import Workload
from pipeline.errors import PipelineError

IN_MEMORY_BYTES = 1 << 28
"""Results that are larger are memory-mapped from a file without a name, which goes with the process."""

_PLAIN = Encoding()


def encode(encoder: Encoder, sides: Sides, *, what: str, how: Encoding = _PLAIN, progress: Progress = silent) -> np.ndarray:
    """Embeddings (N, D) float32 of the sides, in their order; memory-mapped where they are many.

    Sides are asked for by number, so a sequence that reads them from disk never has all in memory. With several ranks every one
    must call it, and each has the result. Raises DataError, naming `what`, for embeddings that are not finite.
    """
    with _folder(how.cache) as folder:
        cache = EmbeddingCache(folder, encoder.encoder_fingerprint)
        share = Share(encoder, sides, cache, what)
        error: PipelineError | None = None
        try:
            share.encode(how, progress)
        except PipelineError as met:
            error = met  # told to all ranks: one that leaves alone would keep the others waiting
        for whose, names, failed in how.ranks.gather((what, share.written, error)):
            if failed is not None:
                raise failed
            if whose != what:
                raise PipelineError(f"{what}: another rank encodes {whose}; see to it that all ranks see the same files")
            cache.include(names)
        return _gathered(cache, share.work, what)


@contextmanager
def _folder(cache: Path | None) -> Iterator[Path]:
    if cache is not None:
        yield cache
        return
    with tempfile.TemporaryDirectory(prefix="embeddings.") as own:
        yield Path(own)


def _gathered(cache: EmbeddingCache, work: Workload, what: str) -> np.ndarray:
    """The embedding of every side, from those of its content."""
    if not all(cache.has(work.keys[part]).all() for part in parts(len(work.keys))):
        raise PipelineError(f"{cache.folder}: lacks what was just encoded of {what}; see to it that nothing else empties it")
    out = scratch(cache.folder, (len(work.rows), cache.width), np.float32, in_memory=IN_MEMORY_BYTES)
    for part in parts(len(out)):
        cache.read(work.keys[work.rows[part]], out[part])
    return out
