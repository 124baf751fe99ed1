"""What is known of MMEB's 36 sets beforehand: meta-task, in or out of distribution, and the wordings that their rows share.

The 20 sets with training data stand in `mmeb_train_sets`.

Meta-tasks and splits are those of the VLM2Vec paper (20 sets that have training data are IND); wordings are those that stand
in the rows of MMEB-train's `original` split and of MMEB-eval.
"""

from dataclasses import dataclass
from typing import Literal

Split = Literal["IND", "OOD"]


@dataclass(frozen=True, slots=True)
class DatasetInfo:
    """Meta-task (`classification`, `vqa`, `retrieval`, `grounding` or `other`) and split of a dataset."""

    meta_task: str
    split: Split


def _infos(meta_task: str, ind: str, ood: str) -> dict[str, DatasetInfo]:
    known = {name: DatasetInfo(meta_task, "IND") for name in ind.split()}
    return known | {name: DatasetInfo(meta_task, "OOD") for name in ood.split()}


NOT_COUNTED = frozenset({"CIFAR-100"})
"""Sets that MMEB-eval holds on the hub and none of its published lists counts."""

META: dict[str, DatasetInfo] = {
    **_infos(
        "classification",
        "ImageNet-1K N24News HatefulMemes VOC2007 SUN397",
        "Place365 ImageNet-A ImageNet-R ObjectNet Country211",
    ),
    **_infos("vqa", "OK-VQA A-OKVQA DocVQA InfographicsVQA ChartQA Visual7W", "ScienceQA VizWiz GQA TextVQA"),
    **_infos(
        "retrieval",
        "VisDial CIRR VisualNews_t2i VisualNews_i2t MSCOCO_t2i MSCOCO_i2t NIGHTS WebQA",
        "FashionIQ Wiki-SS-NQ OVEN EDIS",
    ),
    **_infos("grounding", "MSCOCO", "RefCOCO RefCOCO-Matching Visual7W-Pointing"),
}
"""The 36 sets by the names that MMEB-eval gives them."""

TEXT_TO_PICTURE = frozenset({"VisDial", "MSCOCO_t2i", "VisualNews_t2i", "WebQA", "EDIS", "Wiki-SS-NQ"})
"""Sets where texts look for pictures (`image_t2i` among the parsers of VLM2Vec's second version)."""

ALIASES = {"ImageNet_1K": "ImageNet-1K"}
"""Names of MMEB-train that MMEB-eval spells otherwise."""

OPENINGS: tuple[str, ...] = (
    "Represent the given image with the following question: ",
    "Represent the given news image with the following caption for domain classification: ",
    "Represent the given dialogue about an image, which is used for image retrieval: ",
    "Given an image, find a similar everyday image with the described changes: ",
    "Find me an everyday image that matches the given caption: ",
    "Retrieve an image of this news caption. ",
    "Find a Wikipedia image that answers this question: ",
    "Represent the given Wikipedia image with related text information: ",
    "Represent the given image with related text information: ",
    "Find an image to match the fashion image and style note: ",
    "Find the document image that can answer the given query: ",
    "Retrieve a Wikipedia image-description pair that provides evidence for the question of this image: ",
    "Find a news image that matches the provided caption: ",
    "Select the portion of the image that isolates the object labeled as ",
    "Crop the image to to isolate the object labeled as ",
    "Select the portion of the image that follows the language expressions. ",
    "Select the portion of the image that follows the language expressions: ",
    "Select the portion of the image that answers the question ",
)
"""Wordings that an item's own words follow."""

WHOLES: frozenset[str] = frozenset(
    {
        "Represent the given image for classification",
        "Represent the given image for binary classification to determine whether it constitutes hateful speech or not",
        "Identify the object shown in the image",
        "Identify the scene shown in the image",
        "Identify the country depicted in the image",
        "Find a caption for the news in the given photo",
        "Find an image caption describing the given everyday image",
        "Find a day-to-day image that looks similar to the provided image",
        "Represent the given cropped image of the object",
        "Represent the given image",
    }
)
"""Wordings that are a whole text: the item itself is its picture. Rows write them with and without the full stop."""

_MARKER = "<|image_1|>\n"


def split_instruction(text: str) -> tuple[str, str]:
    """Cut a text exactly into the wording its task shares and the item's own words: `instruction + rest == text`.

    A leading picture marker belongs to the instruction. An unknown wording leaves all in the rest.
    """
    lead = _MARKER if text.startswith(_MARKER) else ""
    words = text[len(lead) :]
    if words.strip().removesuffix(".") in WHOLES:
        return text, ""
    if not words.startswith(OPENINGS):
        return "", text
    opening = max((known for known in OPENINGS if words.startswith(known)), key=len)
    cut = len(lead) + len(opening)
    return text[:cut], text[cut:]
