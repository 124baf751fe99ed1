import random

import pytest

from data_prep.scene_maker import SceneMaker, Split, content_split
from data_prep.scenes import ARRANGEMENTS, LABELS, OTHER_STYLES, STYLES

SPLITS: tuple[Split, ...] = ("train", "eval")


def maker(split: Split, seed: int = 0) -> SceneMaker:
    return SceneMaker(rng=random.Random(seed), split=split)


def test_one_content_in_five_is_eval() -> None:
    everything = SceneMaker(rng=random.Random(0), split="train")
    contents = [everything.place(everything.rng.sample(LABELS, 2), ["northwest", "northeast"]).content for _ in range(4000)]
    share = sum(content_split(content) == "eval" for content in contents) / len(contents)
    assert 0.17 < share < 0.23


@pytest.mark.parametrize("split", SPLITS)
def test_whatever_is_made_belongs_to_the_side(split: Split) -> None:
    own = maker(split)
    for number in range(150):
        scene = own.scene(LABELS[number % 56], count=2 + number % 3)
        filled = own.fill("red circle", ARRANGEMENTS["west column"])
        derived = [own.near(scene), own.swapped(scene), *(change.scene for change in own.changed(scene, scene.things[0]))]
        for other in (scene, filled, own.redraw(scene), *(d for d in derived if d is not None)):
            assert content_split(other.content) == split
            assert all((thing.dx + thing.dy + thing.radius) % 2 == (split == "eval") for thing in other.things)


def test_scenes_hold_their_label_and_no_label_twice() -> None:
    own = maker("train")
    for number in range(200):
        scene = own.scene(LABELS[number % 56], count=1 + number % 4)
        assert LABELS[number % 56] in scene.labels
        assert len(scene.labels) == len({thing.position for thing in scene.things}) == 1 + number % 4


def test_a_near_scene_differs_in_one_thing_or_in_two_colours() -> None:
    own = maker("train", 1)
    for number in range(200):
        scene = own.scene(LABELS[number % 56], count=3)
        near = own.near(scene)
        assert near is not None
        assert len(near.things) == 3
        lost = scene.content - near.content
        assert len(lost) in (1, 2)
        if len(lost) == 2:
            assert [t.position for t in near.things] == [t.position for t in scene.things]
            assert sorted(t.colour for t in near.things) == sorted(t.colour for t in scene.things)


def test_a_swap_keeps_colours_and_shapes_but_no_label_of_the_two() -> None:
    own = maker("eval", 2)
    swaps = [(scene, own.swapped(scene)) for scene in (own.scene(label, count=2) for label in LABELS)]
    found = [(scene, other) for scene, other in swaps if other is not None]
    assert len(found) > 3
    for scene, other in found:
        assert not scene.labels & other.labels
        assert [t.shape for t in scene.things] == [t.shape for t in other.things]


def test_changes_say_what_they_do() -> None:
    own = maker("train", 3)
    for number in range(50):
        scene = own.scene(LABELS[number], count=2)
        thing = scene.things[number % 2]
        for change in own.changed(scene, thing):
            (before,), (after,) = scene.content - change.scene.content, change.scene.content - scene.content
            assert before == thing.words
            verb, label, goal = change.words.split(" ", 1)[0], thing.label, change.words.rsplit(" to ", 1)[1]
            assert change.words.startswith(f"{verb} the {label} to ")
            said = {"change": f"{goal.split(' ', 1)[1]} {thing.position}", "move": f"{label} {goal.split(' ', 1)[1]}"}
            assert after == said[verb]


def test_redrawing_changes_the_style_only() -> None:
    own = maker("train", 4)
    for label in LABELS:
        scene = own.scene(label, count=3)
        other = own.redraw(scene)
        assert other.content == scene.content
        assert other.style != scene.style
    assert not set(STYLES) & set(OTHER_STYLES)
