"""Questions about a scene with their answers: the toy world's conversations, choice questions and stand-in for a teacher."""

import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial

from data_prep.scenes import COLOURS, LABELS, NUMBERS, POSITIONS, SHAPES, Scene, Thing, description, with_article

OPTIONS: Mapping[str, tuple[str, ...]] = {"colour": COLOURS, "shape": SHAPES, "position": POSITIONS, "count": NUMBERS}
"""The kinds of question that can be put as a choice: every answer that the kind has."""

LETTERS = "ABCD"
YES_OR_NO = " Please answer yes or no."
ANY_SHAPE = "shape"
"""The noun of a name that says a colour only."""

_DIALOGUE_LENGTHS = (3, 4, 5, 5, 5, 5)
_LISTS_DRAWN = 8
_DESCRIBE = ("Describe the picture.", "What is in the picture?", "Give a caption of the picture.")


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """A question of one kind ("describe", "colour", "shape", "position", "count", "yesno") and its only right answer.

    `sentence` is the answer as instruction data would give it, with what it was read from: it starts with what the question
    names and goes on to what it asks for ("circle northwest red"), so that every word but the first follows from the last.
    """

    kind: str
    text: str
    answer: str
    sentence: str


def is_there(name: str) -> str:
    """The question whether a picture has something of this name."""
    return f"Is there {with_article(name)}?"


def names(scene: Scene) -> frozenset[str]:
    """All that things of the scene may be called: "red circle", "red shape", "circle"."""
    return frozenset(name for thing in scene.things for name in _names(thing))


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


def dialogue(scene: Scene, rng: random.Random) -> tuple[Question, ...]:
    """Three to five questions of different kinds that cover the scene: of several lists drawn, the one that names most things.

    Their answers are sentences. Most have five questions, as CoMa's dialogues do; on a crop there are four kinds at most.
    """
    length = rng.choice(_DIALOGUE_LENGTHS)
    drawn = [
        [question for question in questions(scene, rng) if question.kind != "describe"][:length] for _ in range(_LISTS_DRAWN)
    ]
    return tuple(replace(question, answer=question.sentence) for question in max(drawn, key=partial(_num_named, scene)))


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


def _num_named(scene: Scene, asked: Sequence[Question]) -> int:
    """How many things of a scene stand, with colour, shape and place, in an answer to one of the questions."""
    told = [set(question.sentence.split()) for question in asked]
    return sum(any({thing.colour, thing.shape, thing.position} <= words for words in told) for thing in scene.things)


_Asked = tuple[str, str, str]  # question, answer, the answer as a sentence


def _describe(scene: Scene, rng: random.Random) -> _Asked:
    told = description(scene)
    return rng.choice(_DESCRIBE), told, told


def _colour(scene: Scene, rng: random.Random) -> _Asked:
    thing = rng.choice(scene.things)
    if len(_called(scene, thing.shape)) == 1:
        return f"What colour is the {thing.shape}?", thing.colour, _found(thing, thing.shape)
    return f"What colour is the shape {thing.place}?", thing.colour, f"{thing.position} {thing.label}"


def _shape(scene: Scene, rng: random.Random) -> _Asked:
    thing = rng.choice(scene.things)
    return f"What shape is {thing.place}?", thing.shape, f"{thing.position} {thing.label}"


def _position(scene: Scene, rng: random.Random) -> _Asked:
    thing = rng.choice(scene.things)
    name = rng.choice([name for name in _names(thing) if len(_called(scene, name)) == 1])
    return f"Where is the {name}?", thing.position, _found(thing, name)


def _names(thing: Thing) -> tuple[str, str, str]:
    """What a thing may be called, by label, colour or shape."""
    return thing.label, f"{thing.colour} {ANY_SHAPE}", thing.shape


def _called(scene: Scene, name: str) -> list[Thing]:
    """The things of a scene that a name fits, in reading order."""
    return [thing for thing in scene.things if name in _names(thing)]


def _found(thing: Thing, name: str) -> str:
    """The thing in a sentence that starts with what it was called."""
    return f"{thing.shape} {thing.position} {thing.colour}" if name == thing.shape else thing.words


def _count(scene: Scene, _: random.Random) -> _Asked:
    number = NUMBERS[len(scene.things) - 1]
    return "How many shapes are there?", number, number


def _yesno(scene: Scene, rng: random.Random) -> _Asked:
    if rng.random() < 0.5:
        name = rng.choice(_names(rng.choice(scene.things)))
        return is_there(name), "Yes", f"{_found(_called(scene, name)[0], name)} , yes"
    name = _absent(scene, rng)
    return is_there(name), "No", f"{name.removesuffix(ANY_SHAPE).strip()} nowhere , no"


def _absent(scene: Scene, rng: random.Random) -> str:
    """A name that fits nothing there: a colour, a shape, or a label, if possible one whose colour and shape are both there."""
    crossed = [f"{one.colour} {other.shape}" for one in scene.things for other in scene.things]
    groups = (crossed, [f"{colour} {ANY_SHAPE}" for colour in COLOURS], list(SHAPES), list(LABELS))
    absent = [[name for name in names if not _called(scene, name)] for names in groups]
    return rng.choice(rng.choice([names for names in absent if names]))


_ASK: Mapping[str, Callable[[Scene, random.Random], _Asked]] = {
    "describe": _describe,
    "colour": _colour,
    "shape": _shape,
    "position": _position,
    "count": _count,
    "yesno": _yesno,
}
