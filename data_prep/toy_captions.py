"""Writes the toy world's picture-caption benchmarks and SugarCrepe, each in its public layout, below `cross-domain/`."""

import json
import random
from collections.abc import Iterator
from pathlib import Path

from data_prep.scene_maker import SceneMaker
from data_prep.scenes import COLOURS, LABELS, POSITIONS, SHAPES, Scene, caption, description
from data_prep.toy_files import PictureBook

CAPTIONS = 5
MOST = 40
"""Pictures of a set at most: each is embedded twice, and its captions too."""

Change = tuple[str, str, str]
"""A picture's name, its right caption and a wrong one."""


def write_captions(root: Path, *, seed: int, rows: int, book: PictureBook) -> dict[str, int]:
    """Four sets of `rows` pictures, at most `MOST`, and SugarCrepe's seven files of as many; the rows of each."""
    maker, rows = SceneMaker(rng=random.Random(f"{seed}/captions"), split="eval"), min(rows, MOST)
    for name in ("flickr30k", "coco"):
        _write_karpathy(root / name, name, maker, rows, book)
    _write_sharegpt4v(root / "sharegpt4v", maker, rows, book)
    _write_urban1k(root / "urban1k", maker, rows, book)
    _write_sugarcrepe(root / "sugarcrepe", maker, rows, book)
    return dict.fromkeys(("flickr30k", "coco", "sharegpt4v", "urban1k", "sugarcrepe"), rows)


def _scenes(maker: SceneMaker, rows: int) -> Iterator[tuple[int, Scene]]:
    """Scenes of three things, of which the first two differ in colour and in shape, so that either can be swapped."""
    row = 0
    while row < rows:
        scene = maker.scene(maker.rng.choice(LABELS), count=3)
        first, second, _ = scene.things
        if first.colour != second.colour and first.shape != second.shape:
            yield row, scene
            row += 1


def _write(path: Path, picture: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(picture)


def _write_json(path: Path, content: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _write_karpathy(folder: Path, name: str, maker: SceneMaker, rows: int, book: PictureBook) -> None:
    """Karpathy's file: pictures with sentences, those of another split among them."""
    place = "flickr30k-images" if name == "flickr30k" else "val2014"
    images = []
    for row, scene in _scenes(maker, rows):
        file = f"{row:06d}.jpg"
        _write(folder / place / file, book.encode(scene))
        sentences = [{"raw": text, "tokens": text.split()} for text in (caption(scene, maker.rng) for _ in range(CAPTIONS))]
        image = {"filename": file, "imgid": row, "split": "test", "sentences": sentences}
        images.append(image | ({"filepath": place} if name == "coco" else {}))
        images.append(image | {"split": "train"})
    _write_json(folder / f"dataset_{name}.json", {"images": images, "dataset": name})


def _write_sharegpt4v(folder: Path, maker: SceneMaker, rows: int, book: PictureBook) -> None:
    """Conversations of one question and one long answer."""
    table = []
    for row, scene in _scenes(maker, rows):
        path = f"sam/images/sa_{row}.jpg"
        _write(folder / path, book.encode(scene))
        turns = [{"from": "human", "value": "<image>\nDescribe it."}, {"from": "gpt", "value": _long(scene)}]
        table.append({"id": f"sa_{row}", "image": path, "conversations": turns})
    _write_json(folder / "share-captioner_coco_lcs_sam_1246k_1107.json", table)


def _write_urban1k(folder: Path, maker: SceneMaker, rows: int, book: PictureBook) -> None:
    """A text file and a picture of the same name."""
    (folder / "caption").mkdir(parents=True)
    for row, scene in _scenes(maker, rows):
        _write(folder / "image" / f"{row + 1}.jpg", book.encode(scene))
        (folder / "caption" / f"{row + 1}.txt").write_text(_long(scene).replace("\n", " ") + "\n", encoding="utf-8")


def _long(scene: Scene) -> str:
    """A caption of two lines: what is where, and which cell is empty."""
    empty = [position for position in POSITIONS if position not in {thing.position for thing in scene.things}]
    return f"{description(scene)}\nnothing {' , '.join(empty)}"


def _write_sugarcrepe(folder: Path, maker: SceneMaker, rows: int, book: PictureBook) -> None:
    """Seven files; pictures are shared by them."""
    kinds: dict[str, list[Change]] = {}
    for row, scene in _scenes(maker, rows):
        name = f"{row:012d}.jpg"
        _write(folder / "val2017" / name, book.encode(scene))
        for kind, wrong in _wrong(scene, maker.rng).items():
            kinds.setdefault(kind, []).append((name, description(scene), wrong))
    for kind, changes in kinds.items():
        table = {
            str(number): {"filename": name, "caption": right, "negative_caption": wrong}
            for number, (name, right, wrong) in enumerate(changes)
        }
        _write_json(folder / f"{kind}.json", table)


def _wrong(scene: Scene, rng: random.Random) -> dict[str, str]:
    """The scene's description with a shape, a colour or a place replaced, two of them swapped, or something added."""
    first, second, *_ = things = [(thing.colour, thing.shape, thing.position) for thing in scene.things]

    def told(*changed: tuple[str, str, str]) -> str:
        every = (*changed, *things[len(changed) :])
        return " , ".join(" ".join(each) for each in every)  # a `description`, as the right one is

    colour = rng.choice([other for other in COLOURS if other != first[0]])
    shape = rng.choice([other for other in SHAPES if other != first[1]])
    place = rng.choice([other for other in POSITIONS if other not in {each[2] for each in things}])
    return {
        "replace_obj": told((first[0], shape, first[2])),
        "replace_att": told((colour, first[1], first[2])),
        "replace_rel": told((*first[:2], place)),
        "swap_obj": told((*second[:2], first[2]), (*first[:2], second[2])),
        "swap_att": told((second[0], *first[1:]), (first[0], *second[1:])),
        "add_obj": f"{told()} , {colour} {shape} {place}",
        "add_att": told((f"{colour} {first[0]}", *first[1:])),
    }
