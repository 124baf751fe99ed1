"""The kinds of synthesis as values: what is asked about which sides, and how. Each has a journal and files of its own."""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from data_prep import qa_caption, qa_description, qa_dialogue
from data_prep.qa_script import Script, Wording, side_identity
from pipeline.chat import MAX_ANSWER_TOKENS
from pipeline.data.qa import QaKind
from pipeline.sample import Sample, Side


@dataclass(frozen=True, slots=True, kw_only=True)
class Kind:
    """`script` asks about a side with pictures. `texts`: sides without pictures are asked for their text, which needs no model.

    `negatives`: the pictures of hard negatives are asked about too. `max_tokens` is what an answer may have unless a user says
    otherwise, and `timeout_seconds` the time that one of so many tokens may take. An answer that is no target is asked for
    `again` times more at most, at other seeds. `wording` is all else that decides what is said. `limits` are the largest numbers
    of pictures that are drawn, by dataset (see qa_drawn); None: all are asked about.
    """

    name: QaKind
    script: Callable[[Side], Script] = field(repr=False)
    texts: bool
    negatives: bool
    temperature: float = 0
    max_tokens: int = MAX_ANSWER_TOKENS
    timeout_seconds: float = 60.0
    again: int = 0
    wording: Mapping[str, object]
    limits: Mapping[str, int] | None = None

    def sides(self, sample: Sample) -> Iterator[Side]:
        """The sides of a pair that may have turns: query, positive, then the negatives where they count.

        One whose pictures were not drawn is empty.
        """
        assert sample.positive is not None, "a dataset of pairs has positives"
        for side in sample.sides if self.negatives else (sample.query, sample.positive):
            is_drawn = self.limits is None or not side.images or draw_number(side) <= self.limits[sample.dataset]
            yield side if is_drawn else Side()


def draw_number(side: Side) -> int:
    """What decides whether a side's pictures are drawn: equal for equal pictures, whatever is said beside them."""
    return int(side_identity(Side(images=side.images), asked=("drawn",))[:15], 16)


def described(wording: Wording) -> Kind:
    """Kind `qa`: one question and one answer a side, in these words."""
    return Kind(
        name="qa",
        script=partial(qa_description.describe, wording=wording),
        texts=True,
        negatives=False,
        temperature=wording.temperature,
        wording=wording.settings,
    )


def in_dialogue(form: qa_dialogue.Form) -> Kind:
    """Kind `dialogue`: several turns about the pictures of all sides, in this form."""
    return Kind(
        name="dialogue",
        script=partial(qa_dialogue.hold_dialogue, form=form),
        texts=False,
        negatives=True,
        temperature=form.temperature,
        max_tokens=qa_dialogue.MAX_ANSWER_TOKENS,
        timeout_seconds=300.0,
        wording={"prompt": form.prompt, "temperature": form.temperature, "turns": [form.least, form.most]},
    )


def about_pictures(name: QaKind, wording: Wording) -> Kind:
    """One text about the pictures of all sides."""
    return Kind(
        name=name,
        script=partial(qa_caption.tell, wording=wording),
        texts=False,
        negatives=True,
        temperature=wording.temperature,
        wording=wording.settings,
    )


QA = described(qa_description.WORDING)
DIALOGUE = in_dialogue(qa_dialogue.FORM)
CAPTION = about_pictures("caption", qa_caption.CAPTION)
DESCRIPTION = about_pictures("description", qa_caption.DESCRIPTION)
BY_NAME: Mapping[QaKind, Kind] = {kind.name: kind for kind in (QA, DIALOGUE, CAPTION, DESCRIPTION)}
