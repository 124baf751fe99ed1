"""A contact sheet of hard negatives before anything is trained on them: query, gold, and candidates with their ranks."""

import random
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from eval.page import page_of
from eval.report_markup import Section, paragraph
from eval.shards_page import example
from pipeline.data.keys import slug
from pipeline.data.references import corpus_rows
from pipeline.data.shards import ShardIndex
from pipeline.manifest import write_atomic
from pipeline.sample import Side

QUERIES, CANDIDATES = 6, 8
"""Of each dataset so many queries, drawn by the seed, and of each query so many candidates, the first of its ranks."""

_WORDS = (
    "Candidates stand in the order of their ranks, 1 for the nearest by inner product; the gold, its equals and the query itself "
    "have none. A judge's word and by how much its logit is above the other's stand beside it."
)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Found:
    """References of a dataset (N), and, where a judge was asked, by how much yes is above no for each (N,)."""

    references: pa.Table
    margins: npt.NDArray[np.float32] | None = None


def write_negatives_page(out: Path, index: ShardIndex, found: Mapping[str, Found], *, seed: int) -> None:
    """Write the page: some queries of every dataset that has references. Raises DataError for damaged shards."""
    sections = [
        Section(f"set-{slug(name)}", name, list(_examples(index, name, each, seed)))
        for name, each in found.items()
        if len(each.references)
    ]
    about = Section("about", "What is shown", [paragraph(_WORDS)])
    write_atomic(out, page_of("Hard negatives", [about, *sections]))


def _examples(index: ShardIndex, name: str, found: Found, seed: int) -> Iterator[str]:
    source = found.references.column("row").to_numpy()
    rows = np.unique(source).tolist()
    drawn = sorted(random.Random(f"{seed} {name}").sample(rows, min(QUERIES, len(rows))))
    for row, place in zip(drawn, corpus_rows(index, name, np.array(drawn, dtype=np.int64)).tolist(), strict=True):
        sample = index.read(place)
        assert sample.positive is not None, "a dataset of pairs"
        sides = [
            ("query", sample.query),
            ("gold", sample.positive),
            *_candidates(index, name, found, np.flatnonzero(source == row)),
        ]
        yield example(sample.key, sides)


def _candidates(index: ShardIndex, name: str, found: Found, places: npt.NDArray[np.int64]) -> Iterator[tuple[str, Side]]:
    for place in places[:CANDIDATES].tolist():
        one = {column: found.references.column(column)[place].as_py() for column in ("rank", "candidate", "side", "similarity")}
        (row,) = corpus_rows(index, name, np.array([one["candidate"]], dtype=np.int64)).tolist()
        said = "" if found.margins is None else f", {_word(float(found.margins[place]))}"
        yield f"rank {one['rank']}, similarity {one['similarity']:.2f}{said}", index.read(row).sides[one["side"]]


def _word(margin: float) -> str:
    if np.isnan(margin):
        return "no verdict"
    return f"judged {'right' if margin > 0 else 'wrong'} by {abs(margin):.1f}"
