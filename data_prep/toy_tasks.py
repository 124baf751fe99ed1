"""The toy world's data sets: MMEB's own names and instructions over the forms of `toy_pairs`.

The first wording of a task is MMEB's (split `original`); `diverse_instruction` takes all of them in turn, as MMEB does with
its paraphrases, marker in mid-sentence included. Some of MMEB's irregularities are kept on purpose: WebQA's and EDIS's queries
have an image marker without a picture, and grounding targets lack the full stop in train.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from data_prep import toy_pairs as forms
from data_prep.scene_maker import SceneMaker
from data_prep.scenes import ARRANGEMENTS, LABELS, OTHER_STYLES, STYLES
from data_prep.toy_pairs import Pair

_M = "<|image_1|>"
_IMAGE = f"{_M}\nRepresent the given image.\n"
_WIKIPEDIA = f"{_M}\nRepresent the given Wikipedia image with related text information: {{text}}\n"
_CROP = f"{_M}\nRepresent the given cropped image of the object"


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One data set. Wordings and targets are templates of a side's whole text, `{text}` being its own words."""

    wordings: tuple[str, ...]
    make: Callable[[SceneMaker, str], Pair]
    target: str = "{text}"
    eval_target: str = ""
    about: tuple[str, ...] = LABELS
    is_closed: bool = False
    has_negatives: bool = False
    is_trained: bool = True
    styles: tuple[str, ...] = STYLES

    def target_text(self, text: str, *, in_eval: bool) -> str:
        """The whole text of a candidate; `eval_target`, if given, is the template of eval."""
        return ((in_eval and self.eval_target) or self.target).format(text=text)


_QUESTIONS = (
    f"{_M}\nRepresent the given image with the following question: {{text}}\n",
    f"{_M}\nAnswer this question about the picture: {{text}}\n",
    f"Look at {_M} and answer: {{text}}\n",
    f"Represent {_M} for this question: {{text}}\n",
    f"{{text}} The picture is {_M} .\n",
)
_NAMING = (
    f"{_M}\nIdentify the object shown in the image\n",
    f"Name the object in {_M} .\n",
    f"Represent {_M} for naming its object.\n",
    f"{_M}\nWhich object is in the picture?\n",
    f"{_M}\nSay what the picture shows.\n",
)
_NEWS = (
    f"{_M}\nRepresent the given news image with the following caption for domain classification: {{text}}\n",
    f"Sort the news image {_M} with its caption: {{text}}\n",
    f"{_M}\nTo which domain does this news picture belong? {{text}}\n",
    f"Represent {_M} and the caption for its domain: {{text}}\n",
)
_T2I = (
    "Find me an everyday image that matches the given caption: {text}\n",
    "Which picture shows this: {text}\n",
    "Look for a picture with this caption: {text}\n",
    "{text} Find the picture.\n",
)
_I2T = (
    f"{_M}\nFind an image caption describing the given everyday image.\n",
    f"{_M}\nWhich caption describes this picture?\n",
    f"Find the caption of {_M} .\n",
    f"Represent {_M} for finding its caption.\n",
)
_ALIKE = (
    f"{_M}\nFind a day-to-day image that looks similar to the provided image.\n",
    f"{_M}\nWhich other picture shows the same?\n",
    f"Find a picture like {_M} .\n",
    f"Represent {_M} for finding similar pictures.\n",
)
_WEBQA = (
    f"{_M}\nFind a Wikipedia image that answers this question: {{text}}\n",
    f"{_M}\nWhich Wikipedia image is the answer? {{text}}\n",
    f"Find {_M} as the answer to this question: {{text}}\n",
    f"{_M}\nLook for the image that answers: {{text}}\n",
)
_CIRR = (
    f"{_M}\nGiven an image, find a similar everyday image with the described changes: {{text}}\n",
    f"{_M}\nFind this picture with one change: {{text}}\n",
    f"Take {_M} and find it changed: {{text}}\n",
    f"In {_M} , {{text}} . Find the result.\n",
)
_GROUNDING = (
    f"{_M}\nSelect the portion of the image that isolates the object labeled as {{text}}\n",
    f"{_M}\nCrop the image to isolate the object labeled as {{text}}\n",
    f"Cut {{text}} out of {_M} .\n",
    f"In {_M} , find the object {{text}} .\n",
)
_EVIDENCE = (
    f"{_M}\nRetrieve a Wikipedia image-description pair that provides evidence for the question of this image: {{text}}\n",
)

TASKS: Mapping[str, Task] = {
    "VOC2007": Task(wordings=_NAMING, make=forms.name_single, is_closed=True),
    "N24News": Task(wordings=_NEWS, make=forms.name_arrangement, about=tuple(ARRANGEMENTS), is_closed=True),
    "OK-VQA": Task(wordings=_QUESTIONS, make=forms.ask_place, is_closed=True, has_negatives=True),
    "A-OKVQA": Task(wordings=_QUESTIONS, make=forms.ask_all),
    "MSCOCO_t2i": Task(wordings=_T2I, make=forms.find_picture, target=_IMAGE),
    "MSCOCO_i2t": Task(wordings=_I2T, make=forms.find_caption, has_negatives=True),
    "NIGHTS": Task(wordings=_ALIKE, make=forms.find_alike, target=_IMAGE),
    "WebQA": Task(wordings=_WEBQA, make=forms.find_sheet, target=_WIKIPEDIA),
    "CIRR": Task(wordings=_CIRR, make=forms.find_changed, target=_IMAGE, has_negatives=True),
    "MSCOCO": Task(wordings=_GROUNDING, make=forms.cut_label, target=_CROP, eval_target=f"{_CROP}.\n", has_negatives=True),
    "ObjectNet": Task(wordings=_NAMING[:1], make=forms.name_single, is_closed=True, is_trained=False, styles=OTHER_STYLES),
    "GQA": Task(wordings=_QUESTIONS[:1], make=forms.ask_all_otherwise, is_trained=False, styles=OTHER_STYLES),
    "OVEN": Task(
        wordings=_EVIDENCE,
        make=forms.find_elsewhere,
        target=_WIKIPEDIA,
        is_trained=False,
    ),
    "RefCOCO": Task(
        wordings=(f"{_M}\nSelect the portion of the image that follows the language expressions. {{text}}\n",),
        make=forms.cut_expression,
        target=f"{_CROP}.\n",
        is_trained=False,
    ),
    "EDIS": Task(
        wordings=(f"{_M}\nFind a news image that matches the provided caption: {{text}}\n",),
        make=forms.find_news,
        target=f"{_M}\nRepresent the given image with related text information: {{text}}\n",
        is_trained=False,
    ),
}
"""Name -> task, in the order in which they are written."""
