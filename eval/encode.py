"""Embeddings of many sides: each distinct side once, in batches of similar length."""

import hashlib
import logging
from collections.abc import Sequence

import numpy as np

from eval.metrics import check_embeddings
from eval.model_protocol import Model, Progress, silent
from eval.pictures import size_of
from pipeline.sample import Side

BATCH_SIDES = 64
LONG_TOKENS = 8192
"""A side beyond it is embedded whole, as all are, and takes minutes on a small machine: that is said before."""
_PIXELS_PER_TOKEN = 28 * 28
_CHARACTERS_PER_TOKEN = 4

logger = logging.getLogger(__name__)

Content = tuple[str, tuple[bytes, ...]]


def content_of(side: Side) -> Content:
    """What an embedding depends on: the words as they stand and the pictures. Turns are questions about it."""
    return side.instruction + side.text, side.images


def content_digest(sides: Sequence[Side]) -> str:
    """The sha256 (hex) of sides in order, so that a result names the very data it was measured on."""
    digest = hashlib.sha256()
    for side in sides:
        words, images = content_of(side)
        for part in (words.encode("utf-8", "surrogatepass"), *images):
            digest.update(len(part).to_bytes(8, "big") + part)
        digest.update(b"end of side")
    return digest.hexdigest()


def embed_sides(model: Model, sides: Sequence[Side], *, what: str, progress: Progress = silent) -> np.ndarray:
    """Embeddings (N, D) float32 of the sides, in their order. Raises DataError, naming `what`, for non-finite ones."""
    places: dict[Content, int] = {}
    rows = [places.setdefault(content_of(side), len(places)) for side in sides]
    distinct = [Side(text=words, images=images) for words, images in places]
    order = sorted(range(len(distinct)), key=lambda place: _length(distinct[place]))
    lengths = [length for side in distinct if (length := _length(side)) > LONG_TOKENS]
    if lengths:
        logger.warning("%s: nothing is cut, and %d sides have up to about %d tokens", what, len(lengths), max(lengths))
    parts = []
    for start in range(0, len(order), BATCH_SIDES):
        batch = [distinct[place] for place in order[start : start + BATCH_SIDES]]
        parts.append(check_embeddings(model.embed(batch), what))
        progress(what, start + len(batch), len(order))
    ordered = np.concatenate(parts)
    embeddings = np.empty_like(ordered)
    embeddings[np.array(order)] = ordered
    return embeddings[np.array(rows)]


def _length(side: Side) -> float:
    """About how many tokens a side takes; exact enough to sort by."""
    pixels = sum(width * height for width, height in map(size_of, side.images))
    return len(side.text) / _CHARACTERS_PER_TOKEN + pixels / _PIXELS_PER_TOKEN
