"""Reader of MMEB-eval in both its layouts: queries, each with its list of candidates, of which the first is right.

In the release layout instructions stand in the texts. In the instruction layout of MMEB-V2's image part they stand in columns of
their own, `qry_inst` and `tgt_inst`, and are put in front of the texts, so that both give the same sides.
"""

import hashlib
import json
import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from pipeline.data.lazy_sides import LatePictures, LazySides, chained
from pipeline.data.mmeb_registry import ALIASES, META, DatasetInfo, Split
from pipeline.data.mmeb_rows import dataset_names, is_empty, split_files, worded_side
from pipeline.data.parquet_rows import Columns, ParquetRow, read_rows
from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import Pictures
from pipeline.data.reject import RowError
from pipeline.errors import DataError
from pipeline.sample import Side

EVAL = "MMEB-eval"
EMPTY_CANDIDATES = "wrong candidates with neither text nor picture, which stay in their pools"

REPEATED = "candidates that repeat the right one of their row, and count once"

INSTRUCTIONS_JOINED = "rows whose instructions stood in columns of their own and were put in front of their texts"

INSTRUCTIONS_PASSED_OVER = "candidates of text alone, to which the instruction of their row's pictures does not apply"

_COLUMNS = Columns(
    texts=("qry_text", "qry_inst"),
    texts_or_lists=("tgt_inst",),
    pictures=("qry_img_path",),
    lists=("tgt_text",),
    picture_lists=("tgt_img_path",),
    passed_over=("id", "idx", "index", "qid", "query_id", "source", "license", "url", "comment", "__index_level_0__"),
    optional=("qry_inst", "tgt_inst"),
    advice="a column that is only a note can be removed",
)
"""`passed_over` are numbers and notes of rows: nothing that is embedded or ranked depends on them."""

Identity = Literal["text_and_picture", "picture"]
"""What makes two candidates of a set one: the same text and picture or, of those with pictures, the picture alone. Then the first
one's text is embedded for all, as the second version of VLM2Vec's harness does where texts look for pictures."""

_Candidate = tuple[str, str | bytes]
"""Text, and picture by its path or as it stands in the table."""

_Unread = tuple[Side, str | bytes | None]
"""A side without its picture, and that."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """One evaluation set. `pools` holds, for each query, indices of `candidates`; the first of a pool is the right one.

    Pictures are read when a side is asked for, so that a set of any size may be gone through.
    """

    name: str
    queries: Sequence[Side]
    candidates: Sequence[Side]
    pools: tuple[tuple[int, ...], ...]


def eval_datasets(root: Path) -> list[str]:
    """Names of the datasets in `<root>/MMEB-eval`, sorted. Raises DataError when there are none.

    One that came in part is among them: it is reading it that fails, so that it costs itself and no other.
    """
    return dataset_names(root / EVAL, "*parquet*")


def read_eval(root: Path, dataset: str, *, verify: bool = True, identity: Identity = "text_and_picture") -> EvalSet:
    """An evaluation set; candidates are those of all rows, each once.

    A benchmark is used whole or not at all: raises DataError, naming file, row and picture, for anything missing, empty or
    damaged. An empty candidate that is wrong stays: the pool keeps its size, and with it the score its meaning. Without `verify`
    (for a set that was checked before) no picture is looked at before its side is asked for, and counts are not said again.
    """
    folder = root / EVAL
    places = folder / "images.zip", folder / "images"
    reader = _Reader(Pictures(*places, prepare=for_benchmarks()) if verify else None, identity)
    for row in read_rows(split_files(folder / dataset, "test"), _COLUMNS):
        try:
            reader.take(row)
        except RowError as error:
            raise DataError(f"{row.file}: row {row.row}: {error}; download the benchmark again") from error
    if not reader.queries:
        raise DataError(f"{folder / dataset}: has no rows; download it again")
    for what, count in (+reader.counts).items() if verify else ():
        log.info("%s: %s: %d", dataset, what, count)
    late = LatePictures(*places)
    queries, candidates = _sides(reader.queries, late), _sides(list(reader.sides.values()), late)
    return EvalSet(name=dataset, queries=queries, candidates=candidates, pools=tuple(reader.pools))


def _sides(rows: Sequence[_Unread], pictures: LatePictures) -> LazySides:
    def make(number: int) -> Side:
        side, picture = rows[number]
        return replace(side, images=(pictures.read(picture),)) if picture else side

    return LazySides(len(rows), make)


def check_eval(root: Path, dataset: str) -> str:
    """Read a set whole, every picture decoded, and keep nothing; its fingerprint. Raises DataError as `read_eval`."""
    describe(root, dataset)
    return eval_fingerprint(read_eval(root, dataset))


class _Reader:
    """What was read of a set so far; `counts` has what was mended or is odd. With `pictures` each of them is looked at."""

    def __init__(self, pictures: Pictures | None, identity: Identity) -> None:
        self.queries: list[_Unread] = []
        self.pools: list[tuple[int, ...]] = []
        self.sides: dict[_Candidate, _Unread] = {}
        self.counts = Counter[str]()
        self._places: dict[_Candidate, int] = {}
        self._leads: dict[_Candidate, str] = {}
        self._first: dict[str | bytes, _Candidate] = {}
        self._pictures, self._identity = pictures, identity

    def take(self, row: ParquetRow) -> None:
        """Read a row. Raises RowError."""
        candidates = [self._first_like(each) for each in self._candidates(row)]
        right, *wrong = dict.fromkeys(candidates)
        self.counts[REPEATED] += candidates.count(right) - 1
        text, picture = row.values["qry_text"], row.values["qry_img_path"]
        instruction = (row.values.get("qry_inst") or "") if (text or "").strip() or picture else ""
        self.counts[INSTRUCTIONS_JOINED] += bool(instruction)
        query = self._side(joined(instruction, text), picture, instruction)
        for side, name in ((query, "query"), (self._candidate(right), "right candidate")):
            if _is_empty(side):
                raise RowError(f"its {name} has neither text nor picture")
        self.counts[EMPTY_CANDIDATES] += sum(_is_empty(self._candidate(each)) for each in wrong)
        self.queries.append(query)
        self.pools.append(tuple(self._places[each] for each in (right, *wrong)))

    def _candidates(self, row: ParquetRow) -> list[_Candidate]:
        """(text, picture) of a row's candidates, the right one first. The instruction is that of pictures: labels and captions
        have none, in the release layout too.
        """
        if row.problem:
            raise RowError(row.problem)
        texts, pictures = row.values["tgt_text"] or [], row.values["tgt_img_path"] or []
        given = row.values.get("tgt_inst")
        instructions = given if isinstance(given, list) else [given] * len(texts)
        for name, column in (("tgt_img_path", pictures), ("tgt_inst", instructions)):
            if len(texts) != len(column):
                raise RowError(f"tgt_text has {len(texts)} entries and {name} {len(column)}")
        if not texts:
            raise RowError("it has no candidates")
        self.counts[INSTRUCTIONS_PASSED_OVER] += sum(
            bool(instruction and text and not picture)
            for text, picture, instruction in zip(texts, pictures, instructions, strict=True)
        )
        found = []
        for text, picture, instruction in zip(texts, pictures, instructions, strict=True):
            found.append((joined(instruction, text) if picture else text or "", picture or ""))
            self._leads.setdefault(found[-1], instruction or "" if picture else "")
        return found

    def _first_like(self, candidate: _Candidate) -> _Candidate:
        """The first candidate that was met of those that are one with it."""
        picture = candidate[1]
        return self._first.setdefault(picture, candidate) if picture and self._identity == "picture" else candidate

    def _candidate(self, candidate: _Candidate) -> _Unread:
        if candidate not in self.sides:
            self.sides[candidate] = self._side(*candidate, self._leads[candidate])
            self._places[candidate] = len(self._places)
        return self.sides[candidate]

    def _side(self, text: str | None, picture: str | bytes | None, lead: str) -> _Unread:
        side = worded_side(text, self.counts, has_picture=bool(picture), lead=lead)
        if picture and self._pictures is not None:
            self._pictures.of_row(picture)
        return side, picture


def _is_empty(unread: _Unread) -> bool:
    side, picture = unread
    return not picture and is_empty(side)


def eval_fingerprint(eval_set: EvalSet) -> str:
    """Depends on every text and every byte of every picture of a set, on their order and on the pools, and on nothing else."""
    digest = hashlib.sha256()
    for side in chained(eval_set.queries, eval_set.candidates):
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


def joined(instruction: str | None, text: str | None) -> str:
    """An instruction in front of a text: after its own white space, or a space where it ends without."""
    if not instruction or not text:
        return instruction or text or ""
    return f"{instruction}{text}" if instruction[-1].isspace() else f"{instruction} {text}"
