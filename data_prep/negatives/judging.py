"""Mined candidates before a judge: each pair of a query and a candidate is asked about once, and every answer is kept.

Of each dataset two files come out: `verdicts/<dataset>.parquet`, what the judge said of every reference, and the references that
it said no to, in the form of mined ones, which training reads. Candidates that it said yes to are no negatives and no positives
of the embedder; a reranker learns from them.
"""

import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from data_prep.negatives.judge_words import judge_request, margin
from data_prep.qa_teacher import Asker
from pipeline.chat import Failed, Script
from pipeline.data.atomic_write import atomic_file
from pipeline.data.references import (
    VERDICT_SCHEMA,
    corpus_rows,
    read_references,
    read_verdicts_table,
    references_file,
    verdicts_file,
    write_references,
)
from pipeline.data.shards import ShardIndex
from pipeline.errors import ServiceError
from pipeline.sample import Side

logger = logging.getLogger(__name__)

Progress = Callable[[str, int, int], None]
"""Called with a dataset, how many of its pairs are done, and how many there are."""

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Verdicts:
    """References of a dataset (N), and of each by how much yes is above no: (N,), not a number where there is no verdict.

    `reasons` counts why there is none.
    """

    references: pa.Table
    margins: Floats
    reasons: Mapping[str, int]

    @property
    def negatives(self) -> pa.Table:
        """The references that the judge said no to."""
        return self.references.filter(pa.array(self.margins < 0))

    def counts(self, most: int) -> dict[str, Any]:
        """Numbers of a dataset: pairs of a query and a candidate, what became of them, and queries with fewer than `most` left.

        A query is a row of the corpus with a reference.
        """
        rows = self.references.column("row").to_numpy()
        left = Counter(rows[self.margins < 0].tolist())
        return {
            "pairs": len(rows),
            "negatives": int((self.margins < 0).sum()),
            "positives": int((self.margins > 0).sum()),
            "unjudged": dict(self.reasons),
            "queries": len(np.unique(rows)),
            "fewer": sum(left[row] < most for row in np.unique(rows).tolist()),
        }


def judge_references(
    index: ShardIndex, dataset: str, references: pa.Table, engine: Asker, progress: Progress = lambda name, done, total: None
) -> Verdicts:
    """Ask about every reference of a dataset, as many at once as the endpoints take; what the journal has is not asked for.

    Raises DataError for damaged shards or references to other rows, ServiceError and EndpointSetupError as the engine does.
    """
    margins, reasons = np.full(len(references), np.nan, dtype=np.float32), Counter[str]()
    for done, (place, said) in enumerate(engine.run(_scripts(index, dataset, references)), start=1):
        if isinstance(said, Failed):
            reasons[said.kind] += 1
            logger.debug("%s, reference %d: %s", dataset, place, said.reason)
        else:
            margins[place] = said
        progress(dataset, done, len(references))
    return Verdicts(references=references, margins=margins, reasons=reasons)


def _scripts(index: ShardIndex, dataset: str, references: pa.Table) -> Iterator[Script[tuple[int, float | Failed]]]:
    """A script for each reference, in their order; a row that many in turn are about is read once."""
    rows, candidates = (corpus_rows(index, dataset, references.column(name).to_numpy()) for name in ("row", "candidate"))
    sides = references.column("side").to_numpy()
    query, of = None, -1
    for place, (row, candidate, side) in enumerate(zip(rows.tolist(), candidates.tolist(), sides.tolist(), strict=True)):
        if row != of:
            query, of = index.read(row).query, row
        assert query is not None
        yield _asked(place, query, index.read(candidate).sides[side])


def _asked(place: int, query: Side, candidate: Side) -> Script[tuple[int, float | Failed]]:
    answer = yield judge_request(query, candidate)
    return place, answer if isinstance(answer, Failed) else margin(answer)


def write_verdicts(folder: Path, dataset: str, verdicts: Verdicts) -> None:
    """Write both files of a dataset; each is there whole or not at all."""
    path = verdicts_file(folder, dataset)
    path.parent.mkdir(parents=True, exist_ok=True)
    margins = pa.array(verdicts.margins, type=pa.float32(), from_pandas=True)
    with atomic_file(path) as aside:
        pq.write_table(verdicts.references.append_column(VERDICT_SCHEMA.field("margin"), margins), aside, compression="zstd")
    write_references(references_file(folder, dataset), verdicts.negatives)


def read_verdicts(path: Path) -> Verdicts:
    """A file of verdicts, without the reasons. Raises DataError for one that is missing, damaged or of another form."""
    table = read_verdicts_table(path)
    margins = table.column("margin").to_numpy().astype(np.float32)
    return Verdicts(references=table.drop_columns("margin"), margins=margins, reasons={})


def take_exempt(mined: Path, folder: Path, dataset: str) -> dict[str, Any]:
    """Let a dataset's references stand as they were mined, all of them; what was said of them before is taken away."""
    references = read_references(references_file(mined, dataset))
    write_references(references_file(folder, dataset), references)
    verdicts_file(folder, dataset).unlink(missing_ok=True)
    return {"pairs": 0, "exempt": True, "negatives": len(references)}


def refuse_unjudged(counts: Sequence[Mapping[str, Any]], share: float) -> None:
    """Raise ServiceError where more than this share of all pairs has no verdict: few may be lost, not many."""
    reasons = Counter[str]()
    for each in counts:
        reasons.update(each.get("unjudged", {}))
    pairs = sum(each["pairs"] for each in counts)
    if reasons.total() > share * pairs:
        listed = ", ".join(f"{number} {reason}" for reason, number in reasons.most_common())
        raise ServiceError(
            f"{reasons.total()} of {pairs} pairs have no verdict ({listed}); an endpoint has to tell log-probabilities "
            "(logprobs, top_logprobs) and a model that says Yes or No at once. Run the same command again for those unanswered, "
            "or raise --max-unjudged to do without them"
        )
