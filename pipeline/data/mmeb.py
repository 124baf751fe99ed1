"""Reader of MMEB-train in its release layout: pairs of a query and a positive, some with a hard negative."""

from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

from pipeline.data.keys import make_key
from pipeline.data.mmeb_rows import dataset_names, is_empty, read_side, split_files
from pipeline.data.parquet_rows import Columns, ParquetRow, count_rows, read_rows
from pipeline.data.picture_count import Mentions, PictureCount
from pipeline.data.pictures import MissingError, Pictures, find_pictures, untouched
from pipeline.data.reject import Reject, RowError
from pipeline.data.row_ranges import EVERY_ROW, RowRanges
from pipeline.sample import Sample

TRAIN = "MMEB-train"

_TRAIN_COLUMNS = Columns(
    texts=("qry", "pos_text", "neg_text"),
    pictures=("qry_image_path", "pos_image_path", "neg_image_path"),
    optional=("neg_text", "neg_image_path"),
)


def train_datasets(root: Path) -> list[str]:
    """Names of the datasets in `<root>/MMEB-train`, sorted. Raises DataError when there are none."""
    return dataset_names(root / TRAIN, "*.parquet")


def count_train(root: Path, dataset: str, *, split: str = "original") -> int:
    """Rows of a dataset's split, from the files' footers alone."""
    return count_rows(split_files(root / TRAIN / dataset, split))


def count_train_pictures(root: Path, dataset: str, *, split: str = "original") -> PictureCount:
    """The pictures that rows name; none is opened. Raises DataError as `read_train`."""
    columns = Columns(pictures=_TRAIN_COLUMNS.pictures, optional=_TRAIN_COLUMNS.optional)
    try:
        source = find_pictures(*_places(root, dataset))
    except MissingError:
        source = None
    mentions = Mentions()
    for row in read_rows(split_files(root / TRAIN / dataset, split), columns):
        for path in row.values.values():
            if path and isinstance(path, str):
                mentions.add(path, row=row.row, is_there=source is not None and source.has(path))
    return mentions.count(dataset)


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
    for row in read_rows(split_files(folder / dataset, split), _TRAIN_COLUMNS, rows):
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


def _pair(row: ParquetRow, key: str, dataset: str, *, pictures: Pictures, counts: Counter[str]) -> Sample:
    if row.problem:
        raise RowError(row.problem)
    values = row.values
    query = read_side(values["qry"], values["qry_image_path"], pictures, counts)
    positive = read_side(values["pos_text"], values["pos_image_path"], pictures, counts)
    for name, side in (("query", query), ("positive", positive)):
        if is_empty(side):
            raise RowError(f"its {name} side has neither text nor picture")
    negative = read_side(values.get("neg_text"), values.get("neg_image_path"), pictures, counts)
    negatives = () if is_empty(negative) else (negative,)
    return Sample(key=key, dataset=dataset, query=query, positive=positive, negatives=negatives)
