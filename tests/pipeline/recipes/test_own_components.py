"""A component of a user's own file is as good as ours: by --recipe, --set, JSON and diff; its mistakes are one line."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import canonical_json
from pipeline.recipe_diff import Difference, differences
from pipeline.recipe_json import recipe_fingerprint, recipe_from_json
from pipeline.recipes import load
from pipeline.recipes.source import resolve
from pipeline.train import checkpoint

FILE = """
from __future__ import annotations

from dataclasses import dataclass, replace

from pipeline.batch import PoolPositions
from pipeline.model.pooling import MeanOver, Pooling
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.roles import Role


@dataclass(frozen=True, slots=True)
class LoudMean(Pooling):
    gain: float = {gain}
    role: Role = Role.COMPRESSION

    @property
    def positions(self) -> PoolPositions:
        return PoolPositions(self.role)

    def build(self, width):
        return lambda states: self.gain * states.float().mean(dim=1)


@dataclass(frozen=True)
class Unbuilt(Pooling):
    @property
    def positions(self):
        return PoolPositions(Role.COMPRESSION)


class Undecorated(MeanOver):
    pass


@dataclass(frozen=True)
class Stranger:
    role: Role = Role.COMPRESSION

    @property
    def positions(self):
        return PoolPositions(self.role)


def loud() -> Recipe:
    return replace(load("tiny"), name="loud", pooling=LoudMean())


def unbuilt():
    return replace(load("tiny"), pooling=Unbuilt())


def undecorated():
    return replace(load("tiny"), pooling=Undecorated())


def stranger():
    return replace(load("tiny"), pooling=Stranger())
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same for all tests: classes of a name in two files would be refused, those of one file are read anew."""
    return tmp_path_factory.mktemp("own") / "own.py"


@pytest.fixture
def file(place: Path) -> Path:
    place.write_text(FILE.format(gain=2.0))
    return place


def test_a_pooling_of_a_users_file_is_a_value_like_ours(file: Path) -> None:
    recipe = resolve(f"{file}:loud")
    assert json.loads(canonical_json(recipe))["pooling"] == {"type": "LoudMean", "gain": 2.0, "role": "COMPRESSION"}
    assert recipe.pooling.build(2)(torch.ones(1, 3, 2)).tolist() == [[2.0, 2.0]]
    assert recipe_from_json(canonical_json(recipe)) == recipe
    changed = resolve(f"{file}:loud", ["pooling.gain=3"])
    assert differences(recipe, changed) == [Difference("pooling.gain", "2.0", "3.0")]
    assert recipe_fingerprint(changed) != recipe_fingerprint(recipe)
    assert resolve(f"{file}:loud", ["pooling=MeanOver"]) == replace(load("tiny"), name="loud")
    back = resolve(f"{file}:loud", ["pooling=MeanOver", "pooling=LoudMean", "pooling.gain=5"])
    assert differences(recipe, back) == [Difference("pooling.gain", "2.0", "5.0")]


def test_a_file_that_is_read_again_brings_its_classes_anew(file: Path) -> None:
    first = resolve(f"{file}:loud")
    file.write_text(FILE.format(gain=4.0))
    again = resolve(f"{file}:loud")
    assert canonical_json(again.pooling) == canonical_json(replace(first.pooling, gain=4.0))
    assert recipe_from_json(canonical_json(first)).pooling == type(again.pooling)(gain=2.0)


@pytest.mark.parametrize(
    ("source", "settings", "message"),
    [
        ("unbuilt", (), r"own\.py:51: TypeError: Can't instantiate abstract class Unbuilt with abstract method build"),
        ("undecorated", (), r"own\.py:undecorated: pooling: .*Undecorated of .* is no frozen dataclass"),
        ("stranger", (), "pooling: type 'Stranger' is not one of MeanOver, .*under pipeline.model.pooling.Pooling"),
        ("loud", ("pooling=Unbuilt",), r"--set pooling=Unbuilt: 'Unbuilt' is not one of .*; Unbuilt of \S+own\.py lacks build"),
        ("loud", ("pooling.gain=much",), "--set pooling.gain=much: 'much' is not a number"),
        ("loud", ("pooling.role=ANSWER",), "pooling.role: LoudMean pools COMPRESSION"),
    ],
)
def test_mistakes_of_an_own_class_are_one_line(file: Path, source: str, settings: tuple[str, ...], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        resolve(f"{file}:{source}", settings)
    assert "\n" not in str(refused.value)


def test_a_recipe_whose_class_is_unknown_says_how_to_make_it_known(tmp_path: Path) -> None:
    plain = json.loads(canonical_json(load("tiny")))
    plain["pooling"] = {"type": "NeverLoaded"}
    (tmp_path / checkpoint.RECIPE).write_text(json.dumps(plain))
    message = "pooling: type 'NeverLoaded' is not one of MeanOver, .* in the file that --recipe FILE.py:FN or --components names"
    with pytest.raises(ConfigError, match=f"--recipe .*{message}"):
        resolve(str(tmp_path / checkpoint.RECIPE))
    with pytest.raises(CheckpointError, match=f"{checkpoint.RECIPE}: {message}"):
        checkpoint.recipe(tmp_path)
