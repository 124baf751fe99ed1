"""Readers of picture-caption benchmarks in their public layouts: pictures, captions, and whose each caption is.

`<data>/cross-domain/` holds a folder a set, with its annotations and its pictures (as files, or in a zip in a folder's place):

    flickr30k/   dataset_flickr30k.json (Karpathy) or flickr30k_test.json (BLIP); flickr30k-images/
    coco/        dataset_coco.json (Karpathy) or coco_karpathy_test.json (BLIP); val2014/
    sharegpt4v/  share-captioner_coco_lcs_sam_1246k_1107.json; the pictures by its paths
    urban1k/     caption/1.txt, ... and image/1.jpg, ...

A benchmark is used whole or not at all: what is missing, empty or damaged is a DataError with file, row and picture.
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

from pipeline.data.json_array import read_array
from pipeline.data.lazy_sides import LatePictures
from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import Pictures
from pipeline.data.reject import RowError
from pipeline.data.release_files import unusable, visible
from pipeline.data.texts import checked_text
from pipeline.errors import DataError

FOLDER = "cross-domain"
CAPTIONS = 5
"""Captions of a picture that count, the first ones: COCO has up to seven."""

LONG_ROWS = 1000
"""Rows of ShareGPT4V's captions that are its test, the first ones (Long-CLIP's eval/retrieval)."""

Row = tuple[str, list[str]]
"""A picture's path and its captions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CaptionSet:
    """`pictures` are read when asked for; `owners` (C,) has each caption's. `expected` is how many the published test has."""

    name: str
    pictures: Sequence[bytes]
    captions: tuple[str, ...]
    owners: tuple[int, ...]
    expected: int

    @property
    def is_part(self) -> bool:
        """Whether it is not the published test, so that no published figure may stand beside its own."""
        return len(self.pictures) != self.expected


def read_captions(data: Path, name: str, *, verify: bool = True) -> CaptionSet:
    """A set, with every picture decoded once. Without `verify` (it was checked before) none is looked at."""
    folder, layout = data / FOLDER / name, LAYOUTS[name]
    places = folder / "images.zip", folder
    source = Pictures(*places, prepare=for_benchmarks())
    known, captions, owners = dict[str, None](), list[str](), list[int]()
    for where, (path, texts) in layout.rows(folder):
        try:
            if path in known:
                raise RowError(f"{path}: stands in two rows")
            known[path] = None
            if verify:
                source.read(path)
            captions += [_caption(text) for text in texts]
        except RowError as error:
            raise DataError(f"{where}: {error}; download the benchmark again") from error
        owners += [len(known) - 1] * len(texts)
    if not known:
        raise DataError(f"{folder}: has no rows of the test; download the benchmark again")
    pictures = LatePictures(*places).of(tuple(known))
    return CaptionSet(name=name, pictures=pictures, captions=tuple(captions), owners=tuple(owners), expected=layout.expected)


def _caption(text: object) -> str:
    if not isinstance(text, str):
        raise RowError(f"a caption is {type(text).__name__}, not a text")
    words = checked_text(text, "a caption").strip()
    if not words:
        raise RowError("a caption is empty")
    return words


def one_file(folder: Path, names: tuple[str, ...]) -> Path:
    """The first of some files that a folder has. Raises DataError, naming them, where it has none."""
    found = next((folder / name for name in names if (folder / name).is_file()), None)
    if found is None:
        raise DataError(f"{folder}: no {' and no '.join(names)}; download the annotations")
    return found


def read_json(path: Path, hook: Callable[[list[tuple[str, Any]]], Any] | None = None) -> Any:
    """A JSON file; bytes that are not UTF-8 arrive as lone surrogates, and cost their row. Raises DataError."""
    try:
        return json.loads(path.read_text(encoding="utf-8-sig", errors="surrogateescape"), object_pairs_hook=hook)
    except (ValueError, RecursionError) as error:
        raise unusable(path, f"not readable as JSON ({error})") from error


@dataclass(frozen=True, slots=True)
class _Layout:
    """How a set lies in its folder: rows with the words that name each, and the pictures of the published test."""

    expected: int
    rows: Callable[[Path], Iterator[tuple[str, Row]]]


def _karpathy(karpathy: str, blip: str, pictures: str) -> Callable[[Path], Iterator[tuple[str, Row]]]:
    """Rows of the test split by Karpathy's file, or by BLIP's excerpt of it."""

    def rows(folder: Path) -> Iterator[tuple[str, Row]]:
        path = one_file(folder, (karpathy, blip))
        found = read_json(path, _lean)
        images = found.get("images") if isinstance(found, dict) else found
        if not isinstance(images, list):
            raise unusable(path, "has no list of pictures")
        for number, image in enumerate(images):
            if image is not None:
                where = f"{path}: row {number}"
                yield where, _of_karpathy(image, pictures, where) if isinstance(found, dict) else _of_blip(image, where)

    return rows


def _lean(pairs: list[tuple[str, Any]]) -> dict[str, Any] | None:
    """An object without its tokens; None for a picture of another split: COCO's file has 123,000, of which 5,000 count."""
    found = dict(pairs)
    found.pop("tokens", None)
    return None if "sentences" in found and found.get("split") != "test" else found


def _of_karpathy(image: object, pictures: str, where: str) -> Row:
    if not isinstance(image, dict) or not isinstance(image.get("filename"), str):
        raise DataError(f"{where}: has no filename; download the benchmark again")
    sentences = image.get("sentences")
    if not isinstance(sentences, list) or not all(isinstance(each, Mapping) for each in sentences):
        raise DataError(f"{where}: its sentences are no list of objects; download the benchmark again")
    return f"{image.get('filepath') or pictures}/{image['filename']}", _first([each.get("raw") for each in sentences], where)


def _of_blip(image: object, where: str) -> Row:
    if not isinstance(image, dict) or not isinstance(image.get("image"), str) or not isinstance(image.get("caption"), list):
        raise DataError(f'{where}: not of the form {{"image": ..., "caption": [...]}}; download the benchmark again')
    return image["image"], _first(image["caption"], where)


def _first(captions: list[Any], where: str) -> list[Any]:
    if len(captions) < CAPTIONS:
        raise DataError(f"{where}: has {len(captions)} captions, not {CAPTIONS}; download the benchmark again")
    return captions[:CAPTIONS]


def _sharegpt4v(folder: Path) -> Iterator[tuple[str, Row]]:
    """The first rows; a caption's line breaks are spaces, as in Long-CLIP's evaluation."""
    path = one_file(folder, ("share-captioner_coco_lcs_sam_1246k_1107.json",))
    for number, row in enumerate(islice(read_array(path), LONG_ROWS)):
        where = f"{path}: row {number}"
        turns = row.get("conversations") if isinstance(row, dict) else None
        given = turns if isinstance(turns, list) else []
        told: list[Any] = [turn.get("value") for turn in given if isinstance(turn, dict) and turn.get("from") == "gpt"]
        if not isinstance(row, dict) or not isinstance(row.get("image"), str) or len(told) != 1:
            raise DataError(f"{where}: has no picture, or not one caption; download the benchmark again")
        yield where, (row["image"], [told[0].replace("\n", " ") if isinstance(told[0], str) else told[0]])


def _urban1k(folder: Path) -> Iterator[tuple[str, Row]]:
    """A caption is its file's first line, as in Long-CLIP's evaluation; its picture has its name."""
    files = sorted(visible(folder / "caption", "*.txt"), key=lambda path: (len(path.stem), path.stem))
    if not files:
        raise DataError(f"{folder}: no caption/*.txt; download the benchmark")
    for path in files:
        lines = path.read_text(encoding="utf-8-sig", errors="surrogateescape").splitlines()
        yield str(path), (f"image/{path.stem}.jpg", lines[:1] or [""])


LAYOUTS: dict[str, _Layout] = {
    "flickr30k": _Layout(1000, _karpathy("dataset_flickr30k.json", "flickr30k_test.json", "flickr30k-images")),
    "coco": _Layout(5000, _karpathy("dataset_coco.json", "coco_karpathy_test.json", "val2014")),
    "sharegpt4v": _Layout(LONG_ROWS, _sharegpt4v),
    "urban1k": _Layout(1000, _urban1k),
}
"""The sets by the names of their folders."""
