"""How a side is asked: a script says its requests one after another, each with the answers before it in hand, and how it ended.

A script is a generator. It depends on its side and on the answers alone, so that one that is begun again after a kill makes the
same requests, and what the journal holds of them is not asked twice.
"""

import hashlib
from collections.abc import Generator, Sequence
from dataclasses import dataclass, replace

from data_prep.qa_filters import WORDS, Fault, fault_of
from pipeline.chat import Answer, ChatRequest, Sampling
from pipeline.sample import Side, Turn

AGAIN_TEMPERATURE = 0.7
"""Of a request that is asked again, where its own temperature is 0."""


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
    was said before, the pictures ahead of it. `template` is the wording that all requests of its kind share, and `words` what
    this one says besides: neither may be said back. `seed` is over 0 where it is asked again.
    """

    about: Side
    text: str
    asked: tuple[str, ...]
    history: tuple[Turn, ...] = ()
    template: str = ""
    words: str = ""
    seed: int = 0

    def identity(self, model: str) -> str:
        """Equal for requests that a model would be asked in the same words about the same pictures (32 hex digits)."""
        again = ("seed", str(self.seed)) if self.seed else ()
        return side_identity(self.about, asked=(*self.asked, *again, model))

    def chat(self, model: str, sampling: Sampling) -> ChatRequest:
        """The call itself. Its key is the identity: a higher limit of tokens is no other request (see ChatEngine).

        Asked again it is drawn, as what is likeliest would be said again.
        """
        history = tuple((turn.question, turn.answer) for turn in self.history)
        if self.seed:
            sampling = replace(sampling, seed=self.seed, temperature=sampling.temperature or AGAIN_TEMPERATURE)
        key = self.identity(model)
        return ChatRequest(text=self.text, images=tuple(self.about.images), history=history, sampling=sampling, key=key)

    def fault_of(self, answer: Answer) -> Fault | None:
        """What is wrong with an answer; None for one that may be learnt."""
        return fault_of(answer, request=self.words, template=self.template)


@dataclass(frozen=True, slots=True, kw_only=True)
class Wording:
    """`prompt` is what the model is asked, `question` what is recorded in its place, and later learnt with the answer.

    A changed word of the prompt makes every picture be asked again, another temperature too: the journal's keys depend on them.
    """

    question: str
    prompt: str
    temperature: float = 0

    @property
    def asked(self) -> tuple[str, ...]:
        """What of it decides an answer."""
        return (self.prompt, *((f"temperature {self.temperature}",) if self.temperature else ()))

    @property
    def settings(self) -> dict[str, object]:
        """All that decides what is said, by name."""
        drawn = {"temperature": self.temperature} if self.temperature else {}
        return {"question": self.question, "prompt": self.prompt, **drawn}


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
