from pathlib import Path
from typing import Any

import pytest

from pipeline.data.mmeb import read_train
from pipeline.data.mmeb_registry import split_instruction
from pipeline.data.mmeb_train_sets import TRAIN_SETS, shortfall
from pipeline.sample import Sample, Side
from tests.pipeline.data.releases import picture, train_row, write_train

# CREM's Table 10 by hand, with N24News as its rows are: meta-task, name, query -> target, thousands of rows.
TABLE_10 = """
classification ImageNet_1K I->T 100
classification N24News I+T->T 49
classification HatefulMemes I->T 8
classification VOC2007 I->T 8
classification SUN397 I->T 20
vqa OK-VQA I+T->T 9
vqa A-OKVQA I+T->T 17
vqa DocVQA I+T->T 40
vqa InfographicsVQA I+T->T 24
vqa ChartQA I+T->T 28
vqa Visual7W I+T->T 70
retrieval VisDial T->I 123
retrieval CIRR I+T->I 26
retrieval VisualNews_t2i T->I 100
retrieval VisualNews_i2t I->T 100
retrieval MSCOCO_t2i T->I 100
retrieval MSCOCO_i2t I->T 113
retrieval NIGHTS I->I 16
retrieval WebQA T->I+T 17
grounding MSCOCO I+T->I 100
"""

A, B = picture(1), picture(2)
IMAGE = "<|image_1|>\n"


def test_the_table_of_the_paper() -> None:
    rows = [line.split() for line in TABLE_10.split("\n") if line]
    assert [(entry.meta_task, entry.name, entry.form, str(entry.rows // 1000)) for entry in TRAIN_SETS.values()] == [
        tuple(row) for row in rows
    ]
    assert list(TRAIN_SETS) == [row[1] for row in rows]
    # The papers say 1.1 million pairs.
    assert round(sum(entry.rows for entry in TRAIN_SETS.values()), -5) == 1_100_000


@pytest.mark.parametrize("name", TRAIN_SETS)
def test_every_set_is_read_in_its_form(name: str, tmp_path: Path) -> None:
    """Rows made of the registry's wording and of words of their own come back in the registry's form."""
    entry = TRAIN_SETS[name]
    query, target = entry.form.split("->")
    own = "own words\n" if "T" in query else "\n"
    positive = {
        "T": ("a label", ""),
        "I": (IMAGE + "Represent the given image.\n", "images/p.jpg"),
        "I+T": (IMAGE + "Represent the given Wikipedia image with related text information: King Street.\n", "images/p.jpg"),
    }[target]
    # WebQA's queries carry a marker though they have no picture.
    lead = IMAGE if "I" in query or name == "WebQA" else ""
    row = train_row(lead + entry.query + own, "images/q.jpg" if "I" in query else "", *positive)
    write_train(tmp_path, name, [row], {"q.jpg": A, "p.jpg": B})
    (sample,) = read_train(tmp_path, name)
    assert isinstance(sample, Sample)
    assert form_of(sample) == entry.form
    assert sample.query.instruction.removeprefix(IMAGE).strip() == entry.query.strip()
    assert split_instruction(entry.query + own) == ((entry.query, own) if "T" in query else (entry.query + own, ""))


def test_a_news_row_as_the_paper_prints_it_has_another_form() -> None:
    side: dict[str, Any] = {"images": (A,)}
    misprint = Sample(key="n24news-00000000", dataset="N24News", query=Side(text="x", **side), positive=Side(**side))
    assert form_of(misprint) == "I+T->I" != TRAIN_SETS["N24News"].form


@pytest.mark.parametrize(
    ("dataset", "rows", "short"),
    [("CIRR", 26_115, 0), ("CIRR", 25_000, 0), ("CIRR", 24_999, 1001), ("CIRR", 99_999, 0), ("Mine", 1, 0)],
)
def test_rows_that_a_download_lacks(dataset: str, rows: int, short: int) -> None:
    assert shortfall(dataset, rows) == short


def form_of(sample: Sample) -> str:
    """The form of a pair as it stands, in the notation of Form; texts that are an instruction alone do not count."""
    assert sample.positive is not None, "a pair"
    return f"{_parts(sample.query)}->{_parts(sample.positive)}"


def _parts(side: Side) -> str:
    texts = ["T"] if side.text.strip() else []
    return "+".join([*(["I"] if side.images else []), *texts])
