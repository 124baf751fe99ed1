import io
import json
import random

import pytest
from PIL import Image, ImageChops, ImageStat

from data_prep.scene_maker import SceneMaker
from data_prep.scene_pictures import CELL, cell_of, draw, encode
from data_prep.scenes import COLOURS, LABELS, OTHER_STYLES, POSITIONS, SHAPES, STYLES, Scene, scene_from_json

ALL_STYLES = STYLES + OTHER_STYLES


def maker(seed: int, *, styles: tuple[str, ...] = ALL_STYLES) -> SceneMaker:
    return SceneMaker(rng=random.Random(seed), split="train", styles=styles)


def region(position: str) -> tuple[int, int, int, int]:
    row, column = cell_of(position)
    return column * CELL, row * CELL, (column + 1) * CELL, (row + 1) * CELL


def moved(scene: Scene, position: str) -> Scene:
    """A scene of one thing with that thing elsewhere, all else the same."""
    values = json.loads(json.dumps(scene.to_json()))
    values["things"][0]["position"] = position
    return scene_from_json(values)


def paper(style: str) -> Image.Image:
    """A whole picture's paper: every cell from a scene whose thing is in the opposite one."""
    scene = maker(0, styles=(style,)).place(["red ring"], ["northwest"])
    found = draw(moved(scene, "southeast"))
    box = region("southeast")
    found.paste(draw(scene).crop(box), box[:2])
    return found


@pytest.mark.parametrize("style", ALL_STYLES)
def test_a_crop_is_the_region_of_its_picture_on_the_paper_of_the_top_left(style: str) -> None:
    for seed in range(20):
        scene = maker(seed, styles=(style,)).scene(LABELS[seed], count=3)
        for thing in scene.things:
            crop = draw(scene.crop(thing))
            assert crop.size == (CELL, CELL)
            alone = moved(Scene(things=(thing,), style=style), "northwest")
            assert ImageChops.difference(crop, draw(alone).crop(region("northwest"))).getbbox() is None
            if thing.position == "northwest":
                assert ImageChops.difference(crop, draw(scene).crop(region("northwest"))).getbbox() is None


@pytest.mark.parametrize("style", ALL_STYLES)
def test_paper_is_darker_to_the_right_in_red_and_to_the_bottom_in_blue(style: str) -> None:
    light = {position: ImageStat.Stat(paper(style).crop(region(position))).mean for position in POSITIONS}
    for row in ("north", "south"):
        assert light[f"{row}west"][0] > light[f"{row}east"][0] + 15
    for column in ("west", "east"):
        assert light[f"north{column}"][2] > light[f"south{column}"][2] + 15


def test_files_are_jpeg_of_56_pixels_and_always_the_same() -> None:
    scene = maker(1).scene("red circle", count=3)
    picture = encode(scene)
    assert encode(scene) == picture
    with Image.open(io.BytesIO(picture)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (56, 56))


def test_a_thing_stays_in_its_cell() -> None:
    for seed in range(100):
        scene = maker(seed, styles=("plain",)).scene(LABELS[seed % 56], count=1)
        left, top, right, bottom = ImageChops.difference(draw(scene), paper("plain")).getbbox() or (0, 0, 0, 0)
        cell = region(scene.things[0].position)
        assert cell[0] <= left < right <= cell[2]
        assert cell[1] <= top < bottom <= cell[3]


def test_every_shift_and_size_shows_in_the_pixels() -> None:
    makers = [SceneMaker(rng=random.Random(0), split=split, styles=("plain",)) for split in ("train", "eval")]
    scenes = {own.place(["red star"], ["northwest"]) for own in makers for _ in range(600)}
    assert len({encode(scene) for scene in scenes}) == len(scenes) == 5 * 5 * 3


@pytest.mark.parametrize("style", ALL_STYLES)
def test_all_labels_look_different_in_the_same_place(style: str) -> None:
    base = maker(3, styles=(style,)).place(["red star"], ["northwest"])
    looks = set()
    for label in LABELS:
        values = json.loads(json.dumps(base.to_json()))
        values["things"][0] |= {"colour": label.split()[0], "shape": label.split()[1]}
        looks.add(draw(scene_from_json(values)).tobytes())
    assert len(looks) == 56


def test_the_ink_of_a_thing_is_its_colour() -> None:
    inks = {}
    papers = {ink for _, ink in paper("plain").getcolors(4) or ()}
    assert len(papers) == 4
    for colour in COLOURS:
        picture = draw(maker(0, styles=("plain",)).place([f"{colour} square"], ["northwest"]))
        counted = [(count, ink) for count, ink in picture.getcolors(56 * 56) if ink not in papers]
        inks[colour] = max(counted)[1]
    assert len(inks) == len(set(inks.values())) == len(COLOURS)
    distances = [sum((a - b) ** 2 for a, b in zip(one, two, strict=True)) for one in inks.values() for two in inks.values()]
    assert min(distance for distance in distances if distance) > 60**2


def test_shapes_cover_different_areas() -> None:
    areas = {}
    for shape in SHAPES:
        base = maker(0, styles=("plain",)).place([f"black {shape}"], ["northwest"])
        values = json.loads(json.dumps(base.to_json()))
        values["things"][0] |= {"dx": 0, "dy": 0, "radius": 10}
        ink = ImageChops.difference(draw(scene_from_json(values)).convert("L"), paper("plain").convert("L"))
        areas[shape] = ImageStat.Stat(ink).sum[0] / 230
    assert 270 < areas["circle"] < 350  # pi * 10 * 10 is 314
    assert 250 < areas["square"] < 320  # 17 * 17 is 289
    assert 150 < areas["triangle"] < 210  # 20 * 18 / 2 is 180
    assert areas["ring"] < 0.75 * areas["circle"]
