"""Variants of a recipe, one component changed at a time."""

from collections.abc import Callable
from dataclasses import replace

from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.pooling import AttentionPool, LastToken, MLPMean
from pipeline.model.shrinkers import Shrinker
from pipeline.recipe import Recipe
from pipeline.roles import Layout, Role


def no_tokens(recipe: Recipe) -> Recipe:
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
    phase = replace(recipe.phase, layout=layout)
    return replace(recipe, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=(phase,))


def plain_prompt(recipe: Recipe) -> Recipe:
    """Retrieval alone, as VLM2Vec does it."""
    layout = Layout(order=(Role.CONTEXT,), template="plain")
    phase = replace(recipe.phase, layout=layout, mixture=replace(recipe.phase.mixture, own_sides=(), outside=0))
    return replace(recipe, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=(phase,))


def plain_beside_native(recipe: Recipe) -> Recipe:
    """Pairs in plain prompts, conversations in the model's native form, both in one packed row."""
    mixture = replace(recipe.phase.mixture, own_sides=(), native_share=1.0)
    return plain_prompt(recipe).with_phase(mixture=mixture)


def whole_table_under_lora(recipe: Recipe) -> Recipe:
    return replace(recipe, tokens=Chorus(count=4, trained="table")).with_phase(adapter=LoRA(rank=2), tower="frozen")


def still_rows_at_new_ids(recipe: Recipe) -> Recipe:
    return replace(recipe, tokens=Chorus(count=4, start="eos", trained="none", place="new")).with_phase(adapter=LoRA(rank=2))


def dora(recipe: Recipe) -> Recipe:
    """Rows' lengths apart from their directions, with the dropout and all the targets that the published recipes have."""
    targets = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")
    return recipe.with_phase(adapter=LoRA(rank=2, alpha=4, dropout=0.1, dora=True, targets=targets), tower="frozen")


def half_precision_dora(recipe: Recipe) -> Recipe:
    return dora(recipe).with_phase(dtype="bfloat16", zero_stage=1)


def mlp_mean(recipe: Recipe) -> Recipe:
    return replace(recipe, pooling=MLPMean())


def shrunk_vision(recipe: Recipe, shrinker: Shrinker) -> Recipe:
    """Pictures of 9 to 16 tokens, of which fewer are left."""
    return replace(recipe, vision=shrinker, pixels=replace(recipe.pixels, min_tokens=9))


def attention_pool(recipe: Recipe) -> Recipe:
    return replace(recipe, pooling=AttentionPool())


def half_precision_mlp(recipe: Recipe) -> Recipe:
    """The working copies of all weights are bfloat16; masters stay float32."""
    return mlp_mean(recipe).with_phase(adapter=LoRA(rank=2), tower="frozen", dtype="bfloat16", zero_stage=2)


VARIANTS: dict[str, Callable[[Recipe], Recipe]] = {
    vary.__name__: vary
    for vary in (
        no_tokens,
        plain_prompt,
        plain_beside_native,
        whole_table_under_lora,
        still_rows_at_new_ids,
        dora,
        half_precision_dora,
        mlp_mean,
        attention_pool,
        half_precision_mlp,
    )
}
