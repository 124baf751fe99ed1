"""Reader of SugarCrepe: pictures, each with a right caption and one that replaces, swaps or adds something.

`<data>/cross-domain/sugarcrepe/` holds its seven files, such as `replace_obj.json`, and COCO's pictures in `val2017/`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pipeline.data.caption_sets import FOLDER, read_json
from pipeline.data.lazy_sides import LatePictures
from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import Pictures
from pipeline.data.reject import RowError
from pipeline.data.release_files import unusable
from pipeline.data.texts import checked_text
from pipeline.errors import DataError

NAME = "sugarcrepe"
KINDS = ("replace_obj", "replace_att", "replace_rel", "swap_obj", "swap_att", "add_obj", "add_att")
EXPECTED = {
    "replace_obj": (1652,),
    "replace_att": (788,),
    "replace_rel": (1406,),
    "swap_obj": (245, 246),
    "swap_att": (666,),
    "add_obj": (2062,),
    "add_att": (692,),
}
"""Rows of the published files; copies of one differ by a row."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ChoiceSet:
    """Of each row (R): its picture's place among `pictures` (read when asked for), the right caption and the wrong one."""

    kind: str
    pictures: Sequence[bytes]
    owners: tuple[int, ...]
    right: tuple[str, ...]
    wrong: tuple[str, ...]

    @property
    def is_part(self) -> bool:
        """Whether it is not the published file."""
        return len(self.owners) not in EXPECTED[self.kind]


def read_choices(data: Path, *, verify: bool = True) -> tuple[ChoiceSet, ...]:
    """All seven files, or DataError with file, row and picture: a mean over fewer kinds would be another figure."""
    folder = data / FOLDER / NAME
    places = folder / "images.zip", folder
    source, late = Pictures(*places, prepare=for_benchmarks()) if verify else None, LatePictures(*places)
    return tuple(_read(folder / f"{kind}.json", kind, source, late) for kind in KINDS)


def _read(path: Path, kind: str, source: Pictures | None, late: LatePictures) -> ChoiceSet:
    if not path.is_file():
        raise DataError(f"{path}: is not there; a figure of SugarCrepe is over all of {', '.join(KINDS)}")
    rows = read_json(path)
    if not isinstance(rows, dict) or not rows:
        raise unusable(path, 'not of the form {"0": {"filename": ..., "caption": ..., "negative_caption": ...}}')
    places: dict[str, int] = {}
    owners, captions = list[int](), list[tuple[str, str]]()
    for key, row in rows.items():
        try:
            name, right, wrong = _row(row)
            if name not in places:
                places[name] = len(places)
                if source:
                    source.read(f"val2017/{name}")
        except RowError as error:
            raise DataError(f"{path}: row {key}: {error}; download the benchmark again") from error
        owners.append(places[name])
        captions.append((right, wrong))
    rights, wrongs = zip(*captions, strict=True)
    pictures = late.of([f"val2017/{name}" for name in places])
    return ChoiceSet(kind=kind, pictures=pictures, owners=tuple(owners), right=rights, wrong=wrongs)


def _row(row: object) -> tuple[str, str, str]:
    cells = [row.get(name) if isinstance(row, Mapping) else None for name in ("filename", "caption", "negative_caption")]
    if not all(isinstance(cell, str) and cell.strip() for cell in cells):
        raise RowError("has no filename, caption or negative_caption, or one is empty or no text")
    name, right, wrong = (checked_text(str(cell), "a caption").strip() for cell in cells)
    if right == wrong:
        raise RowError("its wrong caption is the right one")
    return name, right, wrong
