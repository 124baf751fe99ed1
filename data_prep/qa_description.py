"""Kind `qa`: one question and one answer a side. A side with pictures is described; one without is asked for its own text."""

from data_prep.qa_filters import fault_of
from data_prep.qa_script import Failure, Request, Script, Told
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


def request_of(side: Side) -> str:
    """What a side asks or says, on one line and without markers of pictures; empty where there is nothing but those."""
    return " ".join(IMAGE_MARKER.sub(" ", side.instruction + side.text).split())


def prompt(side: Side) -> str:
    """The words that go with a side's pictures."""
    return PROMPT.format(request=request_of(side) or "(none)")


def describe(side: Side) -> Script:
    """The script of a side with pictures."""
    answer = yield Request(about=side, text=prompt(side), asked=(PROMPT,))
    fault = fault_of(answer, request=request_of(side), template=PROMPT)
    if fault is not None:
        return Failure.of_fault(fault, answer)
    return Told(turns=(Turn(question=DESCRIBE, answer=answer.text),), unmarked=not answer.finish_reason)
