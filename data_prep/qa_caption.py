"""Kinds `caption` and `description`: one text about a side's own pictures, whatever the side asks or says.

CoMa compares its dialogues with both (arXiv 2511.08480). Its requests are unknown; these are ours. What is asked depends on the
pictures alone: sides that share them share one text.
"""

from data_prep.qa_description import DESCRIBE
from data_prep.qa_script import Failure, Request, Script, Told, Wording
from pipeline.sample import Side, Turn

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
    request = Request(about=Side(images=side.images), text=wording.prompt, asked=wording.asked, template=wording.prompt)
    answer = yield request
    fault = request.fault_of(answer)
    if fault is not None:
        return Failure.of_fault(fault, answer)
    return Told(turns=(Turn(question=wording.question, answer=answer.text),), unmarked=not answer.finish_reason)
