"""What MMEB-train and MMEB-eval have in common: folders of parquet files by split, and sides of a text and a picture."""

import re
from collections import Counter
from dataclasses import replace
from pathlib import Path

from pipeline.data.mmeb_registry import split_instruction
from pipeline.data.pictures import Pictures
from pipeline.data.release_files import visible
from pipeline.data.texts import checked_text
from pipeline.errors import DataError
from pipeline.sample import Side

MARKERS_REMOVED = "image_markers_removed"
"""Count of markers that named no picture of their side (WebQA's queries have one)."""

_PART = re.compile(r"(?P<split>.+)-(?P<part>\d{5})-of-(?P<parts>\d{5})\.parquet")
_MARKER = re.compile(r"<\|image_(\d+)\|>\n?")


def dataset_names(folder: Path, pattern: str) -> list[str]:
    """Names of the dataset folders with files of a pattern, sorted. Raises DataError when there are none, or one came in part."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such folder; a data folder holds MMEB-train/, MMEB-eval/, conversations/ and mcq/")
    names = []
    for path in sorted(path for path in visible(folder, "*") if path.is_dir()):
        if any(visible(path, pattern)):
            names.append(path.name)
        elif lone := next(visible(path, "*parquet*"), None):  # a download that did not end, or another split
            raise DataError(f"{path}: has {lone.name}, but no {pattern}; download it again, choose another split, or remove it")
        elif nested := _nested(path, pattern):
            raise DataError(f"{nested}: is a set in a folder of folders, which is not read; move it up to {folder}, or remove it")
    if not names:
        raise DataError(f"{folder}: no dataset folders with parquet files; check the path")
    return names


def _nested(folder: Path, pattern: str) -> Path | None:
    """A folder with files of a pattern below one that has none itself. Among pictures, which are many, nobody looks."""
    if folder.name in ("image", "images", "images_zip"):
        return None
    return next((path for path in visible(folder, "*") if path.is_dir() and any(visible(path, pattern))), None)


def split_files(folder: Path, split: str) -> list[Path]:
    """The parquet files of a split in order. Raises DataError when there are none or one of them is missing."""
    if not folder.is_dir():
        raise DataError(f"{folder}: no such dataset folder; check the path and the name")
    matches = ((path, _PART.fullmatch(path.name)) for path in visible(folder, "*.parquet"))
    found = {path: match for path, match in matches if match and match["split"] == split}
    if not found:
        raise DataError(f"{folder}: no {split}-NNNNN-of-MMMMM.parquet in it; download the dataset or choose another split")
    total = max(int(match["parts"]) for match in found.values())
    names = {f"{split}-{part:05d}-of-{total:05d}.parquet" for part in range(total)}
    wrong = sorted(names ^ {path.name for path in found})
    if wrong:
        raise DataError(f"{folder}: {wrong[0]} is missing or foreign to the {total} files of {split}; download them again")
    return sorted(found)


def read_side(text: str | None, picture: str | bytes | None, pictures: Pictures, counts: Counter[str], *, lead: str = "") -> Side:
    """A side of a row, empty where it has neither; `counts` receives the markers that went. Raises RowError.

    `lead` is the instruction that the text begins with, where it is known; else it is told by its wording.
    """
    side = worded_side(text, counts, has_picture=bool(picture), lead=lead)
    return replace(side, images=(pictures.of_row(picture),)) if picture else side


def worded_side(text: str | None, counts: Counter[str], *, has_picture: bool, lead: str = "") -> Side:
    """`read_side` without its picture, of which nothing but its being there is known."""
    if not (text or has_picture):
        return Side()
    checked_text(text or "", "a text")
    kept, removed = _known_markers(text or "", int(has_picture))
    counts[MARKERS_REMOVED] += removed
    known, _ = _known_markers(lead, int(has_picture))
    instruction, rest = _cut(kept, known) if known and kept.startswith(known) else split_instruction(kept)
    return Side(instruction=instruction, text=rest)


def _cut(text: str, lead: str) -> tuple[str, str]:
    """A text behind its lead; the white space between them belongs to the lead."""
    rest = text[len(lead) :].lstrip()
    return text[: len(text) - len(rest)], rest


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


def is_empty(side: Side) -> bool:
    """Whether there is nothing to embed: no picture, and no text but white space."""
    return not side.images and not (side.instruction + side.text).strip()
