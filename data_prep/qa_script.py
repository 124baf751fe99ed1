"""How a side is asked: a script says its requests one after another, each with the answers before it in hand, and how it ended.

A script is a generator. It depends on its side and on the answers alone, so that one that is begun again after a kill makes the
same requests, and what the journal holds of them is not asked twice.
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass

from data_prep.qa_filters import WORDS, Fault
from pipeline.chat import Answer, ChatRequest, Sampling
from pipeline.sample import Side, Turn


def side_identity(side: Side, *, asked: Sequence[str]) -> str:
    """Equal for sides with the same picture bytes and texts that are `asked` the same of the same model (32 hex digits)."""
    digest = hashlib.sha256()
    pictures = [hashlib.sha256(picture).hexdigest() for picture in side.images]
    for part in (*asked, side.instruction, side.text, *pictures):
        encoded = part.encode("utf-8", "surrogatepass")
        digest.update(len(encoded).to_bytes(8, "little") + encoded)
    return digest.hexdigest()[:32]


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

    def chat(self, model: str, sampling: Sampling) -> ChatRequest:
        """The call itself. Its key is the identity: a higher limit of tokens is no other request (see ChatEngine)."""
        history = tuple((turn.question, turn.answer) for turn in self.history)
        key = self.identity(model)
        return ChatRequest(text=self.text, images=tuple(self.about.images), history=history, sampling=sampling, key=key)


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
