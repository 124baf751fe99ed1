"""A fixed way to give every item another item's content, for proofs that the content is what an answer comes from."""

import hashlib
from collections import Counter
from collections.abc import Sequence

from pipeline.errors import NothingToMeasureError


def derangement(contents: Sequence[str], *, what: str) -> list[int]:
    """A permutation `p` with `contents[p[i]] != contents[i]` for every i: no item keeps its own, not even an equal copy.

    It depends on the contents alone. Items are ordered by a digest, equal ones side by side, and shifted by the size of the
    largest group of equals; a group over half of all leaves no such permutation, and DataError says so.
    """
    digests = [hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest() for content in contents]
    largest = max(Counter(digests).values(), default=0)
    if not contents or 2 * largest > len(contents):
        raise NothingToMeasureError(
            f"{what}: {largest} of {len(contents)} items are equal, so they cannot be swapped; use more varied data"
        )
    order = sorted(range(len(contents)), key=lambda item: (digests[item], item))
    swapped = [0] * len(contents)
    for place, item in enumerate(order):
        swapped[item] = order[(place + largest) % len(order)]
    return swapped
