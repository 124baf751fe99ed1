"""The 20 sets of MMEB-train: what a row of each is made of, how many rows there are, and the wording of their queries.

Meta-tasks, forms and numbers of rows are those of CREM's Table 10 and of the VLM2Vec paper before it. Table 10 prints N24News as
I + T -> I; its rows have a picture and a caption on one side and a word for the section on the other, so it is I + T -> T.
"""

from dataclasses import dataclass
from typing import Literal

from pipeline.data.mmeb_registry import ALIASES, META

Form = Literal["I->T", "I+T->T", "T->I", "I->I", "I+T->I", "T->I+T"]
"""What stands on the query side and on the positive side: I a picture, T a text of the item's own (instructions aside)."""

SPLITS = ("original", "diverse_instruction")
"""One wording for each task, which is what the papers train on; and the same rows with ten wordings in turn."""

SHORT_BY = 1000
"""Rows that a whole download may have less than printed: the paper rounds to thousands, some up."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainSet:
    """One set. `rows` as printed, in whole thousands; `query` the instruction of its query side in split `original`."""

    name: str
    form: Form
    rows: int
    query: str

    @property
    def meta_task(self) -> str:
        """Classification, vqa, retrieval or grounding."""
        return META[ALIASES.get(self.name, self.name)].meta_task


_QUESTION = "Represent the given image with the following question: "


def _set(name: str, form: Form, thousands: int, query: str) -> tuple[str, TrainSet]:
    return name, TrainSet(name=name, form=form, rows=thousands * 1000, query=query)


TRAIN_SETS: dict[str, TrainSet] = dict([
    _set("ImageNet_1K", "I->T", 100, "Represent the given image for classification"),
    _set(
        "N24News",
        "I+T->T",
        49,
        "Represent the given news image with the following caption for domain classification: ",
    ),
    _set(
        "HatefulMemes",
        "I->T",
        8,
        "Represent the given image for binary classification to determine whether it constitutes hateful speech or not",
    ),
    _set("VOC2007", "I->T", 8, "Identify the object shown in the image"),
    _set("SUN397", "I->T", 20, "Identify the scene shown in the image"),
    _set("OK-VQA", "I+T->T", 9, _QUESTION),
    _set("A-OKVQA", "I+T->T", 17, _QUESTION),
    _set("DocVQA", "I+T->T", 40, _QUESTION),
    _set("InfographicsVQA", "I+T->T", 24, _QUESTION),
    _set("ChartQA", "I+T->T", 28, _QUESTION),
    _set("Visual7W", "I+T->T", 70, _QUESTION),
    _set("VisDial", "T->I", 123, "Represent the given dialogue about an image, which is used for image retrieval: "),
    _set("CIRR", "I+T->I", 26, "Given an image, find a similar everyday image with the described changes: "),
    _set("VisualNews_t2i", "T->I", 100, "Retrieve an image of this news caption. "),
    _set("VisualNews_i2t", "I->T", 100, "Find a caption for the news in the given photo."),
    _set("MSCOCO_t2i", "T->I", 100, "Find me an everyday image that matches the given caption: "),
    _set("MSCOCO_i2t", "I->T", 113, "Find an image caption describing the given everyday image."),
    _set("NIGHTS", "I->I", 16, "Find a day-to-day image that looks similar to the provided image."),
    _set("WebQA", "T->I+T", 17, "Find a Wikipedia image that answers this question: "),
    _set("MSCOCO", "I+T->I", 100, "Select the portion of the image that isolates the object labeled as "),
])  # fmt: skip
"""By the names of MMEB-train's folders."""


def shortfall(dataset: str, rows: int) -> int:
    """How many rows a set lacks of those printed; 0 for a whole one, one with more, and one that MMEB does not have."""
    known = TRAIN_SETS.get(dataset)
    return 0 if known is None or rows >= known.rows - SHORT_BY else known.rows - rows
