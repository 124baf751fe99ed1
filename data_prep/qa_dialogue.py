"""Kind `dialogue` (CoMa, arXiv 2511.08480): the model lists questions that cover a picture, then answers them one after another.

Each question stands behind the turns before it, so that the dialogue grows as it will be learnt. A question whose answer is no
target (qa_filters) is left out of it, and out of what the questions after it see. What is asked depends on the pictures alone:
sides that share them share one dialogue.
"""

from collections import Counter
from dataclasses import dataclass

from data_prep.qa_script import Failure, Request, Script, Told
from data_prep.question_list import comparable, questions_in
from pipeline.chat import Answer
from pipeline.sample import Side, Turn

LIST_PROMPT = (
    "Someone who has never seen the picture above must find it among many. List three to five questions whose answers, taken "
    "together, tell it apart: its main objects with their attributes; the scene, its time and place; any writing or logo; how "
    "the things in it relate to one another. Each question is about something else and can be answered from the picture alone. "
    "Write one question on each line, and nothing else."
)
"""What the model is asked first. A changed word makes every picture be asked again: the journal's keys depend on it."""

TEMPERATURE = 0.7
MAX_ANSWER_TOKENS = 4096
"""The paper's sampling, of the list and of every answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Form:
    """How dialogues are asked for. With fewer turns to learn than `least` there is none; questions beyond `most` go unasked."""

    prompt: str = LIST_PROMPT
    temperature: float = TEMPERATURE
    least: int = 3
    most: int = 5


FORM = Form()
REPEATED, SURPLUS, SHORT_LIST, FEW_TURNS = "repeated", "surplus", "short_list", "few_turns"
"""Why a listed question is not asked, and why a side has no dialogue, beside the faults of answers."""


def hold_dialogue(side: Side, form: Form = FORM) -> Script:
    """The script of a side with pictures; it ends as soon as too few turns can be left."""
    about = Side(images=side.images)
    request = Request(about=about, text=form.prompt, asked=_asked(form, form.prompt), template=form.prompt)
    listed = yield request
    chosen = _chosen(request, listed, form)
    if isinstance(chosen, Failure):
        return chosen
    questions, left_out = chosen
    turns: list[Turn] = []
    unmarked, faults = not listed.finish_reason, Counter[str]()
    for place, question in enumerate(questions):
        if len(turns) + len(questions) - place < form.least:
            break
        request = _request(about, question, tuple(turns), form)
        answer = yield request
        fault = request.fault_of(answer)
        if fault is None:
            turns.append(Turn(question=question, answer=answer.text))
            unmarked |= not answer.finish_reason
        else:
            faults[fault] += 1
    if len(turns) < form.least:
        return _too_few(len(turns), len(questions), faults, form)
    return Told(turns=tuple(turns), unmarked=unmarked, left_out=(*left_out, *faults.elements()))


def _asked(form: Form, *said: str) -> tuple[str, ...]:
    return "dialogue", str(form.temperature), *said


def _request(about: Side, question: str, history: tuple[Turn, ...], form: Form) -> Request:
    said = [words for turn in history for words in (turn.question, turn.answer)]
    return Request(about=about, text=question, asked=_asked(form, *said, question), history=history, words=question)


def _chosen(request: Request, listed: Answer, form: Form) -> tuple[list[str], list[str]] | Failure:
    """The questions to ask, each once, and why others of the list are not; or what is wrong with the list."""
    fault = request.fault_of(listed)
    if fault is not None:
        return Failure.of_fault(fault, listed, where="the list of questions: ")
    found, first = questions_in(listed.text), dict[str, str]()
    for question in found:
        first.setdefault(comparable(question), question)
    different = list(first.values())
    if len(different) < form.least:
        return Failure(
            SHORT_LIST, f"{len(different)} different questions in the list, fewer than {form.least}: {listed.text[:80]!r}"
        )
    surplus = len(different) - form.most
    left_out = [REPEATED] * (len(found) - len(different)) + [SURPLUS] * surplus
    return different[: form.most], left_out


def _too_few(num_turns: int, num_questions: int, faults: Counter[str], form: Form) -> Failure:
    why = ", ".join(f"{count} {kind}" for kind, count in sorted(faults.items()))
    return Failure(
        FEW_TURNS, f"{num_turns} of {num_questions} questions have an answer to learn, fewer than {form.least} ({why})"
    )
