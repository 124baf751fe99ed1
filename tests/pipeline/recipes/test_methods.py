"""CoMa, Bottleneck Tokens and the baselines: values by hand, what each ablation changes, and printed figures that come out."""

from dataclasses import replace

import pytest

from pipeline.data.mmeb_train_sets import TRAIN_SETS
from pipeline.data.sampler import Draw
from pipeline.errors import ConfigError
from pipeline.losses.weights import weight_at
from pipeline.model.adapters import Full, LoRA
from pipeline.model.inputs import PixelLimits
from pipeline.model.shrinkers import Bilinear
from pipeline.negatives import InFile, Judged, Mined
from pipeline.phase import Phase
from pipeline.recipe_diff import differences
from pipeline.recipes import METHODS, RECIPES, load
from pipeline.recipes.coma import NOT_DRAWN
from pipeline.recipes.printed_others import BTOKS_MMEB, COMA_MMEB, PAPERS
from pipeline.roles import Hide, Role
from pipeline.targets import OtherSide, Relevance
from pipeline.train.dataloader.plan import plan_step
from pipeline.train.schedule import learning_rate

S, X, C, Q, A = Role
LANGUAGE = "groups=apart, mean=token_mean, per=asked"
DIALOGUE = "Dialogue(bare=true, most=5)"
NO_MASK = ("[Hide(keys=[CONTEXT], queries=[QUESTION, ANSWER])]", "[]")
ORDER = "[CONTEXT, COMPRESSION, QUESTION, ANSWER]"
WINDOW = "Stepwise(points=[[0, 5.0], [2000, 0.0]])"
SILENT = {
    "phases.0.language_weight": (WINDOW, "0.0"),
    "phases.0.layout.continues": ("count", "next"),
    "phases.0.layout.hidden": NO_MASK,
    "phases.0.mixture.own_sides": ("[query, positive]", "[]"),
}
NO_TOKENS = {"pooling": ("MeanOver(role=COMPRESSION)", "LastToken(role=CONTEXT)"), "tokens.count": ("4", "0")}
SMALLER = {"phases.1.mixture.pairs": ("6144", "3456"), "phases.1.steps": ("5208", "9259")}
HALF = {"phases.1.steps": ("1500", "488")}

BY_HAND: dict[str, tuple[str, dict[str, tuple[str, str]]]] = {
    "coma_7b": ("coma_3b", {"backbone.name": ("Qwen2.5-VL-3B-Instruct", "Qwen2.5-VL-7B-Instruct")}),
    "coma_3b_all_scored": ("coma_3b", {"phases.0.layout.scored": ("[ANSWER]", "[QUESTION, ANSWER]")}),
    "coma_3b_multi_turn": ("coma_3b", HALF),
    "coma_3b_single_turn": ("coma_3b", HALF | {"phases.0.target.most": ("5", "1")}),
    "coma_3b_description": ("coma_3b", HALF | {"phases.0.target": (DIALOGUE, "Description(bare=true)")}),
    "coma_3b_caption": ("coma_3b", HALF | {"phases.0.target": (DIALOGUE, "Caption(bare=true)")}),
    "coma_3b_kl": (
        "coma_3b",
        HALF | {"phases.0.language": (f"NextToken({LANGUAGE})", f"KLToUncompressed({LANGUAGE})")},
    ),
    **{f"coma_3b_k{k}": ("coma_3b", HALF | {"tokens.count": ("32", str(k))}) for k in (1, 8, 16, 64)},
    "btoks_2b_spare": ("btoks_2b", {"tokens.start": ("eos", "spare")}),
    "btoks_2b_no_mask": ("btoks_2b", {"phases.0.layout.hidden": NO_MASK}),
    "btoks_2b_no_generation": ("btoks_2b", SILENT | {"phases.0.layout.order": (ORDER, "[CONTEXT, COMPRESSION]")}),
    "btoks_2b_k0": (
        "btoks_2b",
        NO_TOKENS
        | {
            "phases.0.layout.continues": ("count", "next"),
            "phases.0.layout.hidden": NO_MASK,
            "phases.0.layout.order": (ORDER, "[CONTEXT, QUESTION, ANSWER]"),
        },
    ),
    "btoks_2b_k0_no_generation": ("btoks_2b", NO_TOKENS | SILENT | {"phases.0.layout.order": (ORDER, "[CONTEXT]")}),
    "magic_8b": (
        "magic_2b",
        {
            "backbone.name": ("InternVL3-2B-hf", "InternVL3-8B-hf"),
            "phases.1.mixture.pairs": ("6144", "3456"),
            "phases.1.steps": ("5208", "9259"),
            "phases.2.mixture.pairs": ("3072", "2304"),
            "phases.2.steps": ("10417", "13889"),
            "phases.3.mixture.pairs": ("576", "480"),
            "phases.3.steps": ("5208", "6250"),
        },
    ),
    "magic_8b_reranker": (
        "magic_2b_reranker",
        {
            "backbone.name": ("InternVL3-2B-hf", "InternVL3-8B-hf"),
            "phases.1.mixture.pairs": ("6144", "3456"),
            "phases.1.steps": ("5208", "9259"),
            "phases.2.mixture.pairs": ("3072", "2304"),
            "phases.2.steps": ("10417", "13889"),
            "phases.3.mixture.pairs": ("288", "384"),
            "phases.3.steps": ("10417", "7812"),
        },
    ),
    "magic_2b_mined": ("magic_2b", {"phases.3": ("judged, 5208 steps", "none")}),
    "magic_2b_warm": ("magic_2b_mined", {"phases.2": ("mined, 10417 steps", "none")}),
    **{f"magic_2b_warm_r{rank}": ("magic_2b_warm", {"phases.1.adapter.rank": ("16", str(rank))}) for rank in (8, 32)},
    "magic_2b_tile64": ("magic_2b_warm", SMALLER),
    **{
        f"magic_2b_tile{count}": ("magic_2b_warm", SMALLER | {"vision.factor": ("2.0", factor)})
        for count, factor in ((36, "2.6667"), (100, "1.6"), (144, "1.3333"))
    },
    "magic_2b_tile256": ("magic_2b_tile64", {"vision": ("Bilinear(factor=2.0)", "KeepAll()")}),
    "magic_2b_average": ("magic_2b_tile64", {"vision": ("Bilinear(factor=2.0)", "AveragePool(factor=2.0)")}),
    **{f"magic_2b_judged{count}": ("magic_2b", {"phases.3.negatives.most": ("12", str(count))}) for count in (4, 8, 16, 20)},
    **{
        f"magic_2b_ruled{count}": ("magic_2b_mined", {"phases.3": ("none", "ruled, 5208 steps")})
        for count in (0, 4, 8, 12, 16, 20)
    },
    "vlm2vec_v2_2b": ("vlm2vec_2b", {"phases.0.steps": ("2000", "5000"), "phases.0.mixture.pairs": ("2048", "1024")}),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_a_recipe_differs_from_its_method_s_in_what_it_names(name: str) -> None:
    base, expected = BY_HAND[name]
    found = {each.path: (each.old, each.new) for each in differences(load(base), load(name))}
    assert found == expected


def test_every_recipe_of_a_method_is_the_method_s_own_or_held_by_hand() -> None:
    groups = (
        set(METHODS["CoMa (arXiv 2511.08480)"]),
        set(METHODS["Bottleneck Tokens (arXiv 2604.11095)"]),
        set(METHODS["Magic-MM-Embedding (arXiv 2602.05275)"]),
        set(METHODS["Baselines"]),
    )
    others = {
        "magic_2b",
        "magic_2b_reranker",
        "magic_2b_restore",
        "magic_2b_no_restore",
        "magic_2b_restore_judged",
    }  # held in the test of its values
    assert set.union(*groups) == set(BY_HAND) | others | {"coma_3b", "btoks_2b", "vlm2vec_2b", "cafe", "voco_llama"}
    assert all(load(name).name == name for name in RECIPES)


def test_comas_values_are_those_of_its_paper_and_code() -> None:
    recipe = load("coma_3b")
    compress, match = recipe.phases
    assert (recipe.tokens.count, recipe.tokens.trained, recipe.tokens.start, recipe.tokens.noise) == (32, "table", "spare", 0.0)
    assert (recipe.pixels.min_tokens, recipe.pixels.max_tokens, recipe.max_length) == (256, 1024, 8192)
    qkvo = ("q_proj", "k_proj", "v_proj", "o_proj")
    assert compress.adapter == match.adapter == LoRA(rank=16, alpha=64, dropout=0.1, dora=True, targets=qkvo)
    assert 0 <= compress.steps * 256 - 222_516 < 256
    assert (match.steps, match.mixture.pairs, match.mixture.sub_batch) == (1500, 1024, 64)
    assert (match.contrastive.temperature, match.start, match.layout.order) == (0.03, "merged", (X, C))
    for phase in recipe.phases:
        # The warm-up is 5 % of the steps, rounded up, and its last step has the peak.
        warm = -(-phase.steps // 20)
        assert learning_rate(warm - 1, phase) == pytest.approx(5e-5) and learning_rate(warm - 2, phase) < 4.95e-5
        assert (phase.optimizer.schedule, phase.optimizer.weight_decay, phase.tower) == ("cosine", 0.0, "frozen")
    drawn = {"CIRR", "HatefulMemes", "MSCOCO", "MSCOCO_i2t", "MSCOCO_t2i", "N24News", "SUN397", "VOC2007", "Visual7W", "WebQA"}
    assert set(TRAIN_SETS) - set(NOT_DRAWN) == drawn | {"VisDial"} and set(NOT_DRAWN) < set(TRAIN_SETS)
    assert dict(compress.mixture.weights) == dict.fromkeys(NOT_DRAWN, 0.0) and compress.mixture.cap == 30_000


def test_a_step_of_compression_asks_all_sides_and_embeds_none() -> None:
    """Of 256 pairs, ten with a hard negative: 522 sides, of which those without a picture have no dialogue and are not packed."""
    compress, match = load("coma_3b").phases
    draw, negatives = Draw(pairs=tuple(range(256)), outside=()), [*(((row, 2),) for row in range(10)), *([()] * 246)]
    asked = plan_step(draw, negatives, compress, 0)
    assert len(asked.sides) == 522 and asked.num_pairs == 0 and all(side.asks and side.slot == -1 for side in asked.sides)
    assert [(side.row, side.name) for side in asked.sides[512:]] == [(row, "negative_0") for row in range(10)]
    assert compress.negatives == InFile(most=1) and match.negatives == InFile()
    matched = plan_step(draw, [()] * 256, match, 0)
    assert (matched.num_pairs, matched.num_slots) == (256, 512) and not any(side.asks for side in matched.sides)
    assert not compress.embeds and match.embeds


def test_bottleneck_tokens_values_are_those_of_its_code() -> None:
    recipe = load("btoks_2b")
    phase = recipe.phase
    assert (recipe.tokens.count, recipe.tokens.start, recipe.tokens.noise, recipe.tokens.trained) == (4, "eos", 0.0, "rows")
    names = ("q_proj", "k_proj", "v_proj", "o_proj", "down_proj")
    assert phase.adapter == LoRA(rank=16, alpha=32, dropout=0.05, dora=True, targets=names)
    assert (phase.mixture.sub_batch, phase.language.per, phase.layout.continues, phase.layout.scored) == (
        512,
        "pairs",
        "count",
        (A,),
    )
    assert phase.layout.gate_probability == 1.0 and phase.layout.hidden == (Hide((Q, A), (X,)),)
    assert (phase.optimizer.schedule, phase.optimizer.weight_decay, phase.optimizer.clip) == ("linear", 0.01, 1.0)
    assert learning_rate(100, phase) == pytest.approx(5e-5) and learning_rate(2550, phase) == pytest.approx(2.5e-5)
    weights = dict(phase.mixture.weights)
    assert set(weights) < set(TRAIN_SETS) and set(weights.values()) == {0.5} and len(weights) == 10


def test_magics_values_are_those_of_its_paper() -> None:
    recipe = load("magic_2b")
    restore, warm, mined, judged = recipe.phases
    assert (recipe.tokens.count, recipe.vision, recipe.pooling.positions.last) == (0, Bilinear(2.0), True)
    tiles = {(p, d): recipe.pixels.of(p, d).max_tiles for p in ("restore", "mined") for d in ("DocVQA", "MSCOCO")}  # type: ignore[union-attr]
    assert tiles == {("restore", "DocVQA"): 4, ("restore", "MSCOCO"): 4, ("mined", "DocVQA"): 4, ("mined", "MSCOCO"): 1}
    assert (type(restore.adapter), restore.tower, restore.steps, restore.mixture.outside) == (Full, "trained", 30_000, 48)
    assert (restore.contrastive_weight, restore.mixture.pairs, restore.optimizer.learning_rate) == (0.0, 0, 1e-5)
    every = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
    for phase, pairs, seen in ((warm, 48 * 128, 16e6), (mined, 48 * 64, 16e6), (judged, 48 * 12, 1.5e6)):
        assert isinstance(phase.adapter, LoRA) and (phase.adapter.rank, phase.adapter.targets) == (16, every)
        assert (phase.mixture.pairs, phase.contrastive.temperature, phase.optimizer.learning_rate) == (pairs, 0.03, 2e-4)
        assert abs(phase.steps * pairs - 2 * seen) < pairs and phase.tower == "frozen" and not phase.mixture.own_sides
    assert mined.negatives == Mined(most=2, first_rank=50, last_rank=100) and warm.negatives == InFile(most=0)
    assert judged.negatives == Judged(most=12, top=20, exempt=("HatefulMemes",)) and "HatefulMemes" in TRAIN_SETS
    assert load("magic_2b_restore").phases == (restore,) and load("magic_2b_no_restore").phases == (warm, mined)
    assert load("magic_2b_restore_judged").phases == (restore, judged)
    larger = load("magic_8b").phase
    assert abs(larger.steps * larger.mixture.pairs - 3_000_000) < larger.mixture.pairs == 480
    for count in (0, 4, 20):
        third = load(f"magic_2b_ruled{count}").phase
        assert third.negatives.most == count and abs(third.steps * third.mixture.pairs - 3_000_000) < third.mixture.pairs


def test_the_reranker_s_values_are_those_of_its_paper() -> None:
    """All but its last training is the embedder's, so that in one work folder nothing of that is made again."""
    base, recipe = load("magic_2b"), load("magic_2b_reranker")
    assert recipe.phases[:3] == base.phases[:3] and (recipe.phase.name, recipe.phase.negatives) == (
        "judged",
        base.phase.negatives,
    )
    phase = recipe.phase
    assert recipe.begins_at == phase.start == "restore" and base.begins_at == "mined"
    assert phase.target == Relevance(least=2, most=5) and (phase.language.groups, phase.language_weight) == ("apart", 1.0)  # type: ignore[attr-defined]
    assert (phase.mixture.pairs, phase.optimizer.learning_rate, phase.contrastive_weight) == (24 * 12, 4e-5, 0.0)
    assert abs(phase.steps * phase.mixture.pairs - 3_000_000) < phase.mixture.pairs and not phase.embeds and phase.needs is None
    larger = load("magic_8b_reranker").phase
    assert larger.mixture.pairs == 24 * 16 and abs(larger.steps * larger.mixture.pairs - 3_000_000) < larger.mixture.pairs
    tiny, toy = load("tiny_magic"), load("tiny_magic_reranker")
    assert toy.phases[:3] == tiny.phases[:3] and toy.phase.negatives == tiny.phase.negatives and toy.begins_at == "restore"
    assert toy.phase.target == Relevance(least=2, most=3, judged_right=False), "its judge errs more often than it finds"
    assert (toy.backbone, toy.vision, toy.pixels, toy.toy, toy.seed) == (
        tiny.backbone,
        tiny.vision,
        tiny.pixels,
        tiny.toy,
        tiny.seed,
    )


@pytest.mark.parametrize(("step", "weight", "asks"), [(0, 5.0, 2048), (1999, 5.0, 2048), (2000, 0.0, 0), (4999, 0.0, 0)])
def test_the_generation_loss_ends_exactly_at_its_border(step: int, weight: float, asks: int) -> None:
    """After the window nothing is asked at all: rows end with the tokens."""
    phase = load("btoks_2b").phase
    plan = plan_step(Draw(pairs=tuple(range(1024)), outside=()), [()] * 1024, phase, step)
    assert plan.language_weight == weight_at(phase.language_weight, step) == weight
    assert sum(side.asks for side in plan.sides) == asks and plan.num_pairs == 1024


def test_who_is_told_of_every_set_of_mmeb_train() -> None:
    """The code's `ntp_side`, set by set."""
    target = load("btoks_2b").phase.target
    assert isinstance(target, OtherSide)
    told = {name: dict(target.told).get(name, target.otherwise) for name in TRAIN_SETS}
    assert told == {
        "ImageNet_1K": "positive", "N24News": "positive", "HatefulMemes": "positive", "VOC2007": "positive", "SUN397": "positive",
        "OK-VQA": "positive", "A-OKVQA": "positive", "DocVQA": "positive", "InfographicsVQA": "positive", "ChartQA": "positive",
        "Visual7W": "positive", "VisDial": "query", "CIRR": "none", "VisualNews_t2i": "query", "VisualNews_i2t": "positive",
        "MSCOCO_t2i": "query", "MSCOCO_i2t": "positive", "NIGHTS": "none", "WebQA": "both", "MSCOCO": "query",
    }  # fmt: skip


def test_the_baselines_values() -> None:
    one, cafe, voco = load("vlm2vec_2b").phase, load("cafe").phase, load("voco_llama")
    assert (one.contrastive.temperature, one.optimizer.schedule, one.layout.order, one.layout.template) == (
        0.02,
        "linear",
        (X,),
        "plain",
    )
    assert (cafe.adapter, cafe.contrastive_weight, cafe.language_weight, cafe.optimizer.learning_rate) == (Full(), 1.0, 1.0, 1e-5)
    assert cafe.mixture.native_share == 1.0 and cafe.layout.cue.endswith("in one word:")
    assert voco.tokens.count == 1 and voco.phase.layout.visible(Q, compressed=True) == {S, C, Q, A} and not voco.phase.embeds
    assert voco.phase.steps == 665_000 * 2 // 128


def _compress(**layout: object) -> Phase:
    phase = load("coma_3b").phases[0]
    return replace(phase, layout=replace(phase.layout, **layout))  # type: ignore[arg-type]


@pytest.mark.parametrize("layout", [{"hidden": ()}, {"gate_probability": 0.0}])
def test_answers_that_see_the_context_teach_no_tokens(layout: dict[str, object]) -> None:
    """What CoMa's public code trains by default is refused; beside a contrastive loss an open mask is a switch."""
    with pytest.raises(ConfigError, match=r"layout\.hidden: phase 'compress' only answers, and its answers see CONTEXT"):
        _compress(**layout)
    assert _compress(gate_probability=0.1).layout.gate_probability == 0.1
    assert load("btoks_2b_no_mask").phase.layout.hidden == () and load("crem_2b_added").phase.layout.gate_probability == 0


def test_answers_that_see_nothing_of_the_context_are_refused() -> None:
    """K = 0 with the mask on."""
    phase = load("btoks_2b_k0").phase
    with pytest.raises(ConfigError, match=r"layout\.hidden: without COMPRESSION .* nothing of CONTEXT reaches ANSWER"):
        replace(phase, layout=replace(phase.layout, hidden=(Hide((Q, A), (X,)),)))


def test_every_printed_row_names_a_recipe_that_is_there() -> None:
    tables = [table for paper in PAPERS.values() for table in paper]
    assert {row.recipe for table in tables for row in table.rows if row.recipe} <= set(RECIPES)
    assert all(len(row.figures) == len(table.columns) for table in tables for row in table.rows)


def test_printed_sums_come_out() -> None:
    """MMEB's overall is the mean over 10 + 10 + 12 + 4 sets; of MMEB-V2's 78, 36 are images. CoMa prints two 3B rows that do not
    agree, so its parts are held at 7B."""
    figures = [float(figure or 0) for row in COMA_MMEB.rows if row.recipe == "coma_7b" for figure in row.figures]
    assert abs(sum(part * sets for part, sets in zip(figures[:4], (10, 10, 12, 4), strict=True)) / 36 - figures[-1]) < 0.06
    (row,) = BTOKS_MMEB.rows
    figures = [float(figure or 0) for figure in row.figures]
    assert abs(sum(part * sets for part, sets in zip(figures[:4], (10, 10, 12, 4), strict=True)) / 36 - figures[4]) < 0.1
    assert abs((figures[4] * 36 + figures[5] * 18 + figures[6] * 24) / 78 - figures[7]) < 0.1


@pytest.mark.parametrize("name", ["tiny_retrieval", "tiny_no_generation", "tiny_coma", "tiny_btoks"])
def test_tiny_methods_see_as_many_pairs_as_tiny_on_the_same_model(name: str) -> None:
    tiny, recipe = load("tiny"), load(name)
    assert (recipe.phase.steps, recipe.phase.mixture.pairs) == (tiny.phase.steps, tiny.phase.mixture.pairs)
    assert recipe.phase.mixture.weights == tiny.phase.mixture.weights
    rate = 3e-4 if name in ("tiny_retrieval", "tiny_btoks") else 1e-3  # tiny's suits neither the end token nor its copies
    assert recipe.phase.optimizer == replace(tiny.phase.optimizer, learning_rate=rate)
    assert (recipe.backbone, recipe.pixels, recipe.toy, recipe.seed) == (tiny.backbone, tiny.pixels, tiny.toy, tiny.seed)


def test_tiny_magic_has_the_method_s_phases_in_numbers_of_the_toy_world() -> None:
    tiny, magic, recipe = load("tiny"), load("magic_2b"), load("tiny_magic")
    assert (recipe.backbone, recipe.seed, recipe.vision, recipe.pooling) == (
        tiny.backbone,
        tiny.seed,
        magic.vision,
        magic.pooling,
    )
    assert [phase.name for phase in recipe.phases] == [phase.name for phase in magic.phases]
    assert [type(phase.negatives) for phase in recipe.phases] == [type(phase.negatives) for phase in magic.phases]
    for own, theirs in zip(recipe.phases, magic.phases, strict=True):
        assert (own.layout, own.contrastive_weight, own.embeds) == (theirs.layout, theirs.contrastive_weight, theirs.embeds)
        assert bool(own.mixture.outside) == bool(theirs.mixture.outside) and own.start == theirs.start
    assert [phase.contrastive.temperature for phase in recipe.phases[1:]] == [0.03] * 3
    assert recipe.pixels == PixelLimits(min_tokens=16, max_tokens=16), "of which the shrinker leaves four, one a cell"
