"""What a pair's sides are trained to say behind their tokens. Conversations of other corpora bring their own turns."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import ClassVar, Literal, get_args

from pipeline.data.qa import QaKind, QaTable
from pipeline.errors import ConfigError
from pipeline.ranges import check_least, check_once
from pipeline.sample import IMAGE_MARKER, Sample, Side, Turn, joined

SideName = Literal["query", "positive", "negatives"]
"""Sides of a pair that may be asked something; `negatives` are all that the phase takes."""
SIDES = ("query", "positive")
"""Names of the first places among a sample's sides; hard negatives follow, as "negative_0" and so on."""

Told = Literal["query", "positive", "both", "none"]
"""Whose text is generated, by the tokens of the other side."""


class Target(ABC):
    """What is generated from a side. A subclass that is a frozen dataclass may stand in a phase."""

    needs: ClassVar[QaKind | Literal[""]] = ""
    """The kind of synthesized turns that must have been made; empty for none."""
    tells_negatives: ClassVar[bool] = True
    """Whether there can be something to say about a hard negative."""

    @abstractmethod
    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """Questions with the answers to learn about a side of a sample; none where there is nothing to say.

        `side` is "query", "positive" or, where a phase asks about them, "negative_<n>", from 0.
        """

    def context(self, side: Side) -> Side:
        """What of a side stands before its tokens in a phase that embeds nothing; in any other it is the whole side."""
        return side

    def expects(self, dataset: str) -> bool:
        """Whether rows of a dataset are meant to have something to say: a step in which none of them has is an error."""
        return True


@dataclass(frozen=True, slots=True)
class OwnQuestions(Target):
    """One question about the side itself, and its answer: a description of the picture, or the text again (CREM, section 3.2).

    Without `texts` a side that has no picture is asked nothing. `bare` leaves of a side its pictures (see `Target.context`).
    """

    texts: bool = True
    bare: bool = False

    needs: ClassVar[QaKind | Literal[""]] = "qa"
    tells_negatives: ClassVar[bool] = False

    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """The side's synthesized turns."""
        if not self.texts and not sample.sides[SIDES.index(side)].images:
            return ()
        return synthesized.turns(sample.dataset, sample.key, side)

    def context(self, side: Side) -> Side:
        """The side, or its pictures alone."""
        return Side(images=side.images) if self.bare else side


@dataclass(frozen=True, slots=True)
class Dialogue(Target):
    """Three to five questions about the side's own pictures in one dialogue (CoMa, section 3.2); nothing for a side of text.

    Of its turns the first `most` are learnt. `bare` leaves of a side its pictures (see `Target.context`).
    """

    most: int = 5
    bare: bool = False

    needs: ClassVar[QaKind | Literal[""]] = "dialogue"

    def __post_init__(self) -> None:
        check_least(self, "target", most=1)

    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """The side's synthesized dialogue, turn after turn."""
        return synthesized.turns(sample.dataset, sample.key, side)[: self.most]

    def context(self, side: Side) -> Side:
        """The side, or its pictures alone."""
        return Side(images=side.images) if self.bare else side


@dataclass(frozen=True, slots=True)
class Caption(Target):
    """One sentence about the side's own pictures (an ablation of CoMa); nothing for a side of text.

    `bare` leaves of a side its pictures (see `Target.context`).
    """

    bare: bool = False

    needs: ClassVar[QaKind | Literal[""]] = "caption"

    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """The side's synthesized turn."""
        return synthesized.turns(sample.dataset, sample.key, side)

    def context(self, side: Side) -> Side:
        """The side, or its pictures alone."""
        return Side(images=side.images) if self.bare else side


@dataclass(frozen=True, slots=True)
class Description(Caption):
    """One paragraph about the side's own pictures, whatever the side asks or says (an ablation of CoMa)."""

    needs: ClassVar[QaKind | Literal[""]] = "description"


@dataclass(frozen=True, slots=True, kw_only=True)
class OtherSide(Target):
    """The text of the paired side (Bottleneck Tokens). Nothing is synthesized.

    `told` says for a dataset whose text is generated ("positive": the query's tokens must yield the positive's text), `otherwise`
    for all that it does not name. A text is the side's own words, without the wording that all rows of its task share and without
    picture markers; where no words are left, nothing is generated.
    """

    told: tuple[tuple[str, Told], ...] = ()
    otherwise: Told = "positive"

    tells_negatives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_once("target.told", [name for name, _ in self.told])
        for name, told in (*self.told, ("otherwise", self.otherwise)):
            if told not in get_args(Told):
                raise ConfigError(f"target.told, {name}: {told!r} is not one of {', '.join(get_args(Told))}")

    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """One turn without a question, whose answer is the other side's text."""
        other, name = (sample.positive, "positive") if side == "query" else (sample.query, "query")
        if other is None or self._told(sample.dataset) not in (name, "both"):
            return ()
        text = " ".join(IMAGE_MARKER.sub(" ", other.text).split())
        return (Turn(question="", answer=text),) if text else ()

    def expects(self, dataset: str) -> bool:
        """Not of a dataset whose texts are not generated."""
        return self._told(dataset) != "none"

    def _told(self, dataset: str) -> Told:
        return dict(self.told).get(dataset, self.otherwise)


@dataclass(frozen=True, slots=True, kw_only=True)
class Relevance(Target):
    """Whether a candidate answers a query, and which one of a list does (Magic-MM-Embedding's reranker).

    Rows stand for a query with candidates: the right one and one that is not, each with Yes or No, and a list of the right one
    among `least` to `most` negatives, with its place, from 1. The paper has 2 to 5 negatives; its wordings are not copied.

    `judged_right` says that what a judge said yes to is right too (the paper). Where right answers are rare among what was mined,
    most of a judge's yeses are its errors.
    """

    least: int = 2
    most: int = 5
    judged_right: bool = True
    one: str = "Does the candidate answer the query? Say Yes or No."
    which: str = "Which candidate answers the query? Say its number."

    tells_negatives: ClassVar[bool] = False

    def __post_init__(self) -> None:
        check_least(self, "target", least=1, most=1)
        if self.most < self.least:
            raise ConfigError(f"target.most: {self.most} is below target.least = {self.least}")

    def turns(self, sample: Sample, side: str, synthesized: QaTable) -> tuple[Turn, ...]:
        """Nothing about a side alone."""
        return ()

    def question(self, num_candidates: int) -> str:
        """What is asked about so many candidates."""
        return self.one if num_candidates == 1 else self.which

    def compared(self, query: Side, candidates: Sequence[Side]) -> Side:
        """A query and its candidates, each with its instruction, as one side; a lone candidate has no number.

        It ends with a label for the question: a prompt sets nothing between a text and what is asked about it.
        """
        labels = ["Candidate:"] if len(candidates) == 1 else [f"Candidate {number}:" for number in range(1, len(candidates) + 1)]
        side = joined([("Query:", query), *zip(labels, candidates, strict=True)])
        return replace(side, text=f"{side.text}\nQuestion:")


YES, NO = "Yes", "No"
"""Answers about one candidate."""
