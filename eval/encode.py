"""What the sides of an evaluation hold, as one name."""

import hashlib
from collections.abc import Sequence

from pipeline.encode.workload import content_of
from pipeline.sample import Side


def content_digest(sides: Sequence[Side]) -> str:
    """The sha256 (hex) of sides in order, so that a result names the very data it was measured on."""
    digest = hashlib.sha256()
    for side in sides:
        words, images = content_of(side)
        for part in (words.encode("utf-8", "surrogatepass"), *images):
            digest.update(len(part).to_bytes(8, "big") + part)
        digest.update(b"end of side")
    return digest.hexdigest()
