"""A small toy world for all tests of its files, and an independent reader of its questions."""

import base64
import csv
import hashlib
import json
import re
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from data_prep.toy_world import write_toy_world

TRAIN_ROWS, EVAL_ROWS, CONVERSATIONS, MCQ_ROWS = 112, 60, 400, 64


@dataclass(frozen=True)
class ToyWorld:
    """The folder of a toy world, what `write_toy_world` returned, and every picture's scene as plain JSON."""

    root: Path
    counts: Mapping[str, int]
    facts: Mapping[str, dict[str, Any]]

    def scene(self, picture: bytes) -> dict[str, Any]:
        """The scene that the facts name for a picture file."""
        return self.facts[hashlib.sha256(picture).hexdigest()]

    def zipped(self, name: str) -> dict[str, bytes]:
        """Every member of a zip below the root."""
        with zipfile.ZipFile(self.root / name) as archive:
            return {member: archive.read(member) for member in archive.namelist()}

    def train_pictures(self) -> dict[str, bytes]:
        """Pictures of training pairs and conversations."""
        found = {f"{path.stem}/{name}": data for path in self._zips() for name, data in self.zipped(path).items()}
        shown = self.zipped("conversations/images.zip")
        return found | {name: data for name, data in shown.items() if name.startswith("toy/train_")}

    def eval_pictures(self) -> dict[str, bytes]:
        """Pictures of evaluation pairs, conversations, captions and choice questions."""
        shown = self.zipped("conversations/images.zip")
        return (
            self.zipped("MMEB-eval/images.zip")
            | {name: data for name, data in shown.items() if name.startswith("toy/eval_")}
            | {str(path.relative_to(self.root)): path.read_bytes() for path in self.root.glob("cross-domain/**/*.jpg")}
            | {f"{name}/{row['index']}": base64.b64decode(row["image"]) for name in ("ToyMC", "ToyYN") for row in self.tsv(name)}
        )

    def tsv(self, name: str) -> list[dict[str, str]]:
        """The rows of a benchmark."""
        with (self.root / "mcq" / f"{name}.tsv").open(encoding="utf-8", newline="") as file:
            return list(csv.DictReader(file, delimiter="\t"))

    def _zips(self) -> list[Path]:
        return [path.relative_to(self.root) for path in sorted(self.root.glob("MMEB-train/images_zip/*.zip"))]


@pytest.fixture(scope="session")
def toy_world(tmp_path_factory: pytest.TempPathFactory) -> ToyWorld:
    root = tmp_path_factory.mktemp("toy") / "world"
    counts = write_toy_world(
        root, seed=7, train_rows=TRAIN_ROWS, eval_rows=EVAL_ROWS, conversations=CONVERSATIONS, mcq_rows=MCQ_ROWS
    )
    lines = (root / "scene_facts.jsonl").read_text(encoding="utf-8").splitlines()
    return ToyWorld(root=root, counts=counts, facts={fact["sha256"]: fact["scene"] for fact in map(json.loads, lines)})


DESCRIBE = ("Describe the picture.", "What is in the picture?", "Give a caption of the picture.")
_PLACE = r"northwest|northeast|southwest|southeast|middle"


def things_told(text: str) -> set[tuple[str, ...]]:
    """The things that a caption names, as (place, colour, shape), whatever its wording."""
    parts = re.split(r" , | and ", text)
    found = {tuple(re.findall(_PLACE, part) + re.sub(_PLACE, "", part).split()) for part in parts}
    assert len(found) == len(parts)
    return found


def _called(scene: dict[str, Any], name: str) -> list[dict[str, Any]]:
    """The things that "red circle", "red shape" or "circle" may mean, in reading order."""
    colour, _, shape = name.rpartition(" ")
    order = ("northwest", "northeast", "southwest", "southeast", "middle")
    fits = [thing for thing in scene["things"] if colour in ("", thing["colour"]) and shape in ("shape", thing["shape"])]
    return sorted(fits, key=lambda thing: order.index(thing["position"]))


def _answer_again(scene: dict[str, Any], text: str, told: str = "") -> str | None:
    """The answer worked out from the scene's JSON by regular expressions alone; None for a question not known here.

    A description has many right forms: it is `told` itself where that names exactly the things of the scene.
    """
    cells = {thing["position"]: (thing["colour"], thing["shape"]) for thing in scene["things"]}
    text = text.removesuffix(" Please answer yes or no.")
    if found := re.fullmatch(r"Is there an? ([\w ]+)\?", text):
        return "Yes" if _called(scene, found[1]) else "No"
    if found := re.fullmatch(r"Where is the ([\w ]+)\?", text):
        (thing,) = _called(scene, found[1])
        return str(thing["position"])
    if found := re.fullmatch(r"What colour is the shape (?:at|in) the ([\w ]+)\?", text):
        return cells[found[1]][0]
    if found := re.fullmatch(r"What colour is the (\w+)\?", text):
        (colour,) = [colour for colour, shape in cells.values() if shape == found[1]]
        return colour
    if found := re.fullmatch(r"What shape is (?:at|in) the ([\w ]+)\?", text):
        return cells[found[1]][1]
    if text == "How many shapes are there?":
        return ["none", "one", "two", "three", "four"][len(cells)]
    if found := re.fullmatch(rf"(?:What|Which shape) is in the ({_PLACE})\?", text):
        return " ".join(cells[found[1]])
    if text in DESCRIBE:
        return told if things_told(told) == {(place, *cell) for place, cell in cells.items()} else "another picture"
    return None


@pytest.fixture(scope="session")
def answer_again() -> Callable[..., str | None]:
    return _answer_again


def _sentence_again(scene: dict[str, Any], text: str, told: str = "") -> str | None:
    """The answer as a sentence: what the question names, then what it asks for, read from the scene's JSON alone."""
    answer = _answer_again(scene, text, told)
    text = text.removesuffix(" Please answer yes or no.")
    if found := re.fullmatch(r"(?:Is there an?|Where is the|What colour is the) (\w+ \w+|\w+)\?", text):
        ends = f" , {str(answer).lower()}" if text.startswith("Is there") else ""
        things = _called(scene, found[1])
        if not things:
            return f"{found[1].removesuffix('shape').strip()} nowhere{ends}"
        place, colour, shape = (things[0][field] for field in ("position", "colour", "shape"))
        return (f"{shape} {place} {colour}" if " " not in found[1] else f"{colour} {shape} {place}") + ends
    if found := re.fullmatch(r"What (?:colour is the shape|shape is) (?:at|in) the ([\w ]+)\?", text):
        return next(f"{found[1]} {t['colour']} {t['shape']}" for t in scene["things"] if t["position"] == found[1])
    return answer


@pytest.fixture(scope="session")
def sentence_again() -> Callable[..., str | None]:
    return _sentence_again
