"""Questions about a scene with their answers: the toy world's conversations, choice questions and stand-in for a teacher."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from data_prep.scenes import COLOURS, LABELS, NUMBERS, POSITIONS, SHAPES, Scene, Thing, describe, with_article

OPTIONS: Mapping[str, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "position": POSITIONS, "count": NUMBERS}
"""The kinds of question that can be put as a choice: every answer that the kind has."""

LETTERS = "ABCD"
YES_OR_NO = " Please answer yes or no."

_DESCRIBE = ("Describe the picture.", "What is in the picture?", "Give a caption of the picture.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of one kind ("describe", "colour", "shape", "position", "count", "yesno") and its only right answer.

    `sentence` is the answer as instruction data would give it, with what it was read from: it starts with what the question
    names and goes on to what it asks for ("circle top left red"), so that every word but the first follows from the last.
    """

    kind: str
    text: str
    answer: str
    sentence: str


def ask(scene: Scene, kind: str, rng: random.Random) -> Question:
    """A question of the kind; what it is about is drawn. `kind` must be one of `kinds(scene)`."""
    text, answer, sentence = _ASK[kind](scene, rng)
    return Question(kind=kind, text=text, answer=answer, sentence=sentence)


def kinds(scene: Scene) -> tuple[str, ...]:
    """The kinds of question that the scene can answer: all of them, except where things are on a crop."""
    return tuple(kind for kind in _ASK if not (scene.is_crop and kind == "position"))


def questions(scene: Scene, rng: random.Random) -> tuple[Question, ...]:
    """One question of every kind that the scene can answer, in random order."""
    found = [ask(scene, kind, rng) for kind in kinds(scene)]
    return tuple(rng.sample(found, len(found)))


def options(question: Question, letter: str, rng: random.Random) -> tuple[str, ...]:
    """Four different answers of the question's kind, the right one at the place of `letter`."""
    wrong = rng.sample([word for word in OPTIONS[question.kind] if word != question.answer], len(LETTERS) - 1)
    place = LETTERS.index(letter)
    return (*wrong[:place], question.answer, *wrong[place:])


def choice_text(question: str, choices: Sequence[str]) -> str:
    """The prompt that VLMEvalKit's Qwen2-VL class makes of a question and its options."""
    lines = [f"{letter}. {choice}" for letter, choice in zip(LETTERS, choices, strict=True)]
    return "\n".join([f"Question: {question}", "Options:", *lines, "Please select the correct answer from the options above."])


def as_choice(question: Question, rng: random.Random) -> Question:
    """The same question as a choice in VLMEvalKit's wording; the answer stays the option's text."""
    return replace(question, text=choice_text(question.text, options(question, rng.choice(LETTERS), rng)))


_Asked = tuple[str, str, str]  # question, answer, the answer as a sentence


def _describe(scene: Scene, rng: random.Random) -> _Asked:
    return rng.choice(_DESCRIBE), describe(scene), describe(scene)


def _colour(scene: Scene, rng: random.Random) -> _Asked:
    thing = rng.choice(scene.things)
    alone = sum(other.shape == thing.shape for other in scene.things) == 1
    named = f"the {thing.shape}" if alone else f"the shape {thing.place}"
    sentence = f"{thing.shape} {thing.position} {thing.colour}" if alone else f"{thing.position} {thing.label}"
    return f"What colour is {named}?", thing.colour, sentence


def _shape(scene: Scene, rng: random.Random) -> _Asked:
    thing = rng.choice(scene.things)
    return f"What shape is {thing.place}?", thing.shape, f"{thing.position} {thing.label}"


def _position(scene: Scene, rng: random.Random) -> _Asked:
    thing: Thing = rng.choice(scene.things)
    return f"Where is the {thing.label}?", thing.position, thing.words


def _count(scene: Scene, _: random.Random) -> _Asked:
    number = NUMBERS[len(scene.things) - 1]
    return "How many shapes are there?", number, number


def _yesno(scene: Scene, rng: random.Random) -> _Asked:
    if rng.random() < 0.5:
        thing = rng.choice(scene.things)
        return f"Is there {with_article(thing.label)}?", "Yes", f"{thing.words} , yes"
    absent = _absent(scene, rng)
    return f"Is there {with_article(absent)}?", "No", f"{absent} nowhere , no"


def _absent(scene: Scene, rng: random.Random) -> str:
    """A label that is not there; half of the time, if possible, a colour of one thing on the shape of another."""
    crossed = [f"{one.colour} {other.shape}" for one in scene.things for other in scene.things]
    crossed = [label for label in crossed if label not in scene.labels]
    if crossed and rng.random() < 0.5:
        return rng.choice(crossed)
    return rng.choice([label for label in LABELS if label not in scene.labels])


_ASK: Mapping[str, Callable[[Scene, random.Random], _Asked]] = {
    "describe": _describe,
    "colour": _colour,
    "shape": _shape,
    "position": _position,
    "count": _count,
    "yesno": _yesno,
}
