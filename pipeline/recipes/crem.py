"""CREM (arXiv 2602.19091): every value of its Table 6 and section 4; what the paper leaves open is named in the comments."""

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import MeanOver
from pipeline.recipe import AdamW, Mixture, Phase, PublishedBackbone, Recipe
from pipeline.roles import Hide, Layout, Role

LAYOUT = Layout(
    order=(Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION, Role.QUESTION, Role.ANSWER),
    hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT,), probability=0.5),),
)


def crem_2b() -> Recipe:
    """CREM on Qwen2-VL-2B-Instruct."""
    return Recipe(
        name="crem_2b",
        summary="CREM, Qwen2-VL-2B: 16 chorus tokens, InfoNCE + 0.5 stochastic compression LM, 2,000 steps of 1,024 + 128",
        backbone=PublishedBackbone(name="Qwen2-VL-2B-Instruct"),
        layout=LAYOUT,
        tokens=Chorus(count=16, start="mean"),  # the paper says "unused special tokens"; their start values are not stated
        pooling=MeanOver(Role.COMPRESSION),
        contrastive=InfoNCE(temperature=0.02),
        language=NextToken(mean="sample_mean"),
        adapter=LoRA(rank=16, alpha=64),
        tower="frozen",  # the LoRA targets are q, k, v, o; the tower is not mentioned
        pixels=PixelLimits(min_tokens=256, max_tokens=1280),
        max_length=2048,
        phases=(
            Phase(
                name="joint",
                steps=2000,
                mixture=Mixture(pairs=1024, sub_batch=64, outside=128),  # sub-batch: VLM2Vec-V2's, which CREM follows
                optimizer=AdamW(learning_rate=5e-5, warmup_steps=100),
                contrastive_weight=1.0,
                language_weight=0.5,
            ),
        ),
    )
