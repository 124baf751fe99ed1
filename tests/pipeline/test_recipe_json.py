"""A recipe through JSON and back, and what its fingerprint sees."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given, settings

from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json
from pipeline.negatives import InFile
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.recipe_json import NEUTRAL, course_fingerprint, decisive_values, recipe_fingerprint, recipe_from_json
from pipeline.recipes import RECIPES, load
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
