"""Each method on the toy world, on `tiny`'s model and as many pairs as it has: what `make methods` trains and compares.

What a model from scratch needs is tiny's (docs/experiments.md); what is a method's own is taken from its recipe.
"""

from collections.abc import Callable
from dataclasses import replace

from pipeline.losses.language import NextToken
from pipeline.losses.weights import Stepwise
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.recipes.btoks import LAYOUT as BOTTLENECK
from pipeline.recipes.btoks import TOLD
from pipeline.recipes.coma import COMPRESS, MATCH
from pipeline.recipes.crem import PLAIN
from pipeline.recipes.tiny import tiny
from pipeline.roles import Role
from pipeline.targets import Dialogue, OtherSide

END_TOKEN_RATE = 3e-4
"""Where embeddings are read from the end token, or from tokens that begin as its copies (docs/results.md): `tiny`'s is 1e-3."""


def tiny_retrieval() -> Recipe:
    """CREM_R on the toy world: `tiny`'s pairs, the last token of a plain prompt, InfoNCE alone. What tokens have to beat.

    At `tiny`'s rate its embeddings become equal within 60 steps and stay so for hundreds: the first losses are two to three times
    log 32, and equal embeddings are the nearest way down (docs/experiments.md).
    """
    base = tiny()
    mixture = replace(base.phase.mixture, outside=0, own_sides=(), native_share=0.0)
    optimizer = replace(base.phase.optimizer, learning_rate=END_TOKEN_RATE)
    return replace(
        base,
        name="tiny_retrieval",
        summary="the baseline: tiny's pairs by InfoNCE alone, over the last token",
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),
        phases=(replace(base.phase, layout=PLAIN, mixture=mixture, language_weight=0.0, optimizer=optimizer),),
    )


def tiny_no_generation() -> Recipe:
    """CREM's prompt and tokens on the toy world, trained by InfoNCE alone."""
    base = tiny()
    return replace(
        base.with_phase(mixture=replace(base.phase.mixture, outside=0, own_sides=()), language_weight=0.0),
        name="tiny_no_generation",
        summary="tiny trained by InfoNCE alone, over its tokens",
    )


def tiny_coma() -> Recipe:
    """CoMa on the toy world: `compress` by dialogues, then `match` with as many pairs as `tiny` has.

    A model from scratch knows no language and does not see yet, so `compress` is as long as `match`. It trains the tower too.
    """
    base = tiny()
    joint = base.phase
    compress = replace(
        joint,
        name="compress",
        layout=COMPRESS,
        mixture=replace(joint.mixture, sub_batch=1, outside=0, native_share=0.0, weights=()),
        target=Dialogue(bare=True),
        contrastive_weight=0.0,
        language_weight=1.0,
        optimizer=replace(joint.optimizer, warmup_steps=60),
    )
    match = replace(
        joint,
        name="match",
        layout=MATCH,
        mixture=replace(joint.mixture, outside=0, own_sides=(), native_share=0.0),
        language_weight=0.0,
    )
    return replace(
        base,
        name="tiny_coma",
        summary="CoMa on the toy world: compress by dialogues, then match tiny's pairs",
        phases=(compress, match),
    )


def tiny_btoks() -> Recipe:
    """Bottleneck Tokens on the toy world: `tiny`'s pairs, the other side's text for the first 40 % of the steps (2,000 of 5,000).

    Its sets have MMEB's names, so the sides that are told are those of btoks_2b. At `tiny`'s rate one of two seeds ended
    ten points lower (docs/results.md).
    """
    base = tiny()
    joint = base.phase
    told = replace(
        joint,
        layout=BOTTLENECK,
        mixture=replace(joint.mixture, outside=0, native_share=0.0),
        target=OtherSide(told=TOLD),
        language=NextToken(per="pairs"),
        optimizer=replace(joint.optimizer, learning_rate=END_TOKEN_RATE),
        language_weight=Stepwise(((0, 5.0), (joint.steps * 2 // 5, 0.0))),
    )
    return replace(
        base,
        name="tiny_btoks",
        summary="Bottleneck Tokens on the toy world: tiny's pairs, 4 tokens, the other side's text at first",
        tokens=Chorus(count=4, start="eos", noise=0.0),
        phases=(told,),
    )


TINY_METHODS: dict[str, Callable[[], Recipe]] = {
    "tiny_retrieval": tiny_retrieval,
    "tiny_no_generation": tiny_no_generation,
    "tiny_coma": tiny_coma,
    "tiny_btoks": tiny_btoks,
}
