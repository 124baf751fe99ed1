"""A recipe through JSON and back, and what its fingerprint sees."""

import hashlib
import json
from dataclasses import fields, replace
from pathlib import Path

import pytest
from hypothesis import given, settings

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.negatives import InFile
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.recipe_json import (
    NEUTRAL,
    course_fingerprint,
    course_values,
    decisive_values,
    recipe_fingerprint,
    recipe_from_json,
    stage_values,
)
from pipeline.recipes import RECIPES, load
from pipeline.recipes.source import resolve
from pipeline.sample import Side
from pipeline.template_file import named_templates
from tests.pipeline.recipes_at_random import recipes


@given(recipes())
@settings(max_examples=100, deadline=None)
def test_any_recipe_comes_back_as_it_was(recipe: Recipe) -> None:
    again = recipe_from_json(canonical_json(recipe))
    assert again == recipe
    assert canonical_json(again) == canonical_json(recipe)
    assert recipe_fingerprint(again) == recipe_fingerprint(recipe)
    assert differences(recipe, again) == []


@given(recipes(), recipes())
@settings(max_examples=100, deadline=None)
def test_fingerprints_differ_where_a_value_does(one: Recipe, other: Recipe) -> None:
    is_same = replace(one, name="", summary="") == replace(other, name="", summary="")
    assert (recipe_fingerprint(one) == recipe_fingerprint(other)) == is_same == (differences(one, other) == [])


@pytest.mark.parametrize("name", RECIPES)
def test_our_recipes_have_values_of_their_types(name: str) -> None:
    """A whole number where a number stands would have another text, and so another fingerprint, after one trip."""
    assert canonical_json(recipe_from_json(canonical_json(load(name)))) == canonical_json(load(name))


def test_a_changed_sentence_or_name_is_the_same_recipe() -> None:
    tiny = load("tiny")
    assert recipe_fingerprint(replace(tiny, name="small", summary="a better sentence")) == recipe_fingerprint(tiny)


@pytest.mark.parametrize(("given", "gate"), [([0.5], 0.5), ([0.0, 0.5], 0.5), ([1.0, 0.5], 1.0)])
def test_a_recipe_of_before_one_gate_a_layout_is_read_as_it_was_trained(given: list[float], gate: float) -> None:
    """Each hidden pair had a probability of its own then, and one coin with the largest of them gated all pairs."""
    plain = json.loads(canonical_json(load("crem_2b")))
    plain["layout"] = plain["phases"][0].pop("layout")
    del plain["layout"]["gate_probability"]
    (pair,) = plain["layout"]["hidden"]
    plain["layout"]["hidden"] = [{**pair, "probability": probability} for probability in given]
    layout = recipe_from_json(json.dumps(plain)).phase.layout
    assert layout.gate_probability == gate and layout.hidden == load("crem_2b").phase.layout.hidden * len(given)


def test_a_number_of_hard_negatives_in_the_mixture_is_read_as_it_was_trained() -> None:
    plain = json.loads(canonical_json(load("tiny")))
    del plain["phases"][0]["negatives"]
    plain["phases"][0]["mixture"]["negatives"] = 3
    assert recipe_from_json(json.dumps(plain)).phase.negatives == InFile(most=3)


def test_a_recipe_of_when_there_was_one_phase_is_read_as_it_was_trained() -> None:
    """Layout, adapter, tower and losses stood in the recipe then."""
    for name in ("crem_2b", "tiny_full"):
        plain = json.loads(canonical_json(load(name)))
        plain |= {field: plain["phases"][0].pop(field) for field in ("layout", "adapter", "tower", "contrastive", "language")}
        assert recipe_from_json(json.dumps(plain)) == load(name)


def with_phase(**fields: object) -> Recipe:
    tiny = load("tiny")
    return replace(tiny, phases=(replace(tiny.phase, **fields),))


def test_a_run_goes_on_with_another_machines_settings_and_with_no_other_values() -> None:
    course = course_fingerprint(load("tiny"))
    machine = {"zero_stage": 3, "kept_chunks": 0, "chunk_tokens": 77, "keep_checkpoints": 9, "evaluate_every": 3}
    assert course_fingerprint(with_phase(**machine)) == course
    assert course_fingerprint(replace(load("tiny"), name="other", summary="")) == course
    for changed in ({"steps": 7}, {"dtype": "bfloat16"}, {"held_out": 3}, {"language_weight": 0.25}):
        assert course_fingerprint(with_phase(**changed)) != course
    assert course_fingerprint(replace(load("tiny"), seed=8)) != course
    assert set(NEUTRAL) <= {item.name for item in fields(Phase)}


def test_every_other_field_is_seen() -> None:
    assert set(decisive_values(load("tiny"))) == {"type", *(item.name for item in fields(Recipe))} - {"name", "summary"}


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", r"\[\] is not Recipe"),
        ('{"type": "Recipe", "name": "x"}', "summary: Recipe needs this field"),
        ('{"type": "os.system"}', "type 'os.system' is not Recipe"),
        ('{"__reduce__": []}', "the recipe has no field '__reduce__'"),
    ],
)
def test_text_that_is_no_recipe_is_refused(text: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        recipe_from_json(text)


def test_a_recipe_without_instructions_is_named_as_before_there_were_any() -> None:
    """By its other values alone; the shrinker that keeps all was unsaid before."""
    for name in ("tiny", "tiny_magic", "crem_2b"):
        values = decisive_values(load(name))
        unsaid = {"templates"} | ({"vision"} if load(name).vision.keeps_all else set())
        left = {field: value for field, value in values.items() if field not in unsaid}
        text = json.dumps(left, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert recipe_fingerprint(load(name)) == hashlib.sha256(text.encode()).hexdigest()
    plain = json.loads(canonical_json(load("tiny")))
    del plain["templates"]
    assert recipe_from_json(json.dumps(plain)) == load("tiny"), "a recipe of before"


def test_finished_stages_of_recipes_without_instructions_stay_finished() -> None:
    """What they were made with has no such field; where something is told, they say what."""
    tiny, magic = load("tiny"), load("magic_2b")
    assert stage_values(tiny) == {name: value for name, value in course_values(tiny).items() if name != "templates"}
    assert stage_values(magic) == course_values(magic) and magic.templates == named_templates("magic")
    assert not load("tiny_magic").templates.instructions


def test_what_is_said_names_a_recipe_wherever_the_file_lies(tmp_path: Path) -> None:
    def named(place: Path, candidate: str) -> str:
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_text(f'[default]\nquery = "find it"\ncandidate = "{candidate}"\n')
        recipe = resolve("tiny", [f"templates={place}"])
        assert recipe.templates.candidate(Side(text="a"), "x").instruction == f"{candidate}\n"
        return course_fingerprint(recipe)

    first = named(tmp_path / "a.toml", "be found")
    assert first == named(tmp_path / "other" / "b.toml", "be found") != course_fingerprint(load("tiny"))
    assert first != named(tmp_path / "a.toml", "be seen")
    with pytest.raises(ConfigError, match=r"--set templates: templates .*/none.toml: no such file"):
        resolve("tiny", [f"templates={tmp_path / 'none.toml'}"])
    with pytest.raises(ConfigError, match=r"--set templates: templates 'magi': name a file"):
        resolve("tiny", ["templates=magi"])
