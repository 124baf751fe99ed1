"""What --recipe names: our names, a function of a user's file, a stored JSON file; every mistake is one line with its place."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.recipes import described, load
from pipeline.recipes.source import resolve

FILE = """
from dataclasses import dataclass, replace

from beside import SEED
from pipeline.phase import Mixture
from pipeline.recipes import load


@dataclass
class Own:
    role: int = 2


def mine():
    return replace(load("tiny"), name="mine", seed=SEED, max_length=300)


def whole_number_for_a_number():
    return replace(load("tiny"), phases=(replace(load("tiny").phase, language_weight=1),))


def typo():
    return replace(load("tiny"), sed=7)


def refused():
    return Mixture(pairs=3, sub_batch=2)


def number():
    return 3


def needs(something):
    return something


def wrong_type():
    return load("tiny").with_phase(tower=7)


def own_part():
    return load("tiny").with_phase(contrastive=Own())


NO_FUNCTION = 3
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    (tmp_path / "beside.py").write_text("SEED = 7\n")
    (tmp_path / "my.recipe.py").write_text(FILE)
    return tmp_path / "my.recipe.py"


def test_a_name_is_one_of_ours() -> None:
    assert resolve("tiny") == load("tiny")
    assert resolve("tiny", ["seed=3"]) == replace(load("tiny"), seed=3)


def test_a_function_of_a_file_may_import_its_neighbours(file: Path) -> None:
    before = list(sys.path)
    assert resolve(f"{file}:mine") == replace(load("tiny"), name="mine", seed=7, max_length=300)
    assert resolve(f"{file}:mine", ["seed=9"]).seed == 9
    assert sys.path == before


def test_values_of_a_file_get_their_types(file: Path) -> None:
    assert canonical_json(resolve(f"{file}:whole_number_for_a_number").phases[0].language_weight) == "1.0"


def test_a_stored_recipe_is_the_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text(canonical_json(load("mini")))
    assert resolve(str(tmp_path / "recipe.json")) == load("mini")


@pytest.mark.parametrize(
    ("function", "message"),
    [
        ("typo", r"my\.recipe\.py:23: TypeError: .*unexpected keyword argument 'sed'"),
        ("refused", r"my\.recipe\.py:27: mixture.sub_batch: 2 does not divide"),
        ("number", r"my\.recipe\.py:number: returns int, not a Recipe"),
        ("needs", r"my\.recipe\.py: TypeError: needs\(\) missing 1 required"),
        ("wrong_type", r"my\.recipe\.py:wrong_type: phases.0.tower: 7 is not one of frozen, trained"),
        (
            "own_part",
            r"my\.recipe\.py:own_part: phases.0.contrastive: type 'Own' is not .*pipeline.losses.contrastive.ContrastiveLoss",
        ),
        ("nope", r"no function 'nope' in it; there are mine, whole_number_for_a_number, typo, "),
        ("NO_FUNCTION", "no function 'NO_FUNCTION' in it"),
    ],
)
def test_mistakes_in_a_file_name_file_and_line(file: Path, function: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        resolve(f"{file}:{function}")
    assert str(refused.value).startswith(f"--recipe {file}")
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = = 3\n", "broken.py:1: SyntaxError"),
        ("\nimport nowhere\n", "broken.py:2: ModuleNotFoundError: No module named 'nowhere'"),
        ("\nimport sys\nsys.exit(0)\n", "broken.py:3: SystemExit: 0"),
    ],
)
def test_a_file_that_does_not_run(tmp_path: Path, text: str, message: str) -> None:
    (tmp_path / "broken.py").write_text(text)
    with pytest.raises(ConfigError, match=message):
        resolve(f"{tmp_path / 'broken.py'}:fn")


@pytest.mark.parametrize(
    ("source", "message"),
    [
        ("nowhere.py:fn", "--recipe nowhere.py: no such file"),
        ("my.py", "--recipe my.py: name the function too, as in my.py:my_recipe"),
        ("my.py:", "name the function too"),
        ("nowhere.json", "--recipe nowhere.json: No such file"),
        ("crem2b", "no recipe 'crem2b'; did you mean crem_2b"),
        ("zzz", "no recipe 'zzz'; crem recipes list prints all names"),
    ],
)
def test_mistakes_in_the_name(source: str, message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match=message):
        resolve(source)


def test_a_changed_recipe_does_not_pass_for_ours() -> None:
    assert described(load("tiny")) == "tiny"
    assert described(resolve("tiny", ["summary=told better"])) == "tiny"
    assert described(resolve("tiny", ["seed=3", "tokens.count=8"])) == "tiny, other in seed, tokens.count"
    many = ["seed=3", "max_length=9", "tokens.count=8", "tokens.start=eos", "phases.0.tower=frozen"]
    assert described(resolve("tiny", many)) == "tiny, other in max_length, phases.0.tower, seed, 2 more"
    assert described(resolve("tiny", ["name=mine", "seed=3"])) == "mine"


def test_a_stored_file_that_is_no_recipe(tmp_path: Path) -> None:
    (tmp_path / "recipe.json").write_text('{"type": "Recipe"}')
    with pytest.raises(ConfigError, match=r"recipe\.json: name: Recipe needs this field"):
        resolve(str(tmp_path / "recipe.json"))
