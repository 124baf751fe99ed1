import random
import re
from dataclasses import replace

import pytest

from data_prep.scene_maker import SceneMaker
from data_prep.scenes import ARRANGEMENTS, LABELS, POSITIONS, Scene, arrangement, caption, description, scene_from_json
from pipeline.errors import DataError


def make(*words: str) -> Scene:
    """A scene from words like "red circle northwest"."""
    spots = [word.split(" ", 2) for word in words]
    maker = SceneMaker(rng=random.Random(0), split="train")
    return maker.place([f"{colour} {shape}" for colour, shape, _ in spots], [position for _, _, position in spots])


def parts(text: str) -> set[str]:
    """The things that a caption names, each as colour, shape and place, whatever its wording."""
    found = set()
    for part in re.split(r" , | and ", text):
        place = next(position for position in POSITIONS if position in part)
        found.add(f"{part.replace(place, '').strip()} {place}")
    return found


def test_labels_are_all_different_and_of_two_words() -> None:
    assert len(set(LABELS)) == 56
    assert all(len(label.split()) == 2 for label in LABELS)


def test_captions_name_exactly_the_scene_in_reading_order() -> None:
    scene = make("blue square southeast", "red circle northwest", "cyan ring northeast")
    captions = {caption(scene, random.Random(seed)) for seed in range(200)}
    assert len(captions) == 4
    for text in captions:
        assert parts(text) == scene.content
        assert len(text.split()) == 11
        assert [text.index(word) for word in ("red", "cyan", "blue")] == sorted(
            text.index(word) for word in ("red", "cyan", "blue")
        )
    assert description(scene) == "red circle northwest , cyan ring northeast , blue square southeast" in captions


def test_json_returns_the_same_scene() -> None:
    scene = make("blue square southeast", "red circle northwest")
    assert scene_from_json(scene.to_json()) == scene
    assert scene_from_json(scene.crop(scene.things[1]).to_json()) == scene.crop(scene.things[1])


@pytest.mark.parametrize("change", [{"style": "marble"}, {"things": []}, {"things": [{"colour": "red"}]}])
def test_a_foreign_scene_description_is_refused(change: dict[str, object]) -> None:
    with pytest.raises(DataError, match="make the toy world again"):
        scene_from_json(make("red circle northwest").to_json() | change)


def test_content_ignores_style_and_shift_but_not_place() -> None:
    scene = make("red circle northwest", "blue square northeast")
    shifted = replace(scene, style="dusk", things=tuple(replace(thing, dx=thing.dx + 1) for thing in scene.things))
    assert shifted.content == scene.content
    assert make("red circle northwest", "blue square southeast").content != scene.content


def test_every_arrangement_has_its_name() -> None:
    for name, cells in ARRANGEMENTS.items():
        assert arrangement(make(*(f"{label} {cell}" for label, cell in zip(LABELS, cells, strict=False)))) == name
    assert len({frozenset(cells) for cells in ARRANGEMENTS.values()}) == 11
