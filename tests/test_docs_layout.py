"""The page "Your own data" against the readers: its example folder is built as it stands there, and must be read."""

import base64
import json
import re
from collections.abc import Mapping
from pathlib import Path

import pytest

from data_prep.sources import find_sources
from eval.question_files import read_questions
from pipeline.data import mmeb_eval
from pipeline.data.picture_preparer import MAX_DECODED_PIXELS, PicturePreparer
from pipeline.data.pictures import MAX_PICTURE_BYTES
from pipeline.data.reject import Reject
from pipeline.data.row_ranges import EVERY_ROW
from pipeline.data.sharegpt4v_release import CONVERSATIONS
from pipeline.errors import DataError
from pipeline.sample import Sample
from tests.pages import DATA, blocks, table
from tests.pipeline.data.releases import picture, write_table, write_zip

PARTS = ("MMEB-train", "MMEB-eval", "conversations", "mcq")
PICTURE = picture(1)
VALUES: Mapping[str, object] = {
    "qry": "<|image_1|>\nWhich bird?",
    "qry_image_path": "images/Birds/Train/0001.jpg",
    "pos_text": "a robin",
    "pos_image_path": "",
    "neg_text": "a wren",
    "neg_image_path": "",
    "qry_text": "<|image_1|>\nWhich bird?",
    "qry_img_path": "Birds/0001.jpg",
    "tgt_text": ["a robin", "a wren"],
    "tgt_img_path": ["", ""],
    "index": "1",
    "question": "Which bird?",
    "A": "a robin",
    "B": "a wren",
    "answer": "A",
    "image": base64.b64encode(PICTURE).decode(),
    "image_path": "0001.jpg",
}


def part_of_page(part: str) -> str:
    return DATA.split(f"\n## {part}\n")[1].split("\n##")[0]


def columns(part: str, *, needed: bool | None = None) -> list[str]:
    """Columns that the page lists for a part: those needed (one of two counts), those not, or all."""
    rows = [(name, row["needed"] != "no") for row in table(part_of_page(part), "column") for name in row["column"].split(", ")]
    return [name.strip("`") for name, is_needed in rows if needed in (None, is_needed)]


def layout() -> list[str]:
    """Paths of the page's example folder."""
    (block,) = [text for text in blocks(DATA, "text") if text.startswith("my_data/")]
    paths, above = [], ""
    for line in block.splitlines()[1:]:
        name = line.split("#")[0].strip()
        indent = len(line) - len(line.lstrip())
        above = name if indent == 2 else above
        if indent == 4:
            paths.append(above + name)
    return paths


def write_part(root: Path, part: str, names: list[str]) -> None:
    """The files of one part, with the given columns only."""
    row = {name: VALUES.get(name, "") for name in names}
    for path in (root / path for path in layout() if path.startswith(part)):
        if path.suffix == ".parquet":
            write_table(path, [row])
        elif path.suffix == ".zip":
            folders = {"MMEB-train": "Birds/Train", "MMEB-eval": "Birds", "conversations": "birds"}
            write_zip(path, {f"{folders[part]}/0001.jpg": PICTURE})
        elif path.suffix == ".tsv":
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text("\t".join(row) + "\n" + "\t".join(map(str, row.values())) + "\n")
        else:
            example = datasets_example() if path.name == "datasets.json" else conversation_example()
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(json.dumps(example))


def datasets_example() -> dict[str, dict[str, str]]:
    return json.loads(blocks(part_of_page("MMEB-eval"), "json")[0])


def conversation_example() -> list[dict[str, object]]:
    return json.loads(blocks(part_of_page("conversations"), "json")[0])


def read_part(root: Path, part: str) -> list[object]:
    """What the readers make of the part of a data folder."""
    if part in ("MMEB-train", "conversations"):
        wanted = "Birds" if part == "MMEB-train" else CONVERSATIONS
        prepare = PicturePreparer(max_pixels=10**6)
        (source,) = [source for source in find_sources(root) if source.dataset == wanted]
        return list(source.read(prepare, prepare.counts, EVERY_ROW))
    if part == "MMEB-eval":
        assert mmeb_eval.eval_datasets(root) == ["Birds"]
        return list(mmeb_eval.read_eval(root, "Birds").queries)
    return list(read_questions(root / "mcq" / "Birds.tsv").rows)


def write_folder(root: Path, **columns_of: list[str]) -> None:
    for part in PARTS:
        write_part(root, part, columns_of.get(part, columns(part)))


def test_the_layout_is_read_as_it_stands(tmp_path: Path) -> None:
    assert {path.split("/")[0] for path in layout()} == set(PARTS)
    write_folder(tmp_path)
    for part in ("MMEB-train", "conversations"):
        (sample,) = read_part(tmp_path, part)
        assert isinstance(sample, Sample), sample
        assert sample.query.images == (PICTURE,)
        assert [side.text for side in sample.negatives] == (["a wren"] if part == "MMEB-train" else [])
    (query,) = read_part(tmp_path, "MMEB-eval")
    assert query.images == (PICTURE,)
    (question,) = read_part(tmp_path, "mcq")
    assert (question.options["A"], question.images) == ("a robin", (PICTURE,))
    said = datasets_example()["Birds"]
    assert mmeb_eval.describe(tmp_path, "Birds") == mmeb_eval.DatasetInfo(said["meta_task"], said["split"])


def test_pictures_may_be_unpacked_where_the_page_says(tmp_path: Path) -> None:
    write_folder(tmp_path)
    for archive, folder in (
        ("MMEB-train/images_zip/Birds.zip", "MMEB-train/images_zip/Birds/Birds/Train"),
        ("MMEB-train/images_zip/Birds", "MMEB-train/images/Birds/Train"),
        ("MMEB-eval/images.zip", "MMEB-eval/images/Birds"),
        ("conversations/images.zip", "conversations/images/birds"),
    ):
        (tmp_path / archive).rename(tmp_path / "away")
        (tmp_path / folder).mkdir(parents=True)
        (tmp_path / folder / "0001.jpg").write_bytes(PICTURE)
        (item,) = read_part(tmp_path, archive.split("/")[0])
        assert not isinstance(item, Reject), item
        (tmp_path / "away").rename(tmp_path / f"gone-{folder.replace('/', '-')}")


@pytest.mark.parametrize("part", ["MMEB-train", "MMEB-eval", "mcq"])
def test_needed_columns_are_needed_and_the_others_are_not(tmp_path: Path, part: str) -> None:
    needed = [name for name in columns(part, needed=True) if name != "image_path"]
    for number, left_out in enumerate(needed):
        root = tmp_path / str(number)
        write_folder(root, **{part: [name for name in [*needed, "A", "B"] if name != left_out]})
        with pytest.raises(DataError, match=rf"column {left_out}\b"):
            read_part(root, part)
    write_folder(tmp_path / "bare", **{part: needed + (["A", "B"] if part == "mcq" else [])})
    assert len(read_part(tmp_path / "bare", part)) == 1


def test_question_pictures_may_be_files(tmp_path: Path) -> None:
    assert {row["needed"] for row in table(part_of_page("mcq"), "column") if "image" in row["column"]} == {"one of the two"}
    write_folder(tmp_path, mcq=["index", "question", "answer", "A", "B", "image_path"])
    (said,) = [row["what it holds"] for row in table(part_of_page("mcq"), "column") if row["column"] == "`image_path`"]
    (folder,) = re.findall(r"`([^`]+)`", said)
    (tmp_path / folder).mkdir(parents=True)
    (tmp_path / folder / "0001.jpg").write_bytes(PICTURE)
    assert read_part(tmp_path, "mcq")[0].images == (PICTURE,)


def test_fields_of_a_conversation(tmp_path: Path) -> None:
    for field in columns("conversations"):
        root = tmp_path / field
        write_folder(root)
        rows = [{name: value for name, value in row.items() if name != field} for row in conversation_example()]
        if field == "image":  # a question that has a place for a picture would be asked blind
            rows[0]["conversations"][0]["value"] = rows[0]["conversations"][0]["value"].removeprefix("<image>\n")
        (root / "conversations" / "train.json").write_text(json.dumps(rows))
        (item,) = read_part(root, "conversations")
        assert isinstance(item, Reject) == (field in columns("conversations", needed=True)), field


def test_limits_of_pictures_are_the_codes() -> None:
    words = " ".join(part_of_page("What is rejected").split())
    assert f"{MAX_DECODED_PIXELS // 10**6} million pixels or {MAX_PICTURE_BYTES // 2**20} MiB" in words
