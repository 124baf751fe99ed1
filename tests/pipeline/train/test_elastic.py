"""One model of many numbers of tokens: what it makes of the first k is what a model of k tokens makes, bit for bit."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.batch import Outputs, PoolPositions, Row, pack
from pipeline.errors import ConfigError, DataError
from pipeline.export import Form, export
from pipeline.inference import load_model
from pipeline.model.adapters import LoRA
from pipeline.model.attention import SpanPlan
from pipeline.model.compressed_items import CompressedItems
from pipeline.model.compression import Chorus
from pipeline.model.embedder import Embedder
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.roles import Continues, Layout, Role
from pipeline.sequence import SequenceBuilder
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.forecast.assumed_rows import Assumed
from pipeline.train.forecast.forecast import memory_of
from pipeline.train.forecast.trace import outline_embedder
from pipeline.train.held_out import HeldOut
from tests.pipeline.conftest import build_disturbed, save_checkpoint
from tests.pipeline.corpus import corpus, measured, random_row, small_recipe
from tests.pipeline.exports import items, save_moved
from tests.pipeline.train.ranks import make, trial
from tests.pipeline.train.test_step import worst

COUNTS = (2, 3, 8)


def elastic(**phase: object) -> Recipe:
    return replace(small_recipe(**phase), tokens=Chorus(count=8, start="random", elastic=COUNTS))


@pytest.mark.parametrize("given", [(4, 2, 8), (2, 2, 8), (0, 8), (2, 4), (2, 9)])
def test_numbers_that_do_not_grow_to_the_count_are_refused(given: tuple[int, ...]) -> None:
    with pytest.raises(ConfigError, match=r"tokens\.elastic: .*; give growing numbers from 1 to tokens\.count = 8"):
        Chorus(count=8, elastic=given)


Pair = tuple[Embedder, Embedder, Callable[..., tuple[Row, Row]]]


@pytest.fixture(scope="module", params=COUNTS)
def pair(request: pytest.FixtureRequest, model_folder: Path) -> Pair:
    """An elastic model, one of k tokens of the same weights, and what makes a row for each."""
    count, recipe = request.param, elastic()
    embedder, folder = build_disturbed(model_folder, recipe, dtype=torch.float32)
    fewer = replace(recipe, tokens=Chorus(count=count, start="random"))
    other, _ = build_embedder(model_folder, fewer, dtype=torch.float32)
    weights = embedder.state_dict()
    other.load_state_dict({**weights, "bank.rows": weights["bank.rows"][:count]})
    chorus = chorus_ids(folder, recipe)

    def rows(seed: int, layout: Layout, **kinds: object) -> tuple[Row, Row]:
        both = []
        for ids in (chorus, chorus[:count]):
            builder = SequenceBuilder(vocabulary=folder.vocabulary(ids), layout=layout, max_length=512)
            both.append(random_row(builder, np.random.default_rng(seed), num_images=1, **kinds))  # type: ignore[arg-type]
        return replace(both[0], sequence=replace(both[0].sequence, unread=8 - count)), both[1]

    return embedder, other.train(), rows


def outputs(embedder: Embedder, row: Row, layout: Layout) -> Outputs:
    """Of a row packed alone, since a kernel's sums may depend on neighbours."""
    with torch.no_grad():
        found: Outputs = embedder(pack([row], layout, PoolPositions(Role.COMPRESSION)))
    return found


def test_embeddings_of_k_tokens_are_those_of_a_recipe_of_k_tokens(pair: Pair) -> None:
    embedder, other, rows = pair
    layout, place = elastic().phase.layout, COUNTS.index(len(other.bank.rows))
    for seed in range(3):
        own, expected = (outputs(*each, layout) for each in zip((embedder, other), rows(seed, layout, num_turns=0), strict=True))
        assert own.embeddings.shape == (1, len(COUNTS), embedder.width)
        assert torch.equal(own.embeddings[:, place], expected.embeddings)


@pytest.mark.parametrize("continues", ["next", "count"])
@pytest.mark.parametrize("compressed", [False, True])
def test_answers_of_k_tokens_are_those_of_a_recipe_of_k_tokens(pair: Pair, compressed: bool, continues: Continues) -> None:
    """Whether the context is hidden or not, an answer sees the first k tokens, and stands where it would stand behind them."""
    embedder, other, rows = pair
    layout = replace(elastic().phase.layout, continues=continues)
    for seed in range(3):
        mine, theirs = rows(seed, layout, num_turns=2, compressed=compressed)
        behind = theirs.sequence.roles >= Role.QUESTION
        there = theirs.sequence.positions()[:, behind]
        np.testing.assert_array_equal(mine.sequence.positions()[:, -behind.sum() :], there)
        own, expected = outputs(embedder, mine, layout), outputs(other, theirs, layout)
        assert len(expected.token_losses) > 4 and torch.equal(own.token_losses, expected.token_losses)
        assert torch.equal(own.embeddings[:, COUNTS.index(len(other.bank.rows))], expected.embeddings)


def test_a_question_is_asked_of_one_number_of_tokens(model_folder: Path) -> None:
    """Drawn for each row and step; an embedded row has all tokens, and a held-out one is asked of all."""
    recipe = elastic()
    _, folder = build_embedder(model_folder, recipe, dtype=torch.float32)
    vocabulary = folder.vocabulary(chorus_ids(folder, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    seen: dict[bool, set[int]] = {False: set(), True: set()}
    for step in range(4):
        rows = dataset.global_rows(dataset.draw(0), step)
        for row in rows:
            held = int((row.sequence.roles == Role.COMPRESSION).sum())
            assert held in ((8,) if row.slot >= 0 else (0, *COUNTS)), "native rows have none"
            seen[row.slot >= 0].add(held - row.sequence.unread)
        again = dataset.global_rows(dataset.draw(0), step)
        assert [row.sequence.unread for row in rows] == [row.sequence.unread for row in again]
    assert seen == {True: set(COUNTS), False: {0, *COUNTS}}
    held_out = dataset.global_rows(dataset.draw(HELD_OUT), HELD_OUT)
    assert {row.sequence.unread for row in held_out} == {0}
    assert {int((row.sequence.roles == Role.COMPRESSION).sum()) for row in held_out} <= {0, 8}


def test_held_out_figures_are_those_of_all_tokens(model_folder: Path) -> None:
    """As of a recipe that is not elastic, with the same weights."""
    figures = []
    for recipe in (elastic(), replace(elastic(), tokens=Chorus(count=8, start="random"))):
        engine, dataset = make(model_folder, recipe)
        figures.append(HeldOut(recipe.phase).evaluate(engine, dataset.held_out_work(), dataset.dummy()))
    assert len(figures[0]) == 6 and figures[0] == pytest.approx(figures[1], rel=1e-6)


def test_pooling_that_does_not_read_all_tokens_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"tokens\.elastic: LastToken does not pool all compression tokens"):
        replace(elastic(), pooling=LastToken(Role.CONTEXT))


@pytest.mark.parametrize("kept", [0, 100])
def test_cached_gradients_of_all_numbers_equal_the_full_batch(model_folder: Path, kept: int) -> None:
    found = trial(model_folder, elastic(chunk_tokens=300, kept_chunks=kept))
    recipe = elastic()
    expected, loss = plain(model_folder, recipe)
    assert worst(found["gradients"], expected) < 1e-5
    assert found["report"]["contrastive"] == pytest.approx(loss, rel=1e-5)


def plain(folder: Path, recipe: Recipe) -> tuple[dict[str, torch.Tensor], float]:
    """One graph over all rows: the mean over k of InfoNCE between queries and candidates of k tokens, and answers."""
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    rows = dataset.global_rows(dataset.draw(0), 0)
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    states = embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
    losses = embedder.backbone.token_losses(states[batch.score_index], batch.score_target)
    pairs, total = recipe.phase.mixture.pairs, torch.zeros(())
    for count in COUNTS:
        mean = states[batch.pool_index[:, :count]].mean(dim=1)
        embeddings = torch.zeros(len(batch.slots), embedder.width).index_put(
            (batch.slots,), mean / mean.norm(dim=1, keepdim=True)
        )
        scores = embeddings[:pairs] @ embeddings[pairs:].T / 0.02
        total = total - (scores.diagonal() - scores.logsumexp(dim=1)).mean() / len(COUNTS)
    means: dict[int, list[torch.Tensor]] = {0: [], 1: []}
    place = 0
    for row in rows:
        if row.num_scored:
            means[row.loss_group].append(losses[place : place + row.num_scored].mean())
            place += row.num_scored
    language = sum((torch.stack(found).mean() for found in means.values() if found), torch.zeros(()))
    (total + 0.5 * language).backward()
    return {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}, float(total.detach())


def test_a_trained_model_embeds_with_any_number_of_its_tokens(model_folder: Path, tmp_path: Path) -> None:
    """Those of a model of so many tokens, whose rows are the first; 5 is none of those that were trained."""
    path = save_moved(tmp_path / "elastic", model_folder, elastic())
    whole = load_model(path)
    weights = checkpoint.weights(path)
    for count in (1, *COUNTS[:-1], 5):
        recipe = replace(elastic(), tokens=Chorus(count=count, start="random"))
        fewer = {**weights, "bank.rows": weights["bank.rows"][:count].contiguous()}
        expected = load_model(save_checkpoint(tmp_path / str(count), fewer, recipe, model_folder))
        found = whole.with_tokens(count)
        np.testing.assert_array_equal(found.embed(items()), expected.embed(items()))
        answers = [model.answer(items(), ["what is red"] * len(items()), compressed=True) for model in (found, expected)]
        assert answers[0] == answers[1]
        assert found.fingerprint != whole.fingerprint
    np.testing.assert_array_equal(whole.with_tokens(8).embed(items()), whole.embed(items()))
    for none in (0, 9):
        with pytest.raises(ConfigError, match=rf"tokens: {none}; recipe tiny has 8, take one to all of them"):
            whole.with_tokens(none)


def test_the_cache_of_k_tokens_is_cut_from_that_of_all(model_folder: Path, tmp_path: Path) -> None:
    """Keys and values of the first k, and questions that go on behind the k-th; items of another number are refused."""
    whole = load_model(save_moved(tmp_path / "elastic", model_folder, elastic()))
    items_of_all = whole.compress(items())
    for count in COUNTS[:-1]:
        model = whole.with_tokens(count)
        found = model.compress(items())
        torch.testing.assert_close(found.keys, items_of_all.keys[:, :, :, :count])
        torch.testing.assert_close(found.values, items_of_all.values[:, :, :, :count])
        assert torch.equal(found.positions, items_of_all.positions - (8 - count))
        found.save(tmp_path / "items")
        assert len(CompressedItems.load(tmp_path / "items", fingerprint=model.fingerprint)) == len(items())
        with pytest.raises(DataError, match="made by another model"):
            CompressedItems.load(tmp_path / "items", fingerprint=whole.fingerprint)


@pytest.mark.parametrize("form", ["merged", "adapter"])
def test_an_export_of_k_tokens_embeds_as_they_do(model_folder: Path, tmp_path: Path, form: Form) -> None:
    recipe = elastic().with_phase(adapter=LoRA(rank=2), tower="frozen")
    path = save_moved(tmp_path / "elastic", model_folder, recipe)
    export(path, tmp_path / "out", form=form, tokens=3)
    found = load_model(tmp_path / "out")
    assert found.recipe.tokens == Chorus(count=3, start="random") and len(found.builder.vocabulary.chorus) == 3
    np.testing.assert_allclose(found.embed(items()), load_model(path, tokens=3).embed(items()), atol=1e-5)


def test_the_forecast_counts_scores_and_answers_of_all_numbers(model_folder: Path) -> None:
    """Two more embeddings a row, each with its gradient and three matrices of scores of 8 x 8; the context read twice."""
    recipe = elastic(chunk_tokens=10_000)
    plain = replace(recipe, tokens=Chorus(count=8, start="random"))
    passing = []
    for each in (plain, recipe):
        assumed = Assumed(recipe=each, visual=9)
        embedder = outline_embedder(model_folder, each)
        passing.append(memory_of(embedder, assumed, assumed.steps(1)).step.passing)
    assert passing[1] - passing[0] == 2 * 4 * (2 * 16 * embedder.width + 3 * 8 * 8) and embedder.elastic == COUNTS
    query, _ = Assumed(recipe=recipe, visual=9).counted()[0]
    batch = pack([query], recipe.phase.layout, recipe.pooling.positions)
    head = 21 + 9 + 40
    assert len(batch.spans.gather) == (head + 8) + (head + 3 + 24 + 64)
