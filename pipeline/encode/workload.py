"""What is to be encoded: distinct contents, packed by cost into batches that depend on nothing but the contents."""

import hashlib
from dataclasses import dataclass

import numpy as np

from pipeline.encode.encoder import Reader, Reading, Sides
from pipeline.sample import Side

BATCH_TOKENS = 8192
BATCH_SIDES = 256
KEY_BYTES = 32

Content = tuple[str, tuple[bytes, ...]]


def content_of(side: Side) -> Content:
    """What an embedding depends on: the words as they stand and the pictures. Turns are questions about it."""
    return side.instruction + side.text, side.images


def key_of(side: Side, reading: Reading) -> bytes:
    """The sha256 of a side's content and of how it is read (sizes of pictures, words apart): an embedding's name in the cache."""
    how = (reading.shown, reading.apart) if reading.apart else reading.shown
    digest = hashlib.sha256(repr(how).encode())
    words, images = content_of(side)
    for part in (words.encode("utf-8", "surrogatepass"), *images):
        digest.update(len(part).to_bytes(8, "big") + part)
    return digest.digest()


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Workload:
    """Some sides as M distinct contents: `keys` (M,) S32, `firsts` (M,) a side that has each, `tokens` (M,).

    `rows` (N,) is the content of each side. Of a side nothing else is kept in memory.
    """

    keys: np.ndarray
    firsts: np.ndarray
    tokens: np.ndarray
    rows: np.ndarray

    @classmethod
    def of(cls, reader: Reader, sides: Sides) -> "Workload":
        """Look at every side once. Raises DataError for one that the reader cannot read."""
        keys, tokens = np.zeros(len(sides), dtype=f"S{KEY_BYTES}"), np.zeros(len(sides), dtype=np.int32)
        for number in range(len(sides)):
            side = sides[number]
            reading = reader.reading(side)
            keys[number], tokens[number] = key_of(side, reading), reading.tokens
        # As np.unique does it, which holds half as much again at a time: of a million sides that is seen.
        order = keys.argsort(kind="stable").astype(np.int32)
        keys = keys[order]
        begins = np.ones(len(keys), dtype=bool)
        begins[1:] = keys[1:] != keys[:-1]
        rows = np.empty(len(keys), dtype=np.int32)
        rows[order] = np.cumsum(begins, dtype=np.int32) - 1
        firsts = order[begins]
        return cls(keys=keys[begins], firsts=firsts, tokens=tokens[firsts], rows=rows)

    def batches(self) -> list[np.ndarray]:
        """Contents of similar length in batches of at most `BATCH_TOKENS` (a longer one is alone), shortest first.

        They are cut before anybody asks what is there already, so a stopped run, or one of other ranks, has the same.
        """
        order = np.lexsort((self.firsts, self.tokens))
        cuts, room, sides = list[int](), BATCH_TOKENS, 0
        for place, tokens in enumerate(self.tokens[order].tolist()):
            if sides and (tokens > room or sides == BATCH_SIDES):
                cuts.append(place)
                room, sides = BATCH_TOKENS, 0
            room, sides = room - tokens, sides + 1
        return np.split(order, cuts)
