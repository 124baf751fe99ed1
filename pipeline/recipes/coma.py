"""CoMa (arXiv 2511.08480, ACL 2026): first compress, by dialogues about pictures, then match, by InfoNCE; and its ablations.

Values are the paper's ("paper") or its public code's ("code": Trustworthy-Information-Access/CoMa, scripts); where neither says,
"unknown". The code's mask acts only where its model config has `split_layer`, which the scripts do not set, so that it trains
plain causal attention; here it is that of the paper's figure, and a phase without it is refused (pipeline/phase.py).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import KLToUncompressed, NextToken
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.inputs import PixelLimits
from pipeline.model.pooling import MeanOver
from pipeline.negatives import InFile
from pipeline.phase import AdamW, Mixture, Phase
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Hide, Layout, Role
from pipeline.targets import Caption, Description, Dialogue, Target

COMPRESS = Layout(
    order=(Role.CONTEXT, Role.COMPRESSION, Role.QUESTION, Role.ANSWER),
    hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT,)),),  # paper, figure: the whole dialogue is cut, in every row
    template="turns",
    cue="Summarize above image and text in a few words.",  # code
    scored=(Role.ANSWER,),  # paper, figure; the code scores all behind the tokens: `coma_3b_all_scored`
)
MATCH = Layout(order=(Role.CONTEXT, Role.COMPRESSION), template="turns")

NOT_DRAWN = (
    "ImageNet_1K", "OK-VQA", "A-OKVQA", "DocVQA", "InfographicsVQA", "ChartQA", "VisualNews_t2i", "VisualNews_i2t", "NIGHTS",
)  # fmt: skip
"""Sets of MMEB-train without pictures in the paper's table of dialogues. Its rows lack 30,000 of their sum, which VisDial has
exactly [inferred]: it is drawn. The code's script lists NIGHTS too, for which the sum leaves no room."""

NUM_TOKENS = (1, 8, 16, 64)
"""Numbers of tokens that the paper compares with 32."""


def coma_3b() -> Recipe:
    """CoMa on Qwen2.5-VL-3B-Instruct.

    The language model's input table is trained, which the head is tied to (code). Adapters of the code start from a Gaussian;
    ours start as PEFT's own do. DoRA, alpha and dropout: code.
    """
    adapter = LoRA(rank=16, alpha=64, dropout=0.1, dora=True, targets=("q_proj", "k_proj", "v_proj", "o_proj"))
    # Both phases: paper 5e-5; code: cosine, warm-up 5 %, no decay. The clip of 1 is that of the code's trainer by default.
    optimizer = AdamW(learning_rate=5e-5, warmup_steps=0, warmup_share=0.05, weight_decay=0.0)
    compress = Phase(
        name="compress",
        # One epoch over 222,516 pictures in batches of 256 [inferred]. Here rows are drawn, so some come twice, some not at all.
        steps=870,
        layout=COMPRESS,
        adapter=adapter,
        tower="frozen",  # paper, figure
        # The paper's 256 are pictures. Ours are 256 pairs whose sides with a picture give a dialogue each: 256 of sets with one
        # picture a pair, and up to 768 where both sides and the hard negative have one. `cap` and the weights of 0 are the
        # paper's choice of pictures: at most 30,000 a set, those of queries, positives and hard negatives in one pool.
        mixture=Mixture(
            pairs=256,
            sub_batch=1,
            outside=0,
            own_sides=("query", "positive", "negatives"),
            cap=30_000,
            weights=tuple((name, 0.0) for name in NOT_DRAWN),
        ),
        negatives=InFile(most=1),  # MMEB-train has one a row, of some sets
        target=Dialogue(bare=True),  # code: the picture alone, without a task's wording
        language=NextToken(mean="token_mean"),  # code: the mean over a batch's tokens, as transformers takes it
        optimizer=optimizer,
        contrastive_weight=0.0,
        language_weight=1.0,
    )
    match = Phase(
        name="match",
        steps=1500,  # code
        layout=MATCH,
        adapter=adapter,
        tower="frozen",
        start="merged",  # code: a merged checkpoint feeds the second stage
        # Paper: 1,024. Code: 64 of a set at a time, sets drawn equally often whatever their size (`cap=1`), all of their rows.
        mixture=Mixture(pairs=1024, sub_batch=64, outside=0, own_sides=(), cap=1),
        contrastive=InfoNCE(temperature=0.03),  # code
        optimizer=optimizer,
    )
    return Recipe(
        name="coma_3b",
        summary="CoMa, Qwen2.5-VL-3B: 32 tokens compress pictures by dialogues alone (870 x 256), then InfoNCE (1,500 x 1,024)",
        backbone=PublishedBackbone(name="Qwen2.5-VL-3B-Instruct"),
        # 32: paper. Code: new special tokens, the whole table trained; nothing is resized, so they take spare rows [inferred].
        tokens=Chorus(count=32, start="spare", trained="table", noise=0.0),
        pooling=MeanOver(Role.COMPRESSION),
        pixels=PixelLimits(min_tokens=256, max_tokens=1024),  # at most: paper; at least: code
        max_length=8192,  # code
        phases=(compress, match),
    )


def coma_7b() -> Recipe:
    """CoMa on Qwen2.5-VL-7B-Instruct, whose head is not tied to the table: the paper names no other value for it."""
    return replace(
        coma_3b(),
        name="coma_7b",
        summary="CoMa, Qwen2.5-VL-7B: the values of coma_3b",
        backbone=PublishedBackbone(name="Qwen2.5-VL-7B-Instruct"),
    )


def all_scored() -> Recipe:
    """The code's labels: everything behind the tokens is scored, questions and template tokens too."""
    base = coma_3b()
    layout = replace(COMPRESS, scored=(Role.QUESTION, Role.ANSWER))
    return replace(
        base,
        name="coma_3b_all_scored",
        summary="coma_3b as its public code scores: questions and template tokens too",
        phases=(replace(base.phases[0], layout=layout), base.phases[1]),
    )


def multi_turn() -> Recipe:
    """What the ablations are held against: coma_3b with a second phase of 500,000 pairs (paper), which are 488 batches."""
    base = coma_3b()
    return replace(
        base,
        name="coma_3b_multi_turn",
        summary="coma_3b as its ablations train it: 500,000 pairs in the second phase",
        phases=(base.phases[0], replace(base.phases[1], steps=488)),
    )


def single_turn() -> Recipe:
    """Ablation: the first question of each dialogue alone (code)."""
    return _with_target(Dialogue(most=1, bare=True), "single_turn", "the first turn of each dialogue")


def description() -> Recipe:
    """Ablation: one description of each picture. The paper's request is unknown; ours: data_prep/qa_caption.py."""
    return _with_target(Description(bare=True), "description", "one description of each picture")


def caption() -> Recipe:
    """Ablation: one caption of each picture (code: caption.py, whose words are unknown; ours: data_prep/qa_caption.py)."""
    return _with_target(Caption(bare=True), "caption", "one caption of each picture")


def kl() -> Recipe:
    """Ablation: answers as likely as those of the uncompressed model, in place of the dialogues' own words.

    The code's reference is a frozen model; ours is the model itself at the same step, seeing the picture. Direction: unknown.
    """
    base = multi_turn()
    compress = replace(base.phases[0], language=KLToUncompressed(mean="token_mean"))
    return replace(
        base,
        name="coma_3b_kl",
        summary="coma_3b_multi_turn by the KL divergence from the model that sees the picture",
        phases=(compress, base.phases[1]),
    )


def _with_target(target: Target, name: str, words: str) -> Recipe:
    base = multi_turn()
    return replace(
        base,
        name=f"coma_3b_{name}",
        summary=f"coma_3b_multi_turn with {words} instead of dialogues",
        phases=(replace(base.phases[0], target=target), base.phases[1]),
    )


def with_num_tokens(count: int) -> Recipe:
    """Ablation: another number of tokens."""
    base = multi_turn()
    return replace(
        base,
        name=f"coma_3b_k{count}",
        summary=f"coma_3b_multi_turn with {count} token{'s' if count > 1 else ''}",
        tokens=replace(base.tokens, count=count),
    )


COMA: dict[str, Callable[[], Recipe]] = {
    "coma_3b": coma_3b,
    "coma_7b": coma_7b,
    "coma_3b_all_scored": all_scored,
    "coma_3b_multi_turn": multi_turn,
    "coma_3b_single_turn": single_turn,
    "coma_3b_description": description,
    "coma_3b_caption": caption,
    "coma_3b_kl": kl,
    **{f"coma_3b_k{count}": partial(with_num_tokens, count) for count in NUM_TOKENS},
}
