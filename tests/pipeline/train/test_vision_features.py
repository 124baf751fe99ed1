"""A frozen tower outside of the engine: every picture once a step, and the losses and gradients of a tower inside."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch

from pipeline.batch import Batch
from pipeline.model.embedder import Embedder
from pipeline.model.tower import FrozenTower
from pipeline.recipe import Recipe
from pipeline.train import engine
from pipeline.train.step import train_step
from pipeline.train.vision_features import Cached, Inside
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import make, trial
from tests.pipeline.train.test_step import worst


def frozen(**phase: object) -> Recipe:
    return small_recipe(**{"chunk_tokens": 300, "kept_chunks": 1} | phase).with_phase(tower="frozen")


@contextmanager
def pictures_seen() -> Iterator[list[int]]:
    """How many pictures each call of the tower is given, be it outside of the model or a part of it."""
    seen: list[int] = []
    see: Callable[[FrozenTower, Batch], torch.Tensor] = FrozenTower.__call__
    features = Embedder.features

    def count(tower: FrozenTower, batch: Batch) -> torch.Tensor:
        seen.append(len(batch.grid_thw))
        return see(tower, batch)

    def count_inside(embedder: Embedder, batch: Batch, dtype: torch.dtype) -> torch.Tensor:
        seen.append(len(batch.grid_thw))
        return features(embedder, batch, dtype)

    with mock.patch.object(FrozenTower, "__call__", count), mock.patch.object(Embedder, "features", count_inside):
        yield seen


@pytest.fixture(scope="module")
def inside(model_folder: Path) -> dict[str, dict[str, Any]]:
    """The step with the frozen tower as a part of the module that DeepSpeed wraps."""
    with mock.patch.object(engine, "_take_tower_out", return_value=Inside()):
        return trial(model_folder, frozen())


@pytest.mark.parametrize("features", ["device", "host", "recomputed"])
def test_a_tower_outside_gives_the_losses_and_gradients_of_one_inside(
    model_folder: Path, inside: dict[str, dict[str, Any]], features: str
) -> None:
    found = trial(model_folder, frozen(features=features))
    assert set(found["gradients"]) == set(inside["gradients"])
    assert worst(found["gradients"], inside["gradients"]) < 1e-6
    assert found["report"] == pytest.approx(inside["report"], rel=1e-6)
    assert found["held_out"] == pytest.approx(inside["held_out"], rel=1e-6)


@pytest.mark.parametrize(("features", "passes"), [("device", 1), ("host", 1), ("recomputed", 2)])
def test_each_picture_passes_the_tower_once_a_step(model_folder: Path, features: str, passes: int) -> None:
    recipe = frozen(features=features, kept_chunks=0)
    run, dataset = make(model_folder, recipe)
    work, rows = dataset.work(dataset.draw(0), 0), dataset.global_rows(dataset.draw(0), 0)
    embedded, every = (sum(len(row.pixels) for row in rows if row.slot >= least) for least in (0, -1))
    assert 0 < embedded < every, "conversations have pictures and no embedding"
    with pictures_seen() as seen:
        train_step(run, work, recipe.phase, 1e-3)
    assert sum(seen) == (every if passes == 1 else every + embedded)
    assert not isinstance(run.vision, Cached) or not run.vision.made, "features are freed with the last pass over their chunk"


def test_the_engine_holds_no_weight_of_a_frozen_tower_and_all_of_a_trained_one(model_folder: Path) -> None:
    outside, _ = make(model_folder, frozen(dtype="bfloat16"))
    assert not [name for name, _ in outside.module.named_parameters() if "visual" in name]
    tower = outside.vision.tower.tower  # type: ignore[attr-defined]
    assert {weight.dtype for weight in tower.parameters()} == {torch.bfloat16}
    assert {buffer.dtype for buffer in tower.buffers()} == {torch.float32}, "rotary frequencies"
    trained, _ = make(model_folder, small_recipe().with_phase(tower="trained"))
    assert [name for name in trained.named if "visual" in name]


def test_pixels_travel_once_and_the_prefix_finds_its_own(model_folder: Path) -> None:
    _, dataset = make(model_folder, frozen())
    rows = {row.slot: row for row in dataset.global_rows(dataset.draw(0), 0) if row.slot >= 0}
    chunks = [chunk for chunk in dataset.work(dataset.draw(0), 0).chunks if chunk.prefix is not None]
    assert not any(chunk.prefix.pixels for chunk in chunks if chunk.prefix)
    assert any(0 < len(chunk.prefix_pictures) < len(chunk.full.grid_thw) for chunk in chunks), "conversations between pairs"
    for chunk in chunks:
        batch = chunk.prefix_with_pixels()
        expected = [picture for slot in batch.slots.tolist() for picture in rows[slot].pixels]
        found = [picture for stack in batch.pixels for picture in stack.numpy()]
        assert len(found) == len(expected) == len(batch.grid_thw)
        assert all(map(np.array_equal, found, expected))


def test_a_picture_without_pixels_and_features_is_no_batch(model_folder: Path) -> None:
    """Its tokens would be rows of the table, and the embedding that of another picture."""
    engine, dataset = make(model_folder, frozen())
    chunk = next(chunk for chunk in dataset.work(dataset.draw(0), 0).chunks if chunk.prefix and len(chunk.prefix.grid_thw))
    assert chunk.prefix is not None
    with pytest.raises(AssertionError, match="neither pixels nor features"):
        engine.module(chunk.prefix)
