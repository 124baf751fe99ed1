"""Kinds `caption` and `description`: one text about a side's own pictures, whatever the side asks or says.

CoMa compares its dialogues with both (arXiv 2511.08480). Its requests are unknown; these are ours. What is asked depends on the
pictures alone: sides that share them share one text.
"""

from dataclasses import dataclass

from data_prep.qa_description import DESCRIBE
from data_prep.qa_filters import fault_of
from data_prep.qa_script import Failure, Request, Script, Told
from pipeline.sample import Side, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """`prompt` is what the model is asked, `question` what is recorded in its place, and later learnt with the answer.

    A changed word of the prompt makes every picture be asked again: the journal's keys depend on it.
    """

    question: str
    prompt: str


CAPTION = Wording(
    question="Write a caption for the represented image",
    prompt=(
        "Write a caption for the picture above, as it could be printed below it: one sentence of at most twenty words that names "
        "its main objects and what goes on. State only what can be seen, and write nothing but the caption."
    ),
)
DESCRIPTION = Wording(
    question=DESCRIBE,
    prompt=(
        "Describe the picture above in one paragraph of three to six sentences for somebody who cannot see it: each object that "
        "matters with its number, colour and place, what goes on, the scene around it, and any writing, copied as it stands. "
        "State only what can be seen."
    ),
)


def tell(side: Side, wording: Wording) -> Script:
    """The script of a side with pictures."""
    answer = yield Request(about=Side(images=side.images), text=wording.prompt, asked=(wording.prompt,))
    fault = fault_of(answer, request="", template=wording.prompt)
    if fault is not None:
        return Failure.of_fault(fault, answer)
    return Told(turns=(Turn(question=wording.question, answer=answer.text),), unmarked=not answer.finish_reason)
