"""Recipes for two CPU cores: CREM's objective on models of a million weights, from scratch.

What differs from the paper's recipe is what training from scratch in minutes needs; docs/experiments.md has what was tried.
"""

from dataclasses import replace

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.losses.weights import Stepwise
from pipeline.model.adapters import Full
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.phase import AdamW, Mixture, Phase
from pipeline.recipe import Recipe, TinyBackbone, ToyWorld
from pipeline.recipes.crem import LAYOUT, crem_2b


def tiny() -> Recipe:
    """The embedded default: the toy world in about a quarter of an hour, all weights trained.

    Retrieval first, for it is learnt fast and teaches the tower to see; then a language loss ten times the paper's, as a mean
    over tokens, so that the long answers, which say where everything is, count most (docs/experiments.md).
    """
    return replace(
        crem_2b(),
        name="tiny",
        summary="CREM's objective on a 1.3 M-weight Qwen2-VL from scratch, toy world: `make demo`, 15 minutes on 2 CPU cores",
        backbone=TinyBackbone(),
        tokens=Chorus(count=16, start="random"),
        pixels=PixelLimits(min_tokens=1, max_tokens=16),
        max_length=512,
        toy=ToyWorld(train_rows=1500, eval_rows=100, conversations=8000, mcq_rows=200),
        phases=(
            Phase(
                name="joint",
                steps=900,
                layout=LAYOUT,
                adapter=Full(),
                tower="trained",
                # Small steps did better in equal time (docs/experiments.md). A model that never saw a native row could not
                # answer natively, so half of the conversations have no compression tokens.
                mixture=Mixture(
                    pairs=32,
                    sub_batch=32,
                    outside=16,
                    native_share=0.5,
                    weights=(("MSCOCO_t2i", 2.0), ("MSCOCO_i2t", 2.0), ("OK-VQA", 1.5), ("MSCOCO", 1.5)),
                ),
                # Labels of the toy world repeat inside a batch, where each would be a negative of itself.
                contrastive=InfoNCE(temperature=0.02, mask_duplicates=True),
                language=NextToken(mean="token_mean"),
                optimizer=AdamW(learning_rate=1e-3, warmup_steps=60, betas=(0.9, 0.98), floor=0.05),
                language_weight=Stepwise(((0, 0.5), (300, 5.0))),
                zero_stage=1,
                dtype="float32",
                chunk_tokens=4096,
                kept_chunks=2,
                evaluate_every=100,
                checkpoint_every=100,
                held_out=64,
            ),
        ),
    )


def tiny_full() -> Recipe:
    """The longer run: more scenes and steps, until answers and reconstructions come out of the tokens alone."""
    base = tiny()
    joint = base.phases[0]
    # Half of the conversations are native already, so what is embedded is mostly asked about through its tokens alone.
    return replace(
        base,
        name="tiny_full",
        summary="tiny with more scenes and steps: `make demo-full`, 35 minutes on 2 CPU cores",
        toy=ToyWorld(train_rows=3000, eval_rows=100, conversations=16_000, mcq_rows=400),
        phases=(
            replace(
                joint,
                steps=3000,
                layout=replace(joint.layout, gate_probability=0.8),
                mixture=replace(joint.mixture, outside=20),
                checkpoint_every=200,
                evaluate_every=200,
            ),
        ),
    )


def tiny_elastic() -> Recipe:
    """Elastic tokens on the toy world: one model of 4 and of 16."""
    base = tiny()
    return replace(
        base,
        name="tiny_elastic",
        summary="tiny whose first 4 tokens are a model too: embeddings and answers of 4 and of 16 from one training",
        tokens=replace(base.tokens, elastic=(4, 16)),
    )


def mini() -> Recipe:
    """A model from scratch on a few thousand real photos, charts and tables: what a small corpus of one's own can give.

    Sets of a hundred pictures are learnt by heart within a few hundred steps: a step shows a part of each picture, weights decay
    fast, the temperature is high. Each step has rows of several sets, or what one teaches would undo what another taught.
    """
    base = tiny()
    joint = base.phases[0]
    mixture = replace(joint.mixture, pairs=64, sub_batch=16, outside=4, least_view=0.5, weights=())
    optimizer = replace(joint.optimizer, learning_rate=1.4e-3, weight_decay=0.5)
    return replace(
        base,
        name="mini",
        summary="tiny for a small folder of real photos, charts and tables: up to 36 visual tokens, 20 minutes on 2 CPU cores",
        pixels=PixelLimits(min_tokens=1, max_tokens=36),
        phases=(
            replace(
                joint,
                steps=500,
                mixture=mixture,
                contrastive=InfoNCE(temperature=0.05, mask_duplicates=True),
                language=NextToken(),
                optimizer=optimizer,
                language_weight=0.5,
            ),
        ),
    )


def mini_sets() -> Recipe:
    """`mini` for nine small sets by name: what is easily learnt by heart, or hopeless from scratch, is drawn less often."""
    base = mini()
    joint = base.phases[0]
    weights = (
        ("COCO_objects", 1.6),
        ("ChartQA", 2.4),
        ("GroceryStore", 1.8),
        ("GroceryStore_i2i", 4.0),
        ("MSCOCO", 1.2),
        ("MSCOCO_i2t", 0.5),
        ("MSCOCO_t2i", 0.5),
        ("SugarCrepe", 1.0),
        ("TabMWP", 1.4),
    )
    return replace(
        base,
        name="mini_sets",
        summary="mini with weights for GroceryStore, COCO_objects, TabMWP, ChartQA, SugarCrepe and MSCOCO's small sets",
        phases=(replace(joint, mixture=replace(joint.mixture, weights=weights)),),
    )
