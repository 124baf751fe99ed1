"""CREM's recipes and our own on a small toy world with a tiny model: what each draws, hides, scores and trains in two steps."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch

from data_prep import scene_server
from data_prep.convert import Conversion, convert
from data_prep.qa_teacher import ServedTeacher
from data_prep.synthesize_qa import synthesize
from data_prep.tiny_model import build_tiny_model
from data_prep.toy_world import FACTS, write_toy_world
from jobs.model import corpus_texts
from pipeline.batch import OUTSIDE, OWN, Batch, Row
from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.model.adapters import LoRA, merge
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipes import METHODS, load
from pipeline.recipes.tiny_methods import TINY_METHODS
from pipeline.roles import Role
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.token_counts import Ruler, ensure_lengths, table_name
from pipeline.train.engine import Engine
from pipeline.train.step import StepReport, train_step
from tests.pipeline.corpus import SMALL
from tests.pipeline.train.ranks import every_weight

FIRST = [name for method in tuple(METHODS)[:3] for name in METHODS[method]]
RECIPES = [name for name in FIRST if name not in TINY_METHODS and len(load(name).phases) == 1]
"""Those of other methods, and of several phases, take their steps in tests/pipeline/train/test_every_recipe.py."""

SMALL_SETTINGS = (
    *(f"backbone.{name}={getattr(SMALL, name)}" for name in SMALL.__slots__),
    "phases.0.mixture.sub_batch=4",
    "phases.0.mixture.weights=",
    "phases.0.mixture.outside_sets=",
    "phases.0.optimizer.learning_rate=0.01",
    "phases.0.optimizer.warmup_steps=1",
    "phases.0.optimizer.weight_decay=0.1",
    "phases.0.steps=2",
    "phases.0.zero_stage=0",
    "phases.0.dtype=float32",
    "phases.0.chunk_tokens=2000",
    "phases.0.kept_chunks=0",
    "phases.0.held_out=2",
    "pixels.min_tokens=1",
    "pixels.max_tokens=4",
)
"""A small model and small batches. What a recipe is about is left alone: layout, tokens, pooling, losses, adapter."""


def small(name: str) -> Recipe:
    """A recipe at a size that a test can afford; what it draws nothing of stays at nothing."""
    recipe = load(name)
    mixture = recipe.phase.mixture
    sizes = {"pairs": mixture.pairs and 8, "outside": mixture.outside and 16}
    settings = [f"phases.0.mixture.{field}={size}" for field, size in sizes.items()]
    return override(recipe, ["backbone=TinyBackbone", *SMALL_SETTINGS, *settings])


@dataclass(frozen=True)
class World:
    """Shards, questions and a tiny model of one small toy world."""

    index: ShardIndex
    qa: QaTable
    model: Path

    def dataset(self, recipe: Recipe) -> tuple[StepDataset, Engine]:
        embedder, folder = build_embedder(self.model, recipe, dtype=torch.float32)
        vocabulary = folder.vocabulary(chorus_ids(folder, recipe), recipe.vision)
        builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
        ruler = Ruler(builder=builder, pixels=recipe.pixels)
        table = self.model.parent / table_name(self.index, ruler, self.model)
        lengths = ensure_lengths(table, self.index, ruler, lambda done, total: None)
        corpus = Corpus(index=self.index, qa=self.qa, lengths=lengths)
        return StepDataset(corpus, recipe, vocabulary), Engine(embedder, recipe.phase)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> World:
    root = tmp_path_factory.mktemp("world")
    write_toy_world(root / "toy", seed=0, train_rows=8, eval_rows=1, conversations=40, mcq_rows=1)
    convert(Conversion(data=root / "toy", out=root / "shards"))
    with scene_server.serve(root / "toy" / FACTS) as url:
        synthesize(root / "shards", root / "qa", teacher=ServedTeacher(urls=(url,), model=scene_server.MODEL_NAME))
    index = ShardIndex.open(root / "shards")
    build_tiny_model(root / "model", corpus_texts(index), SMALL, seed=0)
    return World(index, QaTable.open(root / "qa"), root / "model")


@dataclass(frozen=True)
class Run:
    """Two steps of a recipe: the rows drawn, the reports, and the names of the weights that moved and that stayed."""

    recipe: Recipe
    rows: Sequence[Row]
    reports: Sequence[StepReport]
    moved: set[str]
    stayed: set[str]
    first_spare: int
    when_merged: float
    """Greatest relative change of the outputs when the trained adapters are merged into the weights."""

    def chorus(self, row: Row) -> int:
        """Number of ids in a row that the tokenizer does not know."""
        return int((row.sequence.input_ids >= self.first_spare).sum())

    def with_role(self, role: Role) -> int:
        return sum(int((row.sequence.roles == role).sum()) for row in self.rows)

    def scored(self, group: int) -> int:
        return sum(row.num_scored for row in self.rows if row.loss_group == group)

    @property
    def compressed(self) -> set[bool]:
        return {row.compressed for row in self.rows if row.num_scored}

    @property
    def is_pooled(self) -> bool:
        return any(row.slot >= 0 for row in self.rows)


@pytest.fixture(scope="module")
def run_of(world: World) -> Callable[[str], Run]:
    @cache
    def run(name: str) -> Run:
        recipe = small(name)
        dataset, engine = world.dataset(recipe)
        before = {weight: parameter.detach().clone() for weight, parameter in every_weight(engine).items()}
        rows = [row for step in (0, 1) for row in dataset.global_rows(dataset.draw(step), step)]
        reports = [train_step(engine, dataset[step], recipe.phase, 0.01) for step in (0, 1)]
        after = every_weight(engine)
        moved = {weight for weight, tensor in before.items() if not torch.equal(tensor, after[weight])}
        chorus = dataset.rows.builder.vocabulary.chorus
        first_spare = min(chorus, default=len(engine.module.backbone.text.embed_tokens.weight) - 64)
        when_merged = merging_changes(engine, dataset[0].chunks[0].full)
        return Run(recipe, rows, reports, moved, set(before) - moved, first_spare, when_merged)

    return run


def merging_changes(engine: Engine, batch: Batch) -> float:
    with torch.no_grad():
        batch = engine.vision.see(batch)  # the module has no frozen tower
        found = engine(batch)
        merged = copy.deepcopy(engine.module)
        merge(merged.backbone.text)
        assert not any("lora_" in name for name, _ in merged.named_parameters())
        expected = merged(batch)
    outputs = [(found.embeddings, expected.embeddings), (found.token_losses, expected.token_losses)]
    return max(float((one - two).abs().max() / two.abs().max()) for one, two in outputs if two.numel())


@pytest.mark.parametrize("name", RECIPES)
def test_merged_outputs_are_the_adapters_outputs(run_of: Callable[[str], Run], name: str) -> None:
    run = run_of(name)
    assert run.when_merged <= 1e-5
    # A merge that changed nothing at all would not have merged anything.
    assert (run.when_merged > 0) == isinstance(run.recipe.phase.adapter, LoRA)


@pytest.mark.parametrize("name", RECIPES)
def test_what_a_recipe_trains_moves_and_nothing_else(run_of: Callable[[str], Run], name: str) -> None:
    """Weight decay is on: a frozen weight that an optimizer holds would shrink."""
    run = run_of(name)
    assert all(report.finite for report in run.reports)
    adapters = {weight for weight in run.moved | run.stayed if "lora_" in weight}
    if run.recipe.phase.tower == "trained":
        assert not adapters and not run.stayed
        return
    own = {weight for weight in run.moved | run.stayed if weight.startswith(("bank.", "pooling."))}
    assert run.moved == adapters | own and any("visual" in weight for weight in run.stayed)
    assert len(adapters) == 2 * 4 * SMALL.layers  # A and B of q, k, v and o in every layer
    assert any(weight.startswith("bank.") for weight in run.moved) == (run.recipe.tokens.count > 0)


def all_rows_have(count: int) -> Callable[[Run], bool]:
    return lambda run: {run.chorus(row) for row in run.rows} == {count}


def answers_whom(own: bool, outside: bool) -> Callable[[Run], bool]:
    return lambda run: (run.scored(OWN) > 0, run.scored(OUTSIDE) > 0) == (own, outside)


def trains_no_answers(run: Run) -> bool:
    losses = [(report.own_language, report.outside_language) for report in run.reports]
    return answers_whom(False, False)(run) and losses == [(None, None)] * 2


def is_plain(run: Run) -> bool:
    """No chorus id, no system line, and a row is pooled at its last token, the end token."""
    last = {int(row.sequence.input_ids[-1]) for row in run.rows}
    return all_rows_have(0)(run) and run.with_role(Role.SYSTEM) == 0 and len(last) == 1


def never_compressed(run: Run) -> bool:
    return run.compressed == {False}


def pools_with(*names: str) -> Callable[[Run], bool]:
    return lambda run: {weight for weight in run.moved if weight.startswith("pooling.")} == set(names)


OBSERVED: dict[str, tuple[Callable[[Run], bool], ...]] = {
    "crem_2b": (pools_with(), all_rows_have(16), answers_whom(True, True), lambda run: run.compressed == {False, True}),
    "crem_2b_generation": (all_rows_have(0), answers_whom(False, True), never_compressed, lambda run: not run.is_pooled),
    "crem_2b_retrieval": (is_plain, trains_no_answers, lambda run: run.is_pooled),
    "crem_2b_no_generation": (all_rows_have(16), trains_no_answers, lambda run: run.is_pooled),
    "crem_2b_no_retrieval": (
        all_rows_have(16),
        answers_whom(False, True),
        lambda run: run.compressed == {False, True},
        lambda run: not run.is_pooled,
    ),
    "crem_2b_added": (all_rows_have(16), answers_whom(True, True), never_compressed),
    **{f"crem_2b_k{count}": (all_rows_have(count), answers_whom(True, True)) for count in (1, 4, 8, 32, 64)},
    "crem_2b_homogeneous": (answers_whom(True, False),),
    "crem_2b_heterogeneous": (answers_whom(False, True), lambda run: run.is_pooled),
    "crem_2b_r1_g1_p1": (lambda run: run.compressed == {True},),
    "crem_2b_r1_g1_p05": (lambda run: run.compressed == {False, True},),
    "crem_2b_r1_g1_p0": (never_compressed,),
    "crem_2b_r05_g1_p05": (lambda run: run.compressed == {False, True},),
    "crem_2b_mlp": (pools_with(*(f"pooling.{layer}.{part}" for layer in ("inner", "outer") for part in ("weight", "bias"))),),
    "crem_2b_attention": (pools_with("pooling.query"),),
    "crem_2b_elastic": (
        answers_whom(True, True),
        lambda run: {run.chorus(row) for row in run.rows if row.slot >= 0} == {64},
        lambda run: {run.chorus(row) for row in run.rows if row.slot < 0} <= {4, 16, 64},
        lambda run: {run.chorus(row) - row.sequence.unread for row in run.rows if row.slot >= 0} == {4, 16, 64},
    ),
}
OBSERVED |= {f"crem_7b{row}": OBSERVED[f"crem_2b{row}"] for row in ("", "_generation", "_retrieval")}


@pytest.mark.parametrize("name", OBSERVED)
def test_what_a_recipe_is_about_can_be_seen(run_of: Callable[[str], Run], name: str) -> None:
    run = run_of(name)
    for number, seen in enumerate(OBSERVED[name]):
        assert seen(run), f"observation {number} of {name}"


def test_every_recipe_of_the_paper_is_observed() -> None:
    assert {name for name in RECIPES if name.startswith("crem")} == set(OBSERVED)


def gradients(world: World, recipe: Recipe) -> dict[str, np.ndarray]:
    """Gradients of the first step, before the optimizer's move."""
    dataset, engine = world.dataset(recipe)
    found: dict[str, torch.Tensor] = {}

    def look(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return 0.0

    engine.step = look  # type: ignore[method-assign]
    train_step(engine, dataset[0], recipe.phase, 0.0)
    return {name: gradient.numpy() for name, gradient in found.items()}


def test_loss_weights_weigh_the_losses(world: World) -> None:
    """A step's gradient is the weighted sum of what either loss gives alone, on the same rows."""
    retrieval, generation = (
        gradients(world, override(small("crem_2b"), [f"phases.0.contrastive_weight={r}", f"phases.0.language_weight={g}"]))
        for r, g in ((1, 0), (0, 1))
    )
    for name, (r, g) in {"crem_2b": (1.0, 0.5), "crem_2b_r1_g1_p05": (1.0, 1.0), "crem_2b_r05_g1_p05": (0.5, 1.0)}.items():
        found = gradients(world, small(name))
        for weight in ("bank.rows", *[weight for weight in found if "lora_B" in weight]):
            expected = r * retrieval[weight] + g * generation[weight]
            assert np.abs(found[weight] - expected).max() <= 1e-5 * np.abs(expected).max()
