"""CREM (arXiv 2602.19091): every value of its Table 6 and section 4; what the paper leaves open is named in the comments.

Beside it stand the two models that the paper compares it with (Table 2), at both sizes.
"""

from dataclasses import replace
from typing import Any

from pipeline.data.sharegpt4v_release import MIX
from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import LastToken, MeanOver
from pipeline.phase import AdamW, Mixture, Phase
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Hide, Layout, Role

LAYOUT = Layout(
    order=(Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION, Role.QUESTION, Role.ANSWER),
    hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT,)),),
    gate_probability=0.5,
)
PLAIN = Layout(order=(Role.CONTEXT,), gate_probability=0.5, template="plain")
"""VLM2Vec's prompt. Nothing is hidden, so the probability, CREM's, says nothing."""


def crem_2b() -> Recipe:
    """CREM on Qwen2-VL-2B-Instruct."""
    return Recipe(
        name="crem_2b",
        summary="CREM, Qwen2-VL-2B: 16 chorus tokens, InfoNCE + 0.5 stochastic compression LM, 2,000 steps of 1,024 + 128",
        backbone=PublishedBackbone(name="Qwen2-VL-2B-Instruct"),
        tokens=Chorus(count=16, start="mean"),  # the paper says "unused special tokens"; their start values are not stated
        pooling=MeanOver(Role.COMPRESSION),
        pixels=PixelLimits(min_tokens=256, max_tokens=1280),
        max_length=2048,
        phases=(
            Phase(
                name="joint",
                steps=2000,
                layout=LAYOUT,
                adapter=LoRA(rank=16, alpha=64),
                tower="frozen",  # the LoRA targets are q, k, v, o; the tower is not mentioned
                # The sub-batch is VLM2Vec-V2's, which CREM follows. Of ShareGPT-4V's three files, Table 6 counts the 665K mix.
                mixture=Mixture(pairs=1024, sub_batch=64, outside=128, outside_sets=(MIX,)),
                contrastive=InfoNCE(temperature=0.02),
                language=NextToken(mean="sample_mean"),
                optimizer=AdamW(learning_rate=5e-5, warmup_steps=100),
                contrastive_weight=1.0,
                language_weight=0.5,
            ),
        ),
    )


def crem_7b() -> Recipe:
    """CREM on Qwen2-VL-7B-Instruct: the paper names no other value for it."""
    return on_7b(crem_2b(), "crem_7b", "CREM, Qwen2-VL-7B: the values of crem_2b")


def crem_2b_generation() -> Recipe:
    """CREM_G of Table 2: Qwen2-VL trained on ShareGPT-4V alone, the ordinary way, for as many steps of as many conversations.

    Nothing is compressed and no chorus token is there, so what MMEB is measured with (2.9 in Table 3) is not stated; here it is
    the last token of the context. The loss keeps its weight of 0.5: alone, AdamW hardly sees it.
    """
    base = crem_2b()
    native = replace(LAYOUT, order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER), hidden=())
    return replace(
        base,
        phases=(replace(base.phase, layout=native, mixture=replace(base.phase.mixture, pairs=0, native_share=1.0)),),
        name="crem_2b_generation",
        summary="CREM_G, Qwen2-VL-2B: answers of ShareGPT-4V alone, in the model's native form",
        tokens=replace(base.tokens, count=0),
        pooling=LastToken(Role.CONTEXT),
    )


def crem_2b_retrieval() -> Recipe:
    """CREM_R of Table 2: Qwen2-VL trained on MMEB alone as VLM2Vec does it, the embedding being the state of the end token."""
    base = crem_2b()
    return replace(
        base,
        phases=(replace(base.phase, layout=PLAIN, mixture=replace(base.phase.mixture, outside=0, own_sides=())),),
        name="crem_2b_retrieval",
        summary="CREM_R, Qwen2-VL-2B: InfoNCE alone over the end token of a plain prompt, as VLM2Vec",
        tokens=replace(base.tokens, count=0),
        pooling=LastToken(Role.CONTEXT),
    )


def crem_7b_generation() -> Recipe:
    """CREM_G of Table 2 on Qwen2-VL-7B-Instruct."""
    return on_7b(crem_2b_generation(), "crem_7b_generation", "CREM_G, Qwen2-VL-7B: the values of crem_2b_generation")


def crem_7b_retrieval() -> Recipe:
    """CREM_R of Table 2 on Qwen2-VL-7B-Instruct."""
    return on_7b(crem_2b_retrieval(), "crem_7b_retrieval", "CREM_R, Qwen2-VL-7B: the values of crem_2b_retrieval")


def on_7b(recipe: Recipe, name: str, summary: str) -> Recipe:
    """A recipe of the 2B model on the 7B one."""
    return replace(recipe, name=name, summary=summary, backbone=PublishedBackbone(name="Qwen2-VL-7B-Instruct"))


def with_mixture(recipe: Recipe, **fields: Any) -> Recipe:
    """A recipe with fields of its last phase's mixture replaced."""
    return recipe.with_phase(mixture=replace(recipe.phase.mixture, **fields))
