"""Magic-MM-Embedding on the toy world: all phases on a model from scratch, and a reranker, with a judge that knows the scenes.

What a model from scratch needs is tiny's (docs/experiments.md); what is the method's own is magic_2b's, in numbers that fit sets
of a few hundred candidates.
"""

from dataclasses import replace

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import LastToken
from pipeline.model.shrinkers import Bilinear
from pipeline.negatives import Judged, Mined
from pipeline.phase import Mixture
from pipeline.recipe import Recipe, ToyWorld
from pipeline.recipes.magic import ANSWERS, PROMPT
from pipeline.recipes.tiny import tiny
from pipeline.roles import Role
from pipeline.targets import Relevance


def tiny_magic() -> Recipe:
    """Restore, warm-up, mined and judged negatives.

    Pictures of two cells by two are seen in 16 tokens, of which a shrinker leaves four, one a cell. Mined negatives are of ranks
    10 to 30, as a set of the toy world has 56 to 600 candidates; judged ones 3 of the first 6.
    """
    base = tiny()
    joint = base.phase
    slow = replace(joint.optimizer, learning_rate=3e-4)  # at tiny's rate embeddings without tokens become equal (docs/results.md)
    pairs = Mixture(pairs=32, sub_batch=32, outside=0, own_sides=(), weights=joint.mixture.weights)
    restore = replace(
        joint,
        name="restore",
        steps=300,
        layout=ANSWERS,
        mixture=Mixture(pairs=0, outside=48, own_sides=(), native_share=1.0),
        language=NextToken(mean="token_mean"),
        contrastive_weight=0.0,
        language_weight=1.0,
    )
    warm = replace(
        joint,
        name="warm",
        steps=500,
        layout=PROMPT,
        mixture=pairs,
        contrastive=InfoNCE(temperature=0.03, mask_duplicates=True),
        language_weight=0.0,
        optimizer=slow,
    )
    mined = replace(warm, name="mined", steps=150, negatives=Mined(most=2, first_rank=10, last_rank=30))
    judged = replace(warm, name="judged", steps=150, negatives=Judged(most=3, top=6))
    return replace(
        base,
        name="tiny_magic",
        summary="Magic-MM-Embedding on the toy world: restore, warm-up, mined, then judged negatives (by the scenes' facts)",
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),
        pixels=PixelLimits(min_tokens=16, max_tokens=16),
        vision=Bilinear(2.0),
        toy=ToyWorld(train_rows=600, eval_rows=100, conversations=4000, mcq_rows=50),
        phases=(restore, warm, mined, judged),
    )


def tiny_magic_reranker() -> Recipe:
    """The reranker beside it, on its judged data: magic_2b_reranker's losses, all weights trained, as tiny's are.

    In one work folder all but its last training is tiny_magic's own.
    """
    base = tiny_magic()
    restore, warm, mined, judged = base.phases
    phase = replace(
        restore,
        name="judged",
        start="restore",
        steps=300,
        mixture=Mixture(pairs=16, sub_batch=1, outside=0, own_sides=("query",), weights=warm.mixture.weights),
        negatives=judged.negatives,
        # Of its judge's 4,917 yeses 3,523 are false: 24 % of the Yes rows (docs/decisions/055-whose-yes-is-believed.md).
        target=Relevance(least=2, most=3, judged_right=False),
        language=NextToken(mean="sample_mean", groups="apart"),
        optimizer=replace(restore.optimizer, learning_rate=3e-4),
    )
    return replace(
        base,
        name="tiny_magic_reranker",
        summary="the reranker of tiny_magic: yes or no about a candidate and the place in a list, from the restored weights",
        phases=(restore, warm, mined, phase),
    )
