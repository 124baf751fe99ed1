"""Settings on the command line against `dataclasses.replace` by hand, and every mistake with field, value and what is allowed."""

import json
import re
from dataclasses import replace

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.losses.weights import Stepwise
from pipeline.manifest import canonical_json
from pipeline.model.adapters import Full, LoRA
from pipeline.model.pooling import LastToken
from pipeline.overrides import override
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.roles import Role
from pipeline.typed import build
from tests.pipeline.recipes_at_random import leaves, plain_values, put

CREM = load("crem_2b")
JOINT = CREM.phase


def with_joint(**fields: object) -> Recipe:
    return replace(CREM, phases=(replace(JOINT, **fields),))


def with_mixture(**fields: object) -> Recipe:
    return with_joint(mixture=replace(JOINT.mixture, **fields))


BY_HAND = {
    ("seed=7",): replace(CREM, seed=7),
    ("max_length = 1_024",): replace(CREM, max_length=1024),
    ("tokens.count=8", "tokens.start=eos"): replace(CREM, tokens=replace(CREM.tokens, count=8, start="eos")),
    ("tokens.count=8", "tokens.count=4"): replace(CREM, tokens=replace(CREM.tokens, count=4)),
    ("phases.0.language_weight=1",): with_joint(language_weight=1.0),
    ("phases.0.optimizer.betas.1=0.98",): with_joint(optimizer=replace(JOINT.optimizer, betas=(0.9, 0.98))),
    ("phases.0.optimizer.betas=0.8,0.98",): with_joint(optimizer=replace(JOINT.optimizer, betas=(0.8, 0.98))),
    ("phases.0.mixture.own_sides=",): with_mixture(own_sides=()),
    ("phases.0.mixture.own_sides=positive",): with_mixture(own_sides=("positive",)),
    ('phases.0.mixture.weights=[["A", 2], ["B", 0.5]]',): with_mixture(weights=(("A", 2.0), ("B", 0.5))),
    ("phases.0.mixture.pairs=96", "phases.0.mixture.sub_batch=96"): with_mixture(pairs=96, sub_batch=96),
    ("phases.0.contrastive.mask_duplicates=True",): with_joint(contrastive=replace(JOINT.contrastive, mask_duplicates=True)),
    ("pooling=LastToken",): replace(CREM, pooling=LastToken(Role.CONTEXT)),
    ("pooling=LastToken", "pooling.role=COMPRESSION"): replace(CREM, pooling=LastToken(Role.COMPRESSION)),
    ("phases.0.language_weight=Stepwise", "phases.0.language_weight.points=[[0, 5], [2000, 0.0]]"): with_joint(
        language_weight=Stepwise(((0, 5.0), (2000, 0.0)))
    ),
    ("phases.0.adapter=Full",): with_joint(adapter=Full()),
    ("phases.0.adapter.alpha=8", "phases.0.adapter=LoRA", "phases.0.adapter.rank=8"): with_joint(adapter=LoRA(rank=8)),
    ('phases.0.adapter={"type": "LoRA", "rank": 4}', "phases.0.adapter.targets=q_proj,v_proj"): with_joint(
        adapter=LoRA(rank=4, targets=("q_proj", "v_proj"))
    ),
    ("backbone=TinyBackbone", "backbone.hidden=64"): replace(CREM, backbone=TinyBackbone(hidden=64)),
    ("phases.0.layout.hidden=",): with_joint(layout=replace(JOINT.layout, hidden=())),
    ("phases.0.layout.gate_probability=1", "phases.0.layout.order=SYSTEM,context,COMPRESSION,QUESTION,ANSWER"): with_joint(
        layout=replace(JOINT.layout, gate_probability=1.0)
    ),
    ("name=mine", "summary=a = b"): replace(CREM, name="mine", summary="a = b"),
}


@pytest.mark.parametrize("given_settings", BY_HAND, ids=" ".join)
def test_settings_are_what_replace_says(given_settings: tuple[str, ...]) -> None:
    found = override(CREM, given_settings)
    assert found == BY_HAND[given_settings]
    assert canonical_json(found) == canonical_json(BY_HAND[given_settings])


def test_without_settings_the_recipe_is_left_alone() -> None:
    assert override(CREM, ()) is CREM


def written(value: object) -> str:
    """A plain value as a user would write it."""
    return json.dumps(value) if isinstance(value, dict | list | bool | float) else str(value)


@given(st.data())
@settings(max_examples=150, deadline=None)
def test_every_field_can_be_set_to_every_value_of_its_type(data: st.DataObject) -> None:
    tree = json.loads(canonical_json(load(data.draw(st.sampled_from(["crem_2b", "tiny"])))))
    path, kind = data.draw(st.sampled_from(leaves(tree, Recipe)))
    value = data.draw(plain_values(kind))
    assume(not isinstance(value, str) or value == value.strip())
    base = build(Recipe, tree)
    put(tree, path, value)
    try:
        expected = build(Recipe, tree)
    except ConfigError:
        assume(False)
    assert override(base, [f"{path}={written(value)}"]) == expected


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("seed", "--set seed: write path.to.field=value"),
        ("tokens.strat=eos", "--set tokens.strat: tokens has no field 'strat'; did you mean start?"),
        ("phases.0.mixtur.pairs=8", "phases.0 has no field 'mixtur'; did you mean mixture?"),
        ("mixture.pairs=8", "--set mixture.pairs: no such field; did you mean phases.0.mixture.pairs?"),
        ("pairs=8", "did you mean phases.0.mixture.pairs?"),
        ("zzz=8", "the recipe has no field 'zzz'; there are name, summary, backbone"),
        ("type=Recipe", "the recipe has no field 'type'"),
        ("phases.1.steps=8", "phases has no entry '1'; there are 1, counted from 0"),
        ("phases.x.steps=8", "phases has no entry 'x'"),
        ("phases.0.steps.x=8", "phases.0.steps is a whole number and has no field 'x'"),
        ("tokens.start=eso", "--set tokens.start=eso: 'eso' is not one of eos, mean, random"),
        ("tokens.count=many", "--set tokens.count=many: 'many' is not a whole number"),
        ("tokens.count=1.5", "'1.5' is not a whole number"),
        ("phases.0.language_weight=inf", "phases.0.language_weight: inf is not a number or Stepwise"),
        ("phases.0.language_weight=-1", "phase.language_weight: -1.0 is not a weight"),
        ("phases.0.language_weight=Stepwise", "phases.0.language_weight.points: Stepwise needs this field"),
        ("phases.0.mixture.sub_batch=0", "mixture.sub_batch: 0 is less than 1"),
        ("phases.0.mixture.native_share=1.5", "mixture.native_share: 1.5 is not between 0 and 1"),
        ("phases=[]", "phases: none; a recipe has one or more"),
        ("phases.0.steps=0", "phase.steps: 0 is less than 1"),
        ("phases.0.checkpoint_every=0", "phase.checkpoint_every: 0 is less than 1"),
        ("phases.0.optimizer.betas=0.9,1.1", "optimizer.betas: 1.1 is not between 0 and 1"),
        ("phases.0.optimizer.weight_decay=-1", "optimizer.weight_decay: -1.0 is less than 0"),
        ("phases.0.contrastive.temperature=0", "contrastive.temperature: 0.0 is not greater than 0"),
        ("pixels.max_tokens=100", "pixels.max_tokens: 100 is less than 256"),
        ("max_length=0", "^max_length: 0 is less than 1"),
        ("toy.eval_rows=0", "toy.eval_rows: 0 is less than 1"),
        ("phases.0.adapter.rank=0", "adapter.rank: 0 is less than 1"),
        ("phases.0.adapter.targets=", "adapter.targets: none given; name one or more of q_proj"),
        ("phases.0.adapter.targets=q_proj,qq_proj", "'qq_proj' is not one of q_proj, k_proj"),
        ('backbone={"type": "TinyBackbone", "heads": 3}', "backbone.heads: 3 does not divide backbone.hidden = 128"),
        ("backbone=TinyBackbone backbone.layers=0", "backbone.layers: 0 is less than 1"),
        ("phases.0.contrastive.mask_duplicates=yes", "'yes' is not true or false"),
        ("pooling.role=IMAGE", "'IMAGE' is not one of SYSTEM, CONTEXT, COMPRESSION, QUESTION, ANSWER"),
        ("backbone=Llama", "'Llama' is not one of PublishedBackbone, TinyBackbone"),
        ("backbone=7", "'7' is not one of PublishedBackbone, TinyBackbone"),
        ("phases.0.adapter={", "--set phases.0.adapter: not JSON"),
        ('phases.0.adapter={"type": "Huge"}', "adapter: type 'Huge' is not one of Full, LoRA"),
        (
            "phases.0.mixture.weights=A,2",
            r"is not a list, each \[a text, a number\] \(write it as JSON, as crem recipes show prints it\)",
        ),
        ('phases.0.mixture.weights=[["A"]]', "phases.0.mixture.weights.0: .* has 1 entries, not 2"),
        ("phases.0.optimizer.betas=0.9", "phases.0.optimizer.betas: .* has 1 entries, not 2"),
        ("phases.0.mixture.own_sides=negative", "'negative' is not one of query, positive"),
        ("phases.0.layout.hidden.0=Hide", "layout.hidden.0.queries: Hide needs this field"),
        ("phases.0.layout.gate_probability=2", "layout.gate_probability: 2.0 is not between 0 and 1"),
        (
            "phases.0.layout.hidden.0.probability=1",
            "layout.hidden.0 has no field 'probability'; it is layout.gate_probability now, one for the whole layout",
        ),
        ("phases.0.layout.hidden.0.queries=ANSWER", "layout.hidden: CONTEXT still reaches ANSWER without COMPRESSION"),
        (
            "phases.0.layout.order=SYSTEM,COMPRESSION,CONTEXT,QUESTION,ANSWER",
            "layout.order: SYSTEM, COMPRESSION, CONTEXT, QUESTION, ANSWER; ",
        ),
        ("phases.0.layout.order=SYSTEM,CONTEXT,QUESTION,ANSWER,COMPRESSION", "and others of SYSTEM, .*, ANSWER, in this order"),
        ("phases.0.layout.order=CONTEXT,CONTEXT,COMPRESSION,QUESTION,ANSWER", "layout.order: CONTEXT, CONTEXT"),
        ("phases.0.layout.order=SYSTEM,CONTEXT,COMPRESSION,ANSWER", "layout.hidden: QUESTION is not in layout.order"),
        ("phases.0.layout.template=plain", "layout.template: a plain prompt is CONTEXT alone"),
        ("phases.0.layout.order=SYSTEM,CONTEXT,QUESTION,ANSWER", "layout.hidden: without COMPRESSION in layout.order nothing"),
        ("tokens.count=0", "tokens.count: 0"),
        ("phases.0.mixture.pairs=100", "mixture.sub_batch: 64 does not divide mixture.pairs = 100"),
        ("phases.0.kept_chunks=1 phases.0.zero_stage=3", "phase.kept_chunks: ZeRO-3"),
    ],
)
def test_mistakes_name_field_value_and_what_is_allowed(setting: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as refused:
        override(CREM, re.split(" (?=phases|backbone)", setting))
    assert "\n" not in str(refused.value)


def test_a_field_below_one_without_a_value_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"layout.hidden.0.queries has no value yet"):
        override(CREM, ["phases.0.layout.hidden.0=Hide", "phases.0.layout.hidden.0.queries.0=ANSWER"])
