"""The ablations of CREM's Tables 3, 4, 5, 8 and 9 (Qwen2-VL-2B): each is crem_2b with the values that its row names.

Which printed row is which recipe stands in pipeline/recipes/printed.py; what the rows leave unclear, in docs/decisions/012.
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline.model.pooling import AttentionPool, MLPMean
from pipeline.recipe import Recipe
from pipeline.recipes.crem import crem_2b, with_mixture

NUM_TOKENS = (1, 4, 8, 32, 64)
"""Table 4's numbers of chorus tokens besides crem_2b's 16."""


def without_generation() -> Recipe:
    """Tables 3 and 5: CREM's prompt and tokens, trained by retrieval alone."""
    return replace(
        with_mixture(crem_2b(), outside=0, own_sides=()),
        name="crem_2b_no_generation",
        summary="crem_2b trained by retrieval alone: no questions, no conversations",
    )


def without_retrieval() -> Recipe:
    """Table 3: the compression-driven answers of ShareGPT-4V alone; no pair is drawn, so no own question either."""
    return replace(
        with_mixture(crem_2b(), pairs=0),
        name="crem_2b_no_retrieval",
        summary="crem_2b trained by ShareGPT-4V's answers alone, compressed in half of the rows",
    )


def merely_added() -> Recipe:
    """Table 3, fifth row: both losses on CREM's prompt and data, but an answer always sees the whole context.

    The row ticks the compression-driven strategy like CREM's own; the text says that it goes without, and the row has no figure
    for compressed answers. Its figures lie beside those of Table 8's row with p = 0.
    """
    return replace(
        with_probability(crem_2b(), 0.0),
        name="crem_2b_added",
        summary="crem_2b with its two losses merely added: nothing is hidden from an answer",
    )


def with_num_tokens(count: int) -> Recipe:
    """Table 4: another number of chorus tokens."""
    base = crem_2b()
    return replace(
        base, name=f"crem_2b_k{count}", summary=f"crem_2b with {count} chorus tokens", tokens=replace(base.tokens, count=count)
    )


def homogeneous() -> Recipe:
    """Table 5: questions about the pairs' own sides only."""
    return replace(
        with_mixture(crem_2b(), outside=0), name="crem_2b_homogeneous", summary="crem_2b without ShareGPT-4V's conversations"
    )


def heterogeneous() -> Recipe:
    """Table 5: ShareGPT-4V's conversations only."""
    return replace(
        with_mixture(crem_2b(), own_sides=()), name="crem_2b_heterogeneous", summary="crem_2b without questions about the pairs"
    )


def with_weights(retrieval: float, generation: float, probability: float) -> Recipe:
    """Table 8: other loss weights, another probability of compression."""
    weighted = crem_2b().with_phase(contrastive_weight=retrieval, language_weight=generation)
    return replace(
        with_probability(weighted, probability),
        name=f"crem_2b_r{retrieval:g}_g{generation:g}_p{probability:g}".replace(".", ""),
        summary=f"crem_2b with loss weights {retrieval:g} and {generation:g}, compression with probability {probability:g}",
    )


def mlp_pooled() -> Recipe:
    """Table 9: an MLP over each chorus token's state, then the mean."""
    return replace(crem_2b(), name="crem_2b_mlp", summary="crem_2b pooled by an MLP and the mean", pooling=MLPMean())


def attention_pooled() -> Recipe:
    """Table 9: attention of a learned query over the chorus tokens' states."""
    return replace(
        crem_2b(), name="crem_2b_attention", summary="crem_2b pooled by attention with a learned query", pooling=AttentionPool()
    )


def with_probability(recipe: Recipe, probability: float) -> Recipe:
    """A recipe whose answers are compressed with another probability."""
    return recipe.with_phase(layout=replace(recipe.phase.layout, gate_probability=probability))


ABLATIONS: dict[str, Callable[[], Recipe]] = {
    "crem_2b_no_generation": without_generation,
    "crem_2b_no_retrieval": without_retrieval,
    "crem_2b_added": merely_added,
    **{f"crem_2b_k{count}": partial(with_num_tokens, count) for count in NUM_TOKENS},
    "crem_2b_homogeneous": homogeneous,
    "crem_2b_heterogeneous": heterogeneous,
    "crem_2b_r1_g1_p1": partial(with_weights, 1.0, 1.0, 1.0),
    "crem_2b_r1_g1_p05": partial(with_weights, 1.0, 1.0, 0.5),
    "crem_2b_r1_g1_p0": partial(with_weights, 1.0, 1.0, 0.0),
    "crem_2b_r05_g1_p05": partial(with_weights, 0.5, 1.0, 0.5),
    "crem_2b_mlp": mlp_pooled,
    "crem_2b_attention": attention_pooled,
}
