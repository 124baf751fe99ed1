"""The kinds of synthesis as values: what is asked about which sides, and how. Each has a journal and files of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from data_prep import qa_caption, qa_description, qa_dialogue
from data_prep.qa_script import Script
from pipeline.chat import MAX_ANSWER_TOKENS
from pipeline.data.qa import QaKind
from pipeline.sample import Sample, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`script` asks about a side with pictures. `texts`: sides without pictures are asked for their text, which needs no model.

    `negatives`: the pictures of hard negatives are asked about too. `max_tokens` is what an answer may have unless a user says
    otherwise, and `timeout_seconds` the time that one of so many tokens may take. `wording` is all that decides what is said.
    """

    name: QaKind
    script: Callable[[Side], Script] = field(repr=False)
    texts: bool
    negatives: bool
    temperature: float = 0
    max_tokens: int = MAX_ANSWER_TOKENS
    timeout_seconds: float = 60.0
    wording: Mapping[str, object]

    def sides(self, sample: Sample) -> Iterator[Side]:
        """The sides of a pair that may have turns: query, positive, then the negatives where they count."""
        assert sample.positive is not None, "a dataset of pairs has positives"
        yield from sample.sides if self.negatives else (sample.query, sample.positive)


QA = Kind(
    name="qa",
    script=qa_description.describe,
    texts=True,
    negatives=False,
    wording={"question": qa_description.DESCRIBE, "prompt": qa_description.PROMPT},
)
DIALOGUE = Kind(
    name="dialogue",
    script=qa_dialogue.hold_dialogue,
    texts=False,
    negatives=True,
    temperature=qa_dialogue.TEMPERATURE,
    max_tokens=qa_dialogue.MAX_ANSWER_TOKENS,
    timeout_seconds=300.0,
    wording={
        "prompt": qa_dialogue.LIST_PROMPT,
        "temperature": qa_dialogue.TEMPERATURE,
        "turns": [qa_dialogue.BOUNDS.least, qa_dialogue.BOUNDS.most],
    },
)


def _about_pictures(name: QaKind, wording: qa_caption.Wording) -> Kind:
    """One text about the pictures that `DIALOGUE` holds dialogues about."""
    return Kind(
        name=name,
        script=partial(qa_caption.tell, wording=wording),
        texts=False,
        negatives=DIALOGUE.negatives,
        wording={"question": wording.question, "prompt": wording.prompt},
    )


CAPTION = _about_pictures("caption", qa_caption.CAPTION)
DESCRIPTION = _about_pictures("description", qa_caption.DESCRIPTION)
BY_NAME: Mapping[QaKind, Kind] = {kind.name: kind for kind in (QA, DIALOGUE, CAPTION, DESCRIPTION)}
