"""Magic-MM-Embedding (arXiv 2602.05275): InternVL3 with a quarter of its visual tokens, in phases; and its ablations.

Values are the paper's ("paper"); where it says nothing, "unknown", and ours stands. Its corpora (32 M rows of instructions, 16 M
pairs, 1.5 M of them judged, in part in-house) are not public as a whole; numbers of steps are its own, whatever the shards hold.
Its tables of instructions are not copied: those of recipes/templates/magic.toml are our own (docs/decisions/044).
"""

from collections.abc import Callable
from dataclasses import replace
from functools import partial

from pipeline.losses.contrastive import InfoNCE
from pipeline.losses.language import NextToken
from pipeline.model.adapters import LoRA
from pipeline.model.compression import Chorus
from pipeline.model.pooling import LastToken
from pipeline.model.shrinkers import AveragePool, Bilinear, KeepAll
from pipeline.model.tiles import Tiles
from pipeline.negatives import InFile, Judged, Mined
from pipeline.phase import AdamW, Mixture, Phase
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.roles import Layout, Role
from pipeline.targets import Relevance
from pipeline.template_file import named_templates

ANSWERS = Layout(order=(Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER))
PROMPT = Layout(order=(Role.CONTEXT,), template="plain")

DOCUMENTS = ("DocVQA", "InfographicsVQA", "ChartQA")
"""Sets of MMEB-train whose pictures are documents: 4 tiles, where natural pictures have 1 (paper; which sets, ours)."""

EVERY_MAP = LoRA(
    rank=16,  # paper
    alpha=32,  # unknown
    targets=("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"),  # paper: all linear layers
)
TILE_FACTORS = {36: 2.6667, 64: 2.0, 100: 1.6, 144: 1.3333}
"""Visual tokens that are left of a tile's 256, and the factor that leaves them."""

RULED = (0, 4, 8, 12, 16, 20)
"""Numbers of negatives by rule that the paper compares with judged ones."""
JUDGED = (4, 8, 16, 20)
"""Numbers of judged negatives besides magic_2b's 12."""


def magic_2b() -> Recipe:
    """Restore, warm-up, mined and judged negatives on InternVL3-2B."""
    optimizer = AdamW(learning_rate=2e-4)  # paper; schedule and warm-up unknown
    restore = Phase(
        name="restore",
        steps=30_000,  # paper
        layout=ANSWERS,
        tower="trained",  # paper: all weights
        mixture=Mixture(pairs=0, outside=48, own_sides=(), native_share=1.0),  # paper: a global batch of 48
        language=NextToken(mean="token_mean"),  # paper: the sum over an answer's tokens; its mean unknown
        optimizer=replace(optimizer, learning_rate=1e-5),  # paper
        contrastive_weight=0.0,
        language_weight=1.0,
        zero_stage=2,
    )
    warm = Phase(
        name="warm",
        steps=5208,  # paper: two epochs of 16 M pairs
        layout=PROMPT,
        adapter=EVERY_MAP,
        mixture=_pairs(48 * 128),  # paper: 128 on each of 48 GPUs; whether runs of one set are drawn, unknown
        contrastive=InfoNCE(temperature=0.03),  # paper
        optimizer=optimizer,
    )
    mined = replace(
        warm,
        name="mined",
        steps=10_417,  # paper: two epochs again
        mixture=_pairs(48 * 64),  # paper
        negatives=Mined(most=2, first_rank=50, last_rank=100),  # paper
    )
    judged = replace(
        mined,
        name="judged",
        steps=5208,  # paper: two epochs of 1.5 M pairs
        mixture=_pairs(48 * 12),  # paper: 12 on each GPU
        negatives=Judged(most=12, top=20, exempt=("HatefulMemes",)),  # paper: a set of two labels is not judged
    )
    return Recipe(
        name="magic_2b",
        summary="Magic-MM-Embedding, InternVL3-2B: 64 tokens a tile; restore, warm-up, mined, then judged negatives",
        backbone=PublishedBackbone(name="InternVL3-2B-hf"),
        tokens=Chorus(count=0),
        pooling=LastToken(Role.CONTEXT),  # paper
        pixels=Tiles(max_tiles=1, by_phase=(("restore", 4),), by_dataset=tuple((name, 4) for name in DOCUMENTS)),  # paper
        vision=Bilinear(2.0),  # paper
        templates=named_templates("magic"),  # paper: the parts; ours: their instructions
        max_length=2048,  # unknown
        phases=(restore, warm, mined, judged),
    )


def _pairs(count: int) -> Mixture:
    return Mixture(pairs=count, sub_batch=48, outside=0, own_sides=())


def magic_8b() -> Recipe:
    """The same on InternVL3-8B, in smaller batches (paper: 72, 48 and 10 a GPU)."""
    base = magic_2b()
    restore, warm, mined, judged = base.phases
    warm = replace(warm, steps=9259, mixture=_pairs(48 * 72))
    mined = replace(mined, steps=13_889, mixture=_pairs(48 * 48))
    judged = replace(judged, steps=6250, mixture=_pairs(48 * 10))
    return replace(
        base,
        name="magic_8b",
        summary="Magic-MM-Embedding, InternVL3-8B: the values of magic_2b in smaller batches",
        backbone=PublishedBackbone(name="InternVL3-8B-hf"),
        phases=(restore, warm, mined, judged),
    )


def reranker(embedder: Callable[[], Recipe], batch: int) -> Recipe:
    """The reranker beside an embedder: on its judged data, from where its restore phase ended, in batches of 24 GPUs.

    Its last phase bears the name of the embedder's, so that in one work folder nothing is mined, judged or trained twice: what
    goes before is the embedder's own.
    """
    base = embedder()
    restore, warm, mined, judged = base.phases
    phase = replace(
        restore,
        name="judged",
        start="restore",  # paper
        steps=round(2 * 1.5e6 / batch),  # paper: two epochs of 1.5 M pairs
        adapter=EVERY_MAP,  # unknown, LoRA or all weights
        tower="frozen",  # unknown
        mixture=Mixture(pairs=batch, sub_batch=1, outside=0, own_sides=("query",)),
        negatives=judged.negatives,  # paper: the judged data; how many negatives a query has here, unknown
        target=Relevance(least=2, most=5),  # paper; how right and wrong candidates are balanced, unknown: one of each
        language=NextToken(mean="sample_mean", groups="apart"),  # paper: both losses 1 : 1; the end token counts, unknown
        optimizer=replace(restore.optimizer, learning_rate=4e-5),  # paper; schedule and warm-up unknown
    )
    return replace(
        base,
        name=f"{base.name}_reranker",
        summary=f"the reranker of {base.name}: yes or no about a candidate and the place in a list, from the restored weights",
        phases=(restore, warm, mined, phase),
    )


def with_phases(name: str, *phases: str) -> Recipe:
    """Ablation: some of the phases alone."""
    base = magic_2b()
    kept = tuple(phase for phase in base.phases if phase.name in phases)
    return replace(base, name=name, summary=f"magic_2b with {' and '.join(phases)} alone", phases=kept)


def with_rank(rank: int) -> Recipe:
    """Ablation: another rank of the warm-up's adapters."""
    base = with_phases("magic_2b_warm", "restore", "warm")
    name, summary = f"magic_2b_warm_r{rank}", f"magic_2b_warm with adapters of rank {rank}"
    return replace(base, name=name, summary=summary).with_phase(adapter=replace(EVERY_MAP, rank=rank))


def with_tile_tokens(count: int) -> Recipe:
    """Ablation: another number of visual tokens a tile, at the warm-up.

    In batches of 3,456 for all, as all tokens fit no more [inferred: the paper's 63.7 of 256 tokens stands beside both].
    """
    base = with_phases("magic_2b_warm", "restore", "warm")
    base = base.with_phase(steps=9259, mixture=_pairs(48 * 72))
    vision = Bilinear(TILE_FACTORS[count]) if count in TILE_FACTORS else KeepAll()
    return replace(
        base, name=f"magic_2b_tile{count}", summary=f"magic_2b_warm with {count} visual tokens a tile, 3,456 pairs", vision=vision
    )


def averaged() -> Recipe:
    """Ablation: the mean of 2 x 2 patches in place of bilinear points; at factor 2 both are the same to rounding."""
    base = with_tile_tokens(64)
    return replace(base, name="magic_2b_average", summary="magic_2b_tile64 with average pooling", vision=AveragePool(2.0))


def ruled(count: int) -> Recipe:
    """Ablation: a third phase on negatives by rule, in place of judged ones. The rule [inferred]: that of the phase before."""
    negatives = Mined(most=count) if count else InFile()
    return replace(
        magic_2b().with_phase(name="ruled", negatives=negatives),
        name=f"magic_2b_ruled{count}",
        summary=f"magic_2b with {count} negatives by rule in place of judged ones",
    )


def judged(count: int) -> Recipe:
    """Ablation: another number of judged negatives."""
    base = magic_2b()
    assert isinstance(base.phase.negatives, Judged)
    return replace(
        base.with_phase(negatives=replace(base.phase.negatives, most=count)),
        name=f"magic_2b_judged{count}",
        summary=f"magic_2b with {count} judged negatives",
    )


MAGIC: dict[str, Callable[[], Recipe]] = {
    "magic_2b": magic_2b,
    "magic_8b": magic_8b,
    "magic_2b_reranker": partial(reranker, magic_2b, 24 * 12),  # paper: 12 on each GPU
    "magic_8b_reranker": partial(reranker, magic_8b, 24 * 16),  # paper: 16 on each GPU
    "magic_2b_restore": partial(with_phases, "magic_2b_restore", "restore"),
    "magic_2b_warm": partial(with_phases, "magic_2b_warm", "restore", "warm"),
    "magic_2b_mined": partial(with_phases, "magic_2b_mined", "restore", "warm", "mined"),
    "magic_2b_no_restore": partial(with_phases, "magic_2b_no_restore", "warm", "mined"),
    "magic_2b_restore_judged": partial(with_phases, "magic_2b_restore_judged", "restore", "judged"),
    **{f"magic_2b_warm_r{rank}": partial(with_rank, rank) for rank in (8, 32)},
    **{f"magic_2b_tile{count}": partial(with_tile_tokens, count) for count in (*TILE_FACTORS, 256)},
    "magic_2b_average": averaged,
    **{f"magic_2b_ruled{count}": partial(ruled, count) for count in RULED},
    **{f"magic_2b_judged{count}": partial(judged, count) for count in JUDGED},
}
"""The method at both sizes, and the rows of its ablations."""
