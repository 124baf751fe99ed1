"""How a Sample stands in a shard: `<key>.json` with the texts, then one member for each picture.

Pictures are `<key>.q0.jpg` (query), `<key>.p0.jpg` (positive), `<key>.n0_0.jpg` (first negative, first picture); PNG files end
in `.png`. Any WebDataset reader sees one sample of a key with these fields.
"""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from pipeline.data.pictures import measure
from pipeline.data.reject import RowError
from pipeline.sample import Sample, Side, Turn

INDEX_NAME, STATS_NAME, REJECTS_NAME = "index.parquet", "stats.json", "rejects.jsonl"

IMAGE_FIELDS = pa.struct(
    [("offset", pa.int64()), ("size", pa.int32()), ("width", pa.int32()), ("height", pa.int32()), ("sha256", pa.binary(32))]
)
INDEX_SCHEMA = pa.schema(
    [
        ("key", pa.string()),
        ("row", pa.int64()),
        ("shard", pa.int32()),
        ("json_offset", pa.int64()),
        ("json_size", pa.int32()),
        ("text_bytes", pa.int32()),
        ("images", pa.list_(IMAGE_FIELDS)),
    ]
)
"""One row of the index: offsets and sizes are bytes in the shard's tar, `row` the source row, pictures in the shard's order."""

_ENCODER = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Member:
    """A file of a sample: what follows `<key>.` in its name, its bytes, and the size of a picture in pixels (0 for the JSON)."""

    suffix: str
    content: bytes
    width: int = 0
    height: int = 0


def members(sample: Sample) -> list[Member]:
    """The files of a sample, JSON first. Raises RowError for a picture that is neither JPEG nor PNG."""
    pictures = [_picture(name, encoded) for name, encoded in _named_pictures(sample)]
    return [Member(suffix="json", content=_json(sample)), *pictures]


def text_bytes(sample: Sample) -> int:
    """Bytes of all texts of a sample, turns included: what the cost of a row is estimated from."""
    return sum(len(text.encode()) for side in sample.sides for text in _texts(side))


def decode(document: bytes, pictures: Sequence[bytes]) -> Sample:
    """A sample from its JSON and its pictures, both as `members` gave them. Raises ValueError, KeyError, TypeError or
    RuntimeError for others.
    """
    fields = json.loads(document)
    rest = iter(pictures)
    positive = fields["positive"]
    return Sample(
        key=fields["key"],
        dataset=fields["dataset"],
        query=_decode_side(fields["query"], rest),
        positive=None if positive is None else _decode_side(positive, rest),
        negatives=tuple(_decode_side(side, rest) for side in fields["negatives"]),
    )


def _json(sample: Sample) -> bytes:
    fields = {
        "key": sample.key,
        "dataset": sample.dataset,
        "query": _encode_side(sample.query),
        "positive": None if sample.positive is None else _encode_side(sample.positive),
        "negatives": [_encode_side(side) for side in sample.negatives],
    }
    return _ENCODER.encode(fields).encode()


def _encode_side(side: Side) -> dict[str, Any]:
    turns = [{"question": turn.question, "answer": turn.answer} for turn in side.turns]
    return {"instruction": side.instruction, "text": side.text, "images": len(side.images), "turns": turns}


def _decode_side(fields: dict[str, Any], pictures: Iterator[bytes]) -> Side:
    return Side(
        instruction=fields["instruction"],
        text=fields["text"],
        images=tuple(next(pictures) for _ in range(fields["images"])),
        turns=tuple(Turn(question=turn["question"], answer=turn["answer"]) for turn in fields["turns"]),
    )


def _named_pictures(sample: Sample) -> Iterator[tuple[str, bytes]]:
    names = ["q", *(["p"] if sample.positive else []), *(f"n{number}_" for number in range(len(sample.negatives)))]
    for name, side in zip(names, sample.sides, strict=True):
        for number, encoded in enumerate(side.images):
            yield f"{name}{number}", encoded


def _picture(name: str, encoded: bytes) -> Member:
    try:
        suffix, width, height = measure(encoded)
    except RowError as error:
        raise RowError(f"picture {name}: {error}") from error
    return Member(suffix=f"{name}.{suffix}", content=encoded, width=width, height=height)


def _texts(side: Side) -> Iterator[str]:
    yield from (side.instruction, side.text)
    for turn in side.turns:
        yield from (turn.question, turn.answer)
