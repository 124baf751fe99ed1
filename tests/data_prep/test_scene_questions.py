import random
from collections import Counter
from collections.abc import Callable

import pytest

from data_prep.scene_maker import SceneMaker
from data_prep.scene_questions import LETTERS, OPTIONS, as_choice, ask, kinds, options, questions
from data_prep.scenes import LABELS, Scene


def scenes(count: int) -> list[Scene]:
    maker = SceneMaker(rng=random.Random(5), split="train")
    whole = [maker.scene(LABELS[number % 56], count=1 + number % 4) for number in range(count)]
    return whole + [scene.crop(scene.things[-1]) for scene in whole[: count // 4]]


def test_every_answer_agrees_with_an_independent_reading(answer_again: Callable[..., str | None]) -> None:
    rng = random.Random(1)
    for scene in scenes(300):
        asked = questions(scene, rng)
        assert {question.kind for question in asked} == set(kinds(scene))
        for question in asked:
            assert answer_again(scene.to_json(), question.text, question.answer) == question.answer, question


def test_short_answers_are_one_word() -> None:
    rng = random.Random(2)
    found = [q for scene in scenes(100) for q in questions(scene, rng) if q.kind != "describe"]
    assert {len(question.answer.split()) for question in found} == {1}


def test_a_crop_is_not_asked_where_things_are() -> None:
    scene = scenes(1)[0]
    assert "position" not in kinds(scene.crop(scene.things[0]))
    assert "position" in kinds(scene)


def test_yes_and_no_are_balanced_and_some_of_the_no_are_near_misses() -> None:
    rng = random.Random(3)
    answers: Counter[str] = Counter()
    asked: Counter[str] = Counter()
    crossed = 0
    for scene in [scene for scene in scenes(1200) if len(scene.things) >= 3]:
        question = ask(scene, "yesno", rng)
        answers[question.answer] += 1
        colour, shape = question.text.removesuffix("?").split()[-2:]
        asked["shape" if colour in ("a", "an") else "colour" if shape == "shape" else "label"] += 1
        is_near = colour in {t.colour for t in scene.things} and shape in {t.shape for t in scene.things}
        crossed += question.answer == "No" and is_near
    assert 0.43 < answers["Yes"] / answers.total() < 0.57
    assert 0.15 < crossed / answers["No"] < 0.45
    assert all(0.2 < count / asked.total() < 0.5 for count in asked.values())
    assert len(asked) == 3


def test_a_name_fits_one_thing_where_places_are_asked(answer_again: Callable[..., str | None]) -> None:
    """The reader unpacks the one thing that a name fits, and fails where there are two."""
    rng = random.Random(7)
    found = [(scene, ask(scene, "position", rng)) for scene in scenes(400)[:400]]
    assert all(answer_again(scene.to_json(), question.text) == question.answer for scene, question in found)
    named = Counter(len(question.text.split()) + question.text.endswith(" shape?") for _, question in found)
    assert set(named) == {4, 5, 6}


@pytest.mark.parametrize("kind", OPTIONS)
def test_options_hold_the_answer_once_at_the_letter(kind: str) -> None:
    rng = random.Random(4)
    for scene in scenes(40)[:40]:
        question = ask(scene, kind, rng)
        for letter in LETTERS:
            found = options(question, letter, rng)
            assert len(set(found)) == 4
            assert found["ABCD".index(letter)] == question.answer
            assert set(found) <= set(OPTIONS[kind])


def test_a_choice_has_the_wording_of_the_benchmarks_prompt() -> None:
    scene = scenes(4)[3]
    choice = as_choice(ask(scene, "count", random.Random(0)), random.Random(0))
    first, *rest = choice.text.split("\n")
    assert first == "Question: How many shapes are there?"
    assert rest[0] == "Options:"
    assert [line[:3] for line in rest[1:5]] == ["A. ", "B. ", "C. ", "D. "]
    assert sorted(line[3:] for line in rest[1:5]) == ["four", "one", "three", "two"]
    assert rest[5:] == ["Please select the correct answer from the options above."]
    assert choice.answer == "four"
