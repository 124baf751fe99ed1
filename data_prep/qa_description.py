"""Kind `qa`: one question and one answer a side. A side with pictures is described; one without is asked for its own text."""

from data_prep.qa_script import Failure, Request, Script, Told, Wording
from pipeline.sample import IMAGE_MARKER, Side, Turn

DESCRIBE = "Describe the represented image"
"""The question that is recorded, and later learnt, for a side with pictures."""

PROMPT = (
    "An image search engine will store the picture above together with this request:\n{request}\n\n"
    "Say in one to three plain sentences what the picture shows, dwelling on whatever the request is about: name the objects "
    "with their number, colour and place, and copy any writing that matters. State only what can be seen. "
    "Do not repeat the request, and do not begin with phrases such as 'The picture shows'."
)
"""What the model is asked. A changed word makes every side be asked again: the journal's keys depend on it."""


GAP = "{request}"
"""Stands in a prompt for what the side asks or says."""

WORDING = Wording(question=DESCRIBE, prompt=PROMPT)


def request_of(side: Side) -> str:
    """What a side asks or says, on one line and without markers of pictures; empty where there is nothing but those."""
    return " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())


def describe(side: Side, wording: Wording) -> Script:
    """The script of a side with pictures."""
    words = request_of(side)
    text = wording.prompt.replace(GAP, words or "(none)")
    request = Request(about=side, text=text, asked=wording.asked, template=wording.prompt, words=words)
    answer = yield request
    fault = request.fault_of(answer)
    if fault is not None:
        return Failure.of_fault(fault, answer)
    return Told(turns=(Turn(question=wording.question, answer=answer.text),), unmarked=not answer.finish_reason)
