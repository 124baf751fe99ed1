"""Figures of a converted dataset for a reader: histograms of sizes and lengths, and its rejects by reason."""

import json
import re
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq

from pipeline.data.shard_format import INDEX_NAME, REJECTS_NAME
from pipeline.data.shard_stats import DatasetStats, read_stats

_PLACES = (
    (re.compile(r"^[^\s:]+(?: [^\s:]+)*\.\w+: (?=\D)"), ""),
    (re.compile(r"'[^']*'|\"[^\"]*\""), "'...'"),
    (re.compile(r"\S*/\S+"), "..."),
    (re.compile(r"\d+"), "N"),
)


@dataclass(slots=True, kw_only=True)
class Summary:
    """Statistics of a dataset with what its index tells. A histogram counts by the power of two that a value has reached:
    `pixels[10]` are the pictures of 1,024 to 2,047 pixels.
    """

    stats: DatasetStats
    pixels: Counter[int] = field(default_factory=Counter)
    picture_bytes: Counter[int] = field(default_factory=Counter)
    text_bytes: Counter[int] = field(default_factory=Counter)
    pictures: Counter[int] = field(default_factory=Counter)
    """Rows by their number of pictures, as it stands."""
    reasons: Counter[str] = field(default_factory=Counter)


def summarize(folder: Path) -> Summary:
    """Read a dataset's index and rejects, piece by piece. Raises DataError for a conversion that did not finish."""
    summary = Summary(stats=read_stats(folder))
    columns = ["text_bytes", *(f"images.list.element.{name}" for name in ("size", "width", "height"))]
    for batch in pq.ParquetFile(folder / INDEX_NAME).iter_batches(columns=columns):
        summary.text_bytes.update(map(power, batch.column("text_bytes").to_pylist()))
        for images in batch.column("images").to_pylist():
            summary.pictures[len(images)] += 1
            summary.pixels.update(power(image["width"] * image["height"]) for image in images)
            summary.picture_bytes.update(power(image["size"]) for image in images)
    with (folder / REJECTS_NAME).open(encoding="utf-8") as lines:
        summary.reasons.update(plain_reason(json.loads(line)["reason"]) for line in lines)
    return summary


def power(value: int) -> int:
    """The greatest p with 2 to the p at most the value; 0 for 0."""
    return max(value.bit_length() - 1, 0)


def plain_reason(reason: str) -> str:
    """A reason without what differs from row to row: names, quoted texts and numbers."""
    for pattern, instead in _PLACES:
        reason = pattern.sub(instead, reason)
    return reason
