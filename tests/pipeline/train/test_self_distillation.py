"""KL divergence from the uncompressed model, against its definition over dense masks, row by row; and who has a reference."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.batch import Row, pack
from pipeline.errors import ConfigError
from pipeline.losses.language import KLToUncompressed, NextToken
from pipeline.model import head
from pipeline.model.adapters import LoRA
from pipeline.model.attention import SpanPlan
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.step_dataset import StepDataset
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import variant
from tests.pipeline.dense import DenseModel
from tests.pipeline.train import ranks
from tests.pipeline.train.counted import counting
from tests.pipeline.train.ranks import gradients, make, step_gradients
from tests.pipeline.train.test_step import worst


def rows_of(dataset: StepDataset) -> list[Row]:
    """Rows of a step that are scored, compressed ones and others."""
    rows = [row for row in dataset.global_rows(dataset.draw(0), 0) if row.num_scored]
    assert {row.compressed for row in rows} == {False, True}
    return rows


def divergences(dense: DenseModel, row: Row, recipe: Recipe) -> torch.Tensor:
    """Of a row's scored tokens (S,): sum over the vocabulary of p (log p - log q), written out, p without a gradient."""
    embeddings, before = dense.embeddings(row), torch.from_numpy(row.sequence.scored_tokens()) - 1
    logits = [
        dense.states(each, recipe.phase.layout, embeddings)[before] @ dense.model.lm_head.weight.T
        for each in (replace(row, compressed=False), row)
    ]
    p, q = logits[0].detach().double().softmax(dim=-1), logits[1].double().softmax(dim=-1)
    return (p * (p.log() - q.log())).sum(dim=-1)


@pytest.fixture(scope="module")
def compared(model_folder: Path) -> tuple[Embedder, DenseModel, list[Row], Recipe]:
    recipe = variant("distilled")
    embedder, _ = build_disturbed(model_folder, recipe, dtype=torch.float32)
    _, dataset = make(model_folder, recipe)
    return embedder, DenseModel(embedder), rows_of(dataset), recipe


def test_losses_and_gradients_are_those_of_the_definition(
    compared: tuple[Embedder, DenseModel, list[Row], Recipe], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Seven scored positions at a time; the reference has no gradient, and what hides nothing loses nothing."""
    monkeypatch.setattr(head, "HEAD_ROWS", 7)
    embedder, dense, rows, recipe = compared
    found = embedder(pack(rows, recipe.phase.layout, recipe.pooling.positions, has_reference=True)).token_losses
    expected = [divergences(dense, row, recipe) for row in rows]
    torch.testing.assert_close(found, torch.cat(expected).float(), atol=5e-7, rtol=1e-3)
    for row, losses in zip(rows, torch.split(found, [row.num_scored for row in rows]), strict=True):
        largest = float(losses.detach().abs().max())
        assert largest > 1e-4 if row.compressed else largest < 1e-6
    found.sum().backward()
    torch.cat(expected).sum().backward()
    layers = {name: weight for name, weight in embedder.backbone.text.named_parameters() if name.startswith("layers.")}
    for name, weight in dense.text.named_parameters():
        if name in layers:
            assert weight.grad is not None and layers[name].grad is not None
            assert float((layers[name].grad - weight.grad).abs().max() / weight.grad.abs().max()) < 1e-4, name


def test_a_trained_head_learns_from_what_is_compressed_alone() -> None:
    """Both logits come from its weights, and only one of them has a gradient."""
    torch.manual_seed(0)
    plain, states, other = torch.nn.Linear(8, 50, bias=False), torch.randn(11, 8), torch.randn(11, 8)
    found = []
    for linear in (plain, head.Head.over(plain)):
        inputs, reference = states.clone().requires_grad_(), other.clone().requires_grad_()
        plain.zero_grad()
        if isinstance(linear, head.Head):
            losses = linear(inputs, torch.zeros(11, dtype=torch.int64), reference)
        else:
            p, q = linear(reference).detach().softmax(dim=-1), linear(inputs).softmax(dim=-1)
            losses = (p * (p.log() - q.log())).sum(dim=-1)
        losses.sum().backward()
        assert inputs.grad is not None and plain.weight.grad is not None and reference.grad is None
        found.append((losses.detach(), inputs.grad, plain.weight.grad.clone()))
    torch.testing.assert_close(found[1], found[0], atol=1e-5, rtol=1e-5)


def test_chunks_do_not_change_the_gradient_nor_does_gradient_checkpointing(model_folder: Path) -> None:
    whole = gradients(model_folder, variant("distilled", chunk_tokens=10**6, kept_chunks=1))
    for phase in ({"chunk_tokens": 200}, {"chunk_tokens": 300, "kept_chunks": 1, "gradient_checkpointing": True}):
        assert worst(gradients(model_folder, variant("distilled", **phase)), whole) < 1e-5
    assert worst(gradients(model_folder, variant("joint", chunk_tokens=10**6)), whole) > 0.1, "it is another loss"


def test_the_reference_has_no_dropout_and_the_model_goes_on_training(model_folder: Path) -> None:
    recipe = variant("distilled").with_phase(adapter=LoRA(rank=2, dropout=0.5), tower="frozen")
    embedder, _ = build_disturbed(model_folder, recipe, dtype=torch.float32)
    _, dataset = make(model_folder, recipe)
    rows = [replace(row, pixels=()) for row in rows_of(dataset) if not row.pixels]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions, has_reference=True)
    assert batch.reference is not None
    with torch.no_grad():
        inputs = embedder.inputs(batch)
        found = embedder._reference(inputs, batch)
        assert embedder.training and all(module.training for module in embedder.backbone.modules())
        plain = embedder.eval().backbone.hidden(inputs, batch.position_ids, SpanPlan.of(batch.reference))
    assert found is not None and torch.equal(found, plain[batch.score_index])


def test_every_batch_of_a_phase_has_a_reference_or_none_has(model_folder: Path) -> None:
    """Ranks under ZeRO-3 make equally many calls; held-out figures are likelihoods, comparable with other losses'."""
    for name, has in (("distilled", True), ("joint", False)):
        engine, dataset = make(model_folder, variant(name))
        work = dataset.work(dataset.draw(0), 0)
        batches = [
            work.dummy,
            dataset.dummy(),
            *(batch for chunk in work.chunks for batch in (chunk.full, chunk.prefix) if batch),
        ]
        assert {batch.reference is not None for batch in batches} == {has} and len(batches) > 4
        assert not any(chunk.compressed.reference for chunk in dataset.held_out_work().chunks)
        assert isinstance(dataset[HELD_OUT], type(dataset.held_out_work())) and engine.module.training
    figures = [ranks.look(*make(model_folder, variant(name))) for name in ("distilled", "joint")]
    assert figures[0] == pytest.approx(figures[1])


def test_the_forecast_counts_what_a_distilled_step_computes(model_folder: Path) -> None:
    """What its step costs more than a plain one, counted by torch: a pass without a graph, and both logits again."""
    counted = []
    for name in ("joint", "distilled"):
        recipe = variant(name, chunk_tokens=10**6, kept_chunks=1)
        engine, dataset = make(model_folder, recipe)
        work = dataset.work(dataset.draw(0), 0)
        with counting(attention=False) as count:
            step_gradients(engine, work, recipe)
            counted.append(count())
    (chunk,) = work.chunks
    told = cost_difference(model_folder, chunk)
    assert counted[1] - counted[0] == pytest.approx(told, rel=1e-6)


def cost_difference(folder: Path, chunk: Any) -> float:
    """What the count says of a chunk with its reference and without, but for attention."""
    from pipeline.train.build import build_embedder
    from pipeline.train.flops import Cost, Passes

    recipe = variant("distilled", chunk_tokens=10**6, kept_chunks=1)
    cost = replace(Cost.of(build_embedder(folder, recipe, dtype=torch.float32)[0]), pair=Passes())
    plain = replace(chunk, full=replace(chunk.full, reference=None))
    one, other = (cost.chunk(each, recipe.phase, is_kept=True).hardware for each in (chunk, plain))
    return one - other


@pytest.mark.parametrize("layout", [{"hidden": ()}, {"gate_probability": 0.0}])
def test_a_reference_that_is_the_model_itself_is_refused(layout: dict[str, Any]) -> None:
    phase = load("tiny").phase
    refuse: Callable[..., Any] = replace
    with pytest.raises(ConfigError, match="language: KLToUncompressed compares with the model that sees CONTEXT"):
        refuse(phase, language=KLToUncompressed(), layout=replace(phase.layout, **layout))
    assert not NextToken.has_reference and replace(phase, language=KLToUncompressed()).language.has_reference
