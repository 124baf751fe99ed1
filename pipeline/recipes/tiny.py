"""The embedded default: CREM's objective on a model of a few million weights, from scratch, on two CPU cores."""

from dataclasses import replace

from pipeline.model.adapters import Full
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.recipe import AdamW, Mixture, Phase, Recipe, TinyBackbone, ToyWorld
from pipeline.recipes.crem import crem_2b


def tiny() -> Recipe:
    """CREM from scratch in minutes: all weights train, and half of the conversations are native rows."""
    return replace(
        crem_2b(),
        name="tiny",
        summary="CREM's objective on a 1 M-weight Qwen2-VL from scratch: the demo, about 15 minutes on 2 CPU cores",
        backbone=TinyBackbone(),
        tokens=Chorus(count=16, start="random"),
        adapter=Full(),
        tower="trained",
        pixels=PixelLimits(min_tokens=4, max_tokens=16),
        max_length=512,
        toy=ToyWorld(),
        phases=(
            Phase(
                name="joint",
                steps=400,
                # Trained from scratch, a model that never saw a native row cannot answer natively.
                mixture=Mixture(pairs=64, sub_batch=16, outside=32, native_share=0.5),
                optimizer=AdamW(learning_rate=1e-3, warmup_steps=50, betas=(0.9, 0.98), floor=0.05),
                zero_stage=1,
                dtype="float32",
                chunk_tokens=8192,
                kept_chunks=2,
                evaluate_every=50,
                checkpoint_every=100,
                held_out=64,
            ),
        ),
    )
