"""Reader of MMEB-eval in its release layout: queries, each with its list of candidates, of which the first is right."""

import hashlib
import json
import logging
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipeline.data.mmeb_registry import ALIASES, META, DatasetInfo, Split
from pipeline.data.mmeb_rows import dataset_names, is_empty, read_side, split_files
from pipeline.data.parquet_rows import Columns, ParquetRow, read_rows
from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import Pictures
from pipeline.data.reject import RowError
from pipeline.errors import DataError
from pipeline.sample import Side

EVAL = "MMEB-eval"
EMPTY_CANDIDATES = "wrong candidates with neither text nor picture, which stay in their pools"

_COLUMNS = Columns(
    texts=("qry_text",),
    pictures=("qry_img_path",),
    lists=("tgt_text",),
    picture_lists=("tgt_img_path",),
    passed_over=("id", "idx", "index", "qid", "query_id", "source", "license", "url", "comment", "__index_level_0__"),
    advice="the instruction layout of MMEB-V2 (qry_inst, tgt_inst) is not read yet: take MMEB-eval, whose texts hold the "
    "instructions; a column that is only a note can be removed",
)
"""`passed_over` are numbers and notes of rows: nothing that is embedded or ranked depends on them."""

_Candidate = tuple[str, str | bytes]
"""Text, and picture by its path or as it stands in the table."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """One evaluation set. `pools` holds, for each query, indices of `candidates`; the first of a pool is the right one."""

    name: str
    queries: tuple[Side, ...]
    candidates: tuple[Side, ...]
    pools: tuple[tuple[int, ...], ...]


def eval_datasets(root: Path) -> list[str]:
    """Names of the datasets in `<root>/MMEB-eval`, sorted. Raises DataError when there are none.

    One that came in part is among them: it is reading it that fails, so that it costs itself and no other.
    """
    return dataset_names(root / EVAL, "*parquet*")


def read_eval(root: Path, dataset: str, *, verify: bool = True) -> EvalSet:
    """An evaluation set with its pictures in memory; candidates are those of all rows, once per (text, picture).

    A benchmark is used whole or not at all: raises DataError, naming file, row and picture, for anything missing, empty or
    damaged. An empty candidate that is wrong stays: the pool keeps its size, and with it the score its meaning. Without `verify`
    (for a set that was checked before) pictures are not decoded where their bytes stay.
    """
    folder = root / EVAL
    reader = _Reader(Pictures(folder / "images.zip", folder / "images", prepare=for_benchmarks(verify=verify)))
    for row in read_rows(split_files(folder / dataset, "test"), _COLUMNS):
        try:
            reader.take(row)
        except RowError as error:
            raise DataError(f"{row.file}: row {row.row}: {error}; download the benchmark again") from error
    if not reader.queries:
        raise DataError(f"{folder / dataset}: has no rows; download it again")
    for what, count in (+reader.counts).items():
        log.info("%s: %s: %d", dataset, what, count)
    return EvalSet(
        name=dataset, queries=tuple(reader.queries), candidates=tuple(reader.sides.values()), pools=tuple(reader.pools)
    )


def check_eval(root: Path, dataset: str) -> str:
    """Read a set whole, every picture decoded, and keep nothing; its fingerprint. Raises DataError as `read_eval`."""
    describe(root, dataset)
    return eval_fingerprint(read_eval(root, dataset))


class _Reader:
    """What was read of a set so far; `counts` has what was mended or is odd."""

    def __init__(self, pictures: Pictures) -> None:
        self.queries: list[Side] = []
        self.pools: list[tuple[int, ...]] = []
        self.sides: dict[_Candidate, Side] = {}
        self.counts = Counter[str]()
        self._places: dict[_Candidate, int] = {}
        self._pictures = pictures

    def take(self, row: ParquetRow) -> None:
        """Read a row. Raises RowError."""
        right, *wrong = _candidates(row)
        query = read_side(row.values["qry_text"], row.values["qry_img_path"], self._pictures, self.counts)
        for side, name in ((query, "query"), (self._candidate(right), "right candidate")):
            if is_empty(side):
                raise RowError(f"its {name} has neither text nor picture")
        self.counts[EMPTY_CANDIDATES] += sum(is_empty(self._candidate(each)) for each in wrong)
        self.queries.append(query)
        self.pools.append(tuple(self._places[each] for each in (right, *wrong)))

    def _candidate(self, candidate: "_Candidate") -> Side:
        if candidate not in self.sides:
            self.sides[candidate] = read_side(*candidate, self._pictures, self.counts)
            self._places[candidate] = len(self._places)
        return self.sides[candidate]


def eval_fingerprint(eval_set: EvalSet) -> str:
    """Depends on every text and every byte of every picture of a set, on their order and on the pools, and on nothing else."""
    digest = hashlib.sha256()
    for side in (*eval_set.queries, *eval_set.candidates):
        for part in (side.instruction.encode() + side.text.encode(), *side.images):
            digest.update(len(part).to_bytes(8, "big") + part)
        digest.update(b"end of side")
    digest.update(repr((len(eval_set.queries), eval_set.pools)).encode())
    return digest.hexdigest()


def describe(root: Path, dataset: str) -> DatasetInfo:
    """Meta-task and split of a dataset: MMEB's own, else what `<root>/MMEB-eval/datasets.json` says, else `other` and IND."""
    known = META.get(ALIASES.get(dataset, dataset))
    return known or _own_datasets(root / EVAL / "datasets.json").get(dataset) or DatasetInfo("other", "IND")


def _own_datasets(path: Path) -> dict[str, DatasetInfo]:
    """What users say of datasets of their own: `{"name": {"meta_task": "vqa", "split": "IND"}}`."""
    if not path.is_file():
        return {}
    try:
        entries = json.loads(path.read_text(encoding="utf-8-sig"))
        found = {str(name): DatasetInfo(entry["meta_task"], entry["split"]) for name, entry in entries.items()}
        if wrong := [
            name for name, info in found.items() if not isinstance(info.meta_task, str) or info.split not in get_args(Split)
        ]:
            raise ValueError(wrong[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"name": {"meta_task": ..., "split": "IND" or "OOD"}}'
        raise DataError(f"{path}: not of the form {form} ({error!r}); mend it") from error
    return found


def _candidates(row: ParquetRow) -> list[_Candidate]:
    """(text, picture) of a row's candidates, each once, the right one first."""
    if row.problem:
        raise RowError(row.problem)
    texts, pictures = row.values["tgt_text"] or [], row.values["tgt_img_path"] or []
    if len(texts) != len(pictures):
        raise RowError(f"tgt_text has {len(texts)} entries and tgt_img_path {len(pictures)}")
    if not texts:
        raise RowError("it has no candidates")
    return list(dict.fromkeys((text or "", picture or "") for text, picture in zip(texts, pictures, strict=True)))
