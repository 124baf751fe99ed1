"""Bottleneck Tokens (arXiv 2604.11095) and its switch grid.

Values are of the public code (siryuson/BottleneckTokens, configs/presets/btoks_qwen2vl_2b_v1.yaml and what it inherits); of the
paper we know the abstract and figures that others quote. Video and document sets, five of its 25, are not there.
"""

from collections.abc import Callable
from dataclasses import replace

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.losses.weights import Stepwise
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import LastToken, MeanOver
from pipeline.phase import AdamW, Mixture, Phase
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Hide, Layout, Role
from pipeline.targets import OtherSide, Told

LAYOUT = Layout(
    order=(Role.CONTEXT, Role.COMPRESSION, Role.QUESTION, Role.ANSWER),
    # Abstract: the generated text is cut from the input. The code keeps the tokens' cache alone, which is the same.
    hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT,)),),
    template="target",  # no chat tags; the assistant's header is not scored, the end tag is
    continues="count",  # the code goes on at the number of tokens before; M-RoPE's own rule is "next"
)

NONE_TOLD = ("CIRR", "NIGHTS")
QUERY_TOLD = ("VisDial", "VisualNews_t2i", "MSCOCO_t2i", "MSCOCO")
TOLD: tuple[tuple[str, Told], ...] = (
    *((name, "query") for name in QUERY_TOLD),
    *((name, "none") for name in NONE_TOLD),
    ("WebQA", "both"),
)  # fmt: skip
"""Whose text is generated (`ntp_side`); of all other image sets it is the positive's."""

HALF = ("HatefulMemes", "VOC2007", "SUN397", "OK-VQA", "A-OKVQA", "InfographicsVQA", "ChartQA", "CIRR", "NIGHTS", "WebQA")
"""Image sets of weight 0.5; the others have 1. Sets are drawn by weight, whatever their size (`cap=1`)."""


def btoks_2b() -> Recipe:
    """Bottleneck Tokens on Qwen2-VL-2B-Instruct."""
    return Recipe(
        name="btoks_2b",
        summary="Bottleneck Tokens, Qwen2-VL-2B: 4 EOS copies, InfoNCE + 5 x the other side's text for 2,000 of 5,000 steps",
        backbone=PublishedBackbone(name="Qwen2-VL-2B-Instruct"),
        # Meant: exact copies of EOS. On Qwen2-VL's padded table the code's copy does not happen: `btoks_2b_spare`.
        tokens=Chorus(count=4, start="eos", trained="rows", noise=0.0),
        pooling=MeanOver(Role.COMPRESSION),
        pixels=PixelLimits(min_tokens=4, max_tokens=1280),
        max_length=2048,  # unknown
        phases=(
            Phase(
                name="joint",
                steps=5000,
                layout=LAYOUT,
                # The code's list of names meets these five on Qwen2-VL's language model [inferred].
                adapter=LoRA(
                    rank=16, alpha=32, dropout=0.05, dora=True, targets=("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")
                ),
                tower="frozen",  # unknown: the names of the adapters' targets meet none of its layers but by chance
                # 128 a GPU; the number of GPUs is unknown, 8 make VLM2Vec-V2's batch. 512 of a set at a time.
                mixture=Mixture(pairs=1024, sub_batch=512, outside=0, cap=1, weights=tuple((name, 0.5) for name in HALF)),
                target=OtherSide(told=TOLD, otherwise="positive"),
                contrastive=InfoNCE(temperature=0.02),
                language=NextToken(mean="sample_mean", per="pairs"),  # the code's; ours, by rows with a text, is per="asked"
                optimizer=AdamW(learning_rate=5e-5, schedule="linear", warmup_steps=100, weight_decay=0.01, clip=1.0),
                contrastive_weight=1.0,
                language_weight=Stepwise(((0, 5.0), (2000, 0.0))),  # the paper's own weight and window are unknown
            ),
        ),
    )


def spare_rows() -> Recipe:
    """What the public code trains on Qwen2-VL, whose table has rows to spare: they are taken as they are."""
    base = btoks_2b()
    return replace(
        base,
        name="btoks_2b_spare",
        summary="btoks_2b whose tokens start as spare rows of the table, as the public code leaves them",
        tokens=replace(base.tokens, start="spare"),
    )


def without_mask() -> Recipe:
    """Switch "full": the generated text sees the whole input."""
    base = btoks_2b()
    return replace(
        base.with_phase(layout=replace(LAYOUT, hidden=())),
        name="btoks_2b_no_mask",
        summary="btoks_2b without its mask: the other side's text is generated from the whole input",
    )


def without_generation() -> Recipe:
    """Switch: InfoNCE alone, with tokens. What the mask would hide is not there."""
    base = btoks_2b()
    phase = _retrieval(base.phase, (Role.CONTEXT, Role.COMPRESSION))
    return replace(
        base, name="btoks_2b_no_generation", summary="btoks_2b trained by InfoNCE alone, over its tokens", phases=(phase,)
    )


def without_tokens() -> Recipe:
    """Switch K = 0: the last token is pooled, and the other side's text sees the whole input.

    With the mask on nothing of the input would reach that text: such a phase is refused. What the code does then is unknown.
    """
    phase = btoks_2b().phase
    layout = replace(LAYOUT, order=(Role.CONTEXT, Role.QUESTION, Role.ANSWER), hidden=(), continues="next")
    return _last_pooled(
        replace(phase, layout=layout), "btoks_2b_k0", "btoks_2b without tokens and mask: the last token is pooled"
    )


def without_tokens_and_generation() -> Recipe:
    """Switches K = 0 and no generation: the baseline with Bottleneck Tokens' data and schedule."""
    phase = _retrieval(btoks_2b().phase, (Role.CONTEXT,))
    return _last_pooled(phase, "btoks_2b_k0_no_generation", "btoks_2b without tokens and generation: InfoNCE over the last token")


def _last_pooled(phase: Phase, name: str, summary: str) -> Recipe:
    base = btoks_2b()
    tokens = replace(base.tokens, count=0)
    return replace(base, name=name, summary=summary, tokens=tokens, pooling=LastToken(Role.CONTEXT), phases=(phase,))


def _retrieval(phase: Phase, order: tuple[Role, ...]) -> Phase:
    layout = replace(LAYOUT, order=order, hidden=(), continues="next")
    return replace(phase, layout=layout, mixture=replace(phase.mixture, own_sides=()), language_weight=0.0)


BTOKS: dict[str, Callable[[], Recipe]] = {
    "btoks_2b": btoks_2b,
    "btoks_2b_spare": spare_rows,
    "btoks_2b_no_mask": without_mask,
    "btoks_2b_no_generation": without_generation,
    "btoks_2b_k0": without_tokens,
    "btoks_2b_k0_no_generation": without_tokens_and_generation,
}
