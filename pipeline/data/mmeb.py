"""Readers of the MMEB release layouts: MMEB-train (pairs) and MMEB-eval (queries with their candidate lists)."""

import hashlib
import json
import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from pipeline.data.keys import make_key
from pipeline.data.mmeb_registry import ALIASES, META, DatasetInfo, Split, split_instruction
from pipeline.data.parquet_rows import Columns, ParquetRow, count_rows, read_rows
from pipeline.data.pictures import MissingError, Pictures, find_pictures, measured, untouched
from pipeline.data.reject import Reject, RowError
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.data.texts import checked_text
from pipeline.errors import DataError
from pipeline.sample import Sample, Side

TRAIN, EVAL = "MMEB-train", "MMEB-eval"
MARKERS_REMOVED = "image_markers_removed"
"""Count of markers that named no picture of their side (WebQA's queries have one)."""

_TRAIN_COLUMNS = Columns(
    texts=("qry", "pos_text", "neg_text"),
    pictures=("qry_image_path", "pos_image_path", "neg_image_path"),
    optional=("neg_text", "neg_image_path"),
)
_EVAL_COLUMNS = Columns(texts=("qry_text", "qry_img_path"), lists=("tgt_text", "tgt_img_path"))
_PART = re.compile(r"(?P<split>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.parquet")
_MARKER = re.compile(r"<\|image_(\d+)\|>\n?")

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class EvalSet:
    """One evaluation set. `pools` holds, for each query, indices of `candidates`; the first of a pool is the right one."""

    name: str
    queries: tuple[Side, ...]
    candidates: tuple[Side, ...]
    pools: tuple[tuple[int, ...], ...]


def train_datasets(root: Path) -> list[str]:
    """Names of the datasets in `<root>/MMEB-train`, sorted. Raises DataError when there are none."""
    return _datasets(root / TRAIN, "*.parquet")


def eval_datasets(root: Path) -> list[str]:
    """Names of the datasets in `<root>/MMEB-eval`, sorted. Raises DataError when there are none."""
    return _datasets(root / EVAL, "test-*.parquet")


def count_train(root: Path, dataset: str, *, split: str = "original") -> int:
    """Rows of a dataset's split, from the files' footers alone."""
    return count_rows(_parts(root / TRAIN / dataset, split))


def count_train_pictures(root: Path, dataset: str, *, split: str = "original") -> tuple[int, int]:
    """How often rows name a picture, and how many of those are missing; none is opened. Raises DataError as `read_train`."""
    columns = Columns(pictures=_TRAIN_COLUMNS.pictures, optional=_TRAIN_COLUMNS.optional)
    paths = [
        path
        for row in read_rows(_parts(root / TRAIN / dataset, split), columns)
        for path in row.values.values()
        if path and isinstance(path, str)
    ]
    if not paths:
        return 0, 0
    try:
        source = find_pictures(*_places(root, dataset))
    except MissingError:
        return len(paths), len(paths)
    return len(paths), sum(not source.has(path) for path in paths)


def read_train(
    root: Path,
    dataset: str,
    *,
    split: str = "original",
    cap: int | None = None,
    prepare: Callable[[bytes], bytes] = untouched,
    counts: Counter[str] | None = None,
    rows: RowRanges = EVERY_ROW,
) -> Iterator[Sample | Reject]:
    """The pairs of a dataset, one item for each source row that `rows` ask for, in order; at most the first `cap` rows.

    `prepare` sees the encoded bytes of each picture and may refuse or replace them; `counts` receives what was mended.
    Raises DataError for a file that is unusable as a whole.
    """
    folder, counts = root / TRAIN, Counter() if counts is None else counts
    pictures = Pictures(*_places(root, dataset), prepare=prepare)
    for row in read_rows(_parts(folder / dataset, split), _TRAIN_COLUMNS, rows):
        if cap is not None and row.number >= cap:
            return
        if rows.begin_at(row.number):
            pictures.forget()
        key = make_key(dataset, row.number)
        try:
            yield _pair(row, key, dataset, pictures=pictures, counts=counts)
        except RowError as error:
            yield Reject(source=str(row.file.relative_to(root)), row=row.row, key=key, reason=str(error))


def _places(root: Path, dataset: str) -> tuple[Path, Path, Path]:
    """Where the pictures of a dataset may lie."""
    zips = root / TRAIN / "images_zip"
    return zips / f"{dataset}.zip", zips / dataset, root / TRAIN / "images"


def read_eval(root: Path, dataset: str) -> EvalSet:
    """An evaluation set with its pictures in memory; candidates are those of all rows, once per (text, picture).

    A benchmark is used whole or not at all: raises DataError, naming file and row, for anything missing or damaged.
    """
    folder, counts = root / EVAL, Counter[str]()
    pictures = Pictures(folder / "images.zip", folder / "images", prepare=measured)
    sides: dict[tuple[str, str], Side] = {}
    places: dict[tuple[str, str], int] = {}
    queries, pools = [], []
    for row in read_rows(_parts(folder / dataset, "test"), _EVAL_COLUMNS):
        try:
            pairs = _candidates(row)
            queries.append(_side(row.values["qry_text"], row.values["qry_img_path"], pictures, counts))
            for pair in pairs:
                if pair not in places:
                    sides[pair] = _side(*pair, pictures, counts)
                    places[pair] = len(places)
        except RowError as error:
            raise DataError(f"{row.file}: row {row.row}: {error}; download the benchmark again") from error
        pools.append(tuple(places[pair] for pair in pairs))
    if not queries:
        raise DataError(f"{folder / dataset}: has no rows; download it again")
    if counts[MARKERS_REMOVED]:
        log.info("%s: %d image markers without a picture left out", dataset, counts[MARKERS_REMOVED])
    return EvalSet(name=dataset, queries=tuple(queries), candidates=tuple(sides.values()), pools=tuple(pools))


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
        entries = json.loads(path.read_text(encoding="utf-8"))
        found = {str(name): DatasetInfo(entry["meta_task"], entry["split"]) for name, entry in entries.items()}
        if wrong := [
            name for name, info in found.items() if not isinstance(info.meta_task, str) or info.split not in get_args(Split)
        ]:
            raise ValueError(wrong[0])
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        form = '{"name": {"meta_task": ..., "split": "IND" or "OOD"}}'
        raise DataError(f"{path}: not of the form {form} ({error!r}); mend it") from error
    return found


def _datasets(folder: Path, pattern: str) -> list[str]:
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a data folder holds {TRAIN}/, {EVAL}/, conversations/ and mcq/")
    names = []
    for path in sorted(path for path in folder.iterdir() if path.is_dir()):
        if any(path.glob(pattern)):
            names.append(path.name)
        elif lone := next(path.glob("*parquet*"), None):  # a download that did not end, or another split
            raise DataError(f"{path}: has {lone.name}, but no {pattern}; download it again, choose another split, or remove it")
    if not names:
        raise DataError(f"{folder}: no dataset folders with parquet files; check the path")
    return names


def _parts(folder: Path, split: str) -> list[Path]:
    """The parquet files of a split in order. Raises DataError when there are none or one of them is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such dataset folder; check the path and the name")
    matches = ((path, _PART.fullmatch(path.name)) for path in folder.glob("*.parquet"))
    found = {path: match for path, match in matches if match and match["split"] == split}
    if not found:
        raise DataError(f"{folder}: no {split}-NNNNN-of-MMMMM.parquet in it; download the dataset or choose another split")
    total = max(int(match["parts"]) for match in found.values())
    names = {f"{split}-{part:05d}-of-{total:05d}.parquet" for part in range(total)}
    wrong = sorted(names ^ {path.name for path in found})
    if wrong:
        raise DataError(f"{folder}: {wrong[0]} is missing or foreign to the {total} files of {split}; download them again")
    return sorted(found)


def _pair(row: ParquetRow, key: str, dataset: str, *, pictures: Pictures, counts: Counter[str]) -> Sample:
    if row.problem:
        raise RowError(row.problem)
    values = row.values
    query = _side(values["qry"], values["qry_image_path"], pictures, counts)
    positive = _side(values["pos_text"], values["pos_image_path"], pictures, counts)
    for name, side in (("query", query), ("positive", positive)):
        if _is_empty(side):
            raise RowError(f"its {name} side has neither text nor picture")
    negative = _side(values.get("neg_text"), values.get("neg_image_path"), pictures, counts)
    negatives = () if _is_empty(negative) else (negative,)
    return Sample(key=key, dataset=dataset, query=query, positive=positive, negatives=negatives)


def _candidates(row: ParquetRow) -> list[tuple[str, str]]:
    """(text, picture path) of a row's candidates, each once, the right one first."""
    if row.problem:
        raise RowError(row.problem)
    texts, paths = row.values["tgt_text"] or [], row.values["tgt_img_path"] or []
    if len(texts) != len(paths):
        raise RowError(f"tgt_text has {len(texts)} entries and tgt_img_path {len(paths)}")
    if not texts:
        raise RowError("it has no candidates")
    return list(dict.fromkeys((text or "", path or "") for text, path in zip(texts, paths, strict=True)))


def _side(text: str | None, picture: str | bytes | None, pictures: Pictures, counts: Counter[str]) -> Side:
    if not (text or picture):
        return Side()
    checked_text(text or "", "a text")
    images = (_picture(picture, pictures),) if picture else ()
    kept, removed = _known_markers(text or "", len(images))
    counts[MARKERS_REMOVED] += removed
    instruction, rest = split_instruction(kept)
    return Side(instruction=instruction, text=rest, images=images)


def _picture(picture: str | bytes, pictures: Pictures) -> bytes:
    """A picture by its path, or one that stands in the table."""
    return pictures.read(picture) if isinstance(picture, str) else pictures.prepared(picture, "a picture in the table")


def _known_markers(text: str, images: int) -> tuple[str, int]:
    """The text without markers (and the line break behind them) that name no picture of the side, and how many went."""
    seen, removed = set[int](), 0

    def keep(match: re.Match[str]) -> str:
        nonlocal removed
        number = int(match[1])
        if 1 <= number <= images and number not in seen:
            seen.add(number)
            return match[0]
        removed += 1
        return ""

    return _MARKER.sub(keep, text), removed


def _is_empty(side: Side) -> bool:
    return not side.images and not (side.instruction + side.text).strip()
