"""How a side is asked: a script says its requests one after another, each with the answers before it in hand, and how it ended.

A script is a generator. It depends on its side and on the answers alone, so that one that is begun again after a kill makes the
same requests, and what the journal holds of them is not asked twice.
"""

from collections.abc import Generator
from dataclasses import dataclass

from data_prep.qa_filters import WORDS, Fault
from data_prep.qa_journal import side_identity
from pipeline.chat import Answer
from pipeline.sample import Side, Turn


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """One call. `about` has the pictures to show, and what else of the side decides the answer; `text` is what is said last.

    `asked` are the words, apart from those of `about`, that decide the answer: other words are another request. `history` is what
    was said before, the pictures ahead of it.
    """

    about: Side
    text: str
    asked: tuple[str, ...]
    history: tuple[Turn, ...] = ()

    def identity(self, model: str) -> str:
        """Equal for requests that a model would be asked in the same words about the same pictures (32 hex digits)."""
        return side_identity(self.about, asked=(*self.asked, model))


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """Turns to learn. `unmarked`: an answer among them has no finish_reason. `left_out` names why others are not among them."""

    turns: tuple[Turn, ...]
    unmarked: bool
    left_out: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a side has nothing to learn: a word to count by, and a sentence for the list of rejects."""

    kind: str
    reason: str

    @classmethod
    def of_fault(cls, fault: Fault, answer: Answer, *, where: str = "") -> "Failure":
        """What is wrong with an answer, and its first words."""
        return cls(fault, f"{where}{WORDS[fault]} (finish_reason {answer.finish_reason!r}): {answer.text[:80]!r}")


Script = Generator[Request, Answer, Told | Failure]
