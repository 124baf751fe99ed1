"""Shrinkers against their definitions, written out point by point; what is left of a picture in sequences and in the model."""

import json
import math
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from transformers.vision_utils import get_vision_window_index

from data_prep.tiny_model import build_tiny_model
from pipeline.batch import pack, row_places
from pipeline.errors import ConfigError
from pipeline.manifest import canonical_json, fingerprint
from pipeline.model.attention import SpanPlan
from pipeline.model.embedder import Embedder
from pipeline.model.shrinkers import AveragePool, Bilinear, KeepAll, Shrinker, shrink_patches
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipe_diff import differences
from pipeline.recipe_json import LABELS, recipe_fingerprint, recipe_from_json
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.token_counts import ruler_of, table_name
from pipeline.visual_tokens import VisualTokens
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import SMALL, TEXTS, corpus, measured, random_row
from tests.pipeline.dense import DenseModel

GRIDS = [(1, 4, 4), (1, 6, 10), (1, 6, 10), (1, 2, 14), (1, 10, 6), (2, 4, 6)]
"""Even sides of tokens, odd ones, twice the same, a side of one token, two frames; h is not w."""


def shrunk_plane(plane: np.ndarray, rows: int, columns: int, shrinker: Shrinker) -> np.ndarray:
    """(H, W, C) -> (rows, columns, C), one point after another."""
    out = np.zeros((rows, columns, plane.shape[2]))
    for i in range(rows):
        for j in range(columns):
            if isinstance(shrinker, Bilinear):
                out[i, j] = _between(plane, (i + 0.5) * plane.shape[0] / rows - 0.5, (j + 0.5) * plane.shape[1] / columns - 0.5)
            else:
                cell = plane[_cell(i, rows, plane.shape[0]), _cell(j, columns, plane.shape[1])]
                out[i, j] = cell.reshape(-1, plane.shape[2]).mean(axis=0)
    return out


def _between(plane: np.ndarray, y: float, x: float) -> np.ndarray:
    y, x = max(y, 0.0), max(x, 0.0)
    top, left = math.floor(y), math.floor(x)
    bottom, right = min(top + 1, plane.shape[0] - 1), min(left + 1, plane.shape[1] - 1)
    above = plane[top, left] * (1 - (x - left)) + plane[top, right] * (x - left)
    below = plane[bottom, left] * (1 - (x - left)) + plane[bottom, right] * (x - left)
    return above * (1 - (y - top)) + below * (y - top)


def _cell(number: int, count: int, size: int) -> slice:
    return slice(number * size // count, -(-(number + 1) * size // count))


def place_in_row(y: int, x: int, columns: int, merge: int = 2) -> int:
    """Where the patch at row y and column x of a picture stands: token after token, and in a token row by row."""
    token = (y // merge) * (columns // merge) + x // merge
    return token * merge**2 + (y % merge) * merge + x % merge


def shrunk_by_hand(states: np.ndarray, grids: list[tuple[int, int, int]], shrinker: Shrinker) -> np.ndarray:
    """`shrink_patches` patch by patch."""
    parts, start = [], 0
    for frames, rows, columns in grids:
        left = [2 * max(1, math.floor(side / 2 / shrinker.factor + 0.5)) for side in (rows, columns)]  # type: ignore[attr-defined]
        for _ in range(frames):
            plane = np.array(
                [[states[start + place_in_row(y, x, columns)] for x in range(columns)] for y in range(rows)], dtype=np.float64
            )
            small = shrunk_plane(plane, *left, shrinker)
            part = np.zeros((left[0] * left[1], states.shape[1]))
            for y in range(left[0]):
                for x in range(left[1]):
                    part[place_in_row(y, x, left[1])] = small[y, x]
            parts.append(part)
            start += rows * columns
    return np.concatenate(parts)


SHRINKERS = [kind(factor) for kind in (Bilinear, AveragePool) for factor in (1.0, 1.6, 2.0, 2.6667, 9.0)]


@pytest.mark.parametrize("shrinker", SHRINKERS, ids=str)
def test_patches_are_shrunk_as_they_lie_in_the_picture(shrinker: Shrinker) -> None:
    states = np.random.default_rng(0).normal(size=(sum(t * h * w for t, h, w in GRIDS), 3)).astype(np.float32)
    found = shrink_patches(torch.from_numpy(states), torch.tensor(GRIDS), 2, shrinker)
    np.testing.assert_allclose(found.numpy(), shrunk_by_hand(states, GRIDS, shrinker), atol=1e-5)
    counts = VisualTokens(shrinker=shrinker).counts(GRIDS)
    assert len(found) == 4 * counts.sum()


def test_at_factor_two_and_even_sides_both_are_the_mean_of_two_by_two_and_at_others_not() -> None:
    planes = torch.randn(1, 5, 8, 12, generator=torch.Generator().manual_seed(0))
    means = torch.nn.functional.avg_pool2d(planes, 2)
    torch.testing.assert_close(Bilinear(2.0)(planes, (4, 6)), means, atol=2e-6, rtol=0)
    torch.testing.assert_close(AveragePool(2.0)(planes, (4, 6)), means, atol=2e-6, rtol=0)
    assert float((Bilinear(2.0)(planes, (3, 5)) - AveragePool(2.0)(planes, (3, 5))).abs().max()) > 0.1


@pytest.mark.parametrize("shrinker", [Bilinear(2.0), AveragePool(1.6)], ids=str)
def test_gradients_pass_through_a_linear_map(shrinker: Shrinker) -> None:
    """<weights, S x> = <S^T weights, x> with S^T from autograd, and no patch is left without a gradient."""
    generator = torch.Generator().manual_seed(0)
    states = torch.randn(sum(t * h * w for t, h, w in GRIDS), 3, generator=generator, requires_grad=True)
    found = shrink_patches(states, torch.tensor(GRIDS), 2, shrinker)
    weights = torch.rand(found.shape, generator=generator) + 0.5
    value = (found * weights).sum()
    (gradient,) = torch.autograd.grad(value, states)
    torch.testing.assert_close((gradient * states).sum(), value, atol=1e-3, rtol=1e-5)
    assert bool((gradient.abs().sum(dim=1) > 0).all())


def test_numbers_of_tokens_worked_by_hand() -> None:
    """Sides of tokens: halves go up, one is left at least; a tile of 16 x 16 gives the paper's 36, 64, 100, 144 and 256."""
    sides = np.array([1, 2, 3, 4, 5, 7, 16])
    assert Bilinear(2.0).side(sides).tolist() == [1, 1, 2, 2, 3, 4, 8]
    assert Bilinear(3.0).side(sides).tolist() == [1, 1, 1, 1, 2, 2, 5]
    assert KeepAll().side(sides).tolist() == sides.tolist()
    factors = {2.6667: 36, 2.0: 64, 1.6: 100, 1.3333: 144, 1.0: 256}
    assert {factor: int(Bilinear(factor).side(np.array(16))) ** 2 for factor in factors} == factors
    assert VisualTokens(shrinker=Bilinear(2.0)).grids([(1, 8, 8), (1, 6, 10)]).tolist() == [[1, 2, 2], [1, 2, 3]]
    with pytest.raises(ConfigError, match=r"vision.factor: 0.5"):
        Bilinear(0.5)


def test_positions_worked_by_hand() -> None:
    """Two words, a picture of 3 x 5 tokens of which 2 x 3 are left, two words: the picture moves the text on by 3, not by 5."""
    found = VisualTokens(shrinker=Bilinear(2.0)).positions(10, [2], [(1, 6, 10)])
    assert found.tolist() == [
        [0, 1, 2, 2, 2, 2, 2, 2, 5, 6],
        [0, 1, 2, 2, 2, 3, 3, 3, 5, 6],
        [0, 1, 2, 3, 4, 2, 3, 4, 5, 6],
    ]


@dataclass(frozen=True)
class Small:
    """A tiny model whose pictures are shrunk, and what builds its rows."""

    embedder: Embedder
    builder: SequenceBuilder
    recipe: Recipe


@pytest.fixture(scope="module", params=["qwen2_vl", "qwen2_5_vl"])
def small(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, recipe: Recipe) -> Small:
    folder = tmp_path_factory.mktemp("shrunk")
    build_tiny_model(folder, TEXTS, replace(SMALL, family=request.param), seed=0)
    recipe = replace(recipe, vision=Bilinear(2.0))
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    disturb(embedder)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe), recipe.vision)
    return Small(embedder, SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=512), recipe)


def patches_in_merge_order(tower: Any, patches: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    """What a tower of transformers' own holds before its merger; windows are put back."""
    states: torch.Tensor = tower(patches, grid_thw=grid).last_hidden_state
    if not hasattr(tower, "fullatt_block_indexes"):
        return states
    index, _ = get_vision_window_index(grid, tower.spatial_merge_size, tower.window_size, tower.patch_size)
    tokens = states.unflatten(0, (-1, 4))
    return tokens[torch.argsort(index)].flatten(0, 1)


def test_the_model_reads_shrunken_pictures_at_shrunken_positions(small: Small) -> None:
    """Inputs and states of packed rows with none, one and several pictures: an eager copy's tower, shrunk by hand before its
    merger, and transformers' own positions of a picture of as many tokens."""
    dense, rng = DenseModel(small.embedder), np.random.default_rng(1)
    rows = [random_row(small.builder, rng, slot=n, num_images=n, num_turns=1, compressed=n == 1) for n in range(4)]
    batch, places = pack(rows, small.recipe.phase.layout, small.recipe.pooling.positions), row_places(rows)
    with torch.no_grad():
        inputs = small.embedder.inputs(batch)
        states = small.embedder.backbone.hidden(inputs, batch.position_ids, SpanPlan.of(batch.spans))
        for row, place in zip(rows, places, strict=True):
            ids = torch.from_numpy(row.sequence.input_ids)
            expected = small.embedder.bank(ids, dense.model.model.language_model.embed_tokens(ids))
            parts = []
            for picture, grid in zip(row.pixels, row.sequence.grid_thw, strict=True):
                patches = small.embedder.cutter(torch.from_numpy(picture)[None])
                full = patches_in_merge_order(dense.model.model.visual, patches, torch.from_numpy(grid)[None])
                left = shrunk_by_hand(full.numpy(), [tuple(grid)], Bilinear(2.0))
                parts.append(dense.model.model.visual.merger(torch.from_numpy(left).float()))
            if parts:
                expected[ids == dense.model.config.image_token_id] = torch.cat(parts)
            torch.testing.assert_close(inputs.embeddings[place], expected, atol=1e-5, rtol=0)
            grids = torch.from_numpy(VisualTokens(shrinker=Bilinear(2.0)).grids(row.sequence.grid_thw) * [1, 2, 2])
            shown = replace(row, sequence=replace(row.sequence, grid_thw=grids.numpy()))
            torch.testing.assert_close(states[place], dense.states(shown, small.recipe.phase.layout, expected), atol=1e-5, rtol=0)
    assert {len(row.pixels) for row in rows} == {0, 1, 2, 3}


def test_a_factor_of_one_is_the_whole_model(small: Small) -> None:
    """By the other road through the tower: its merger set aside, and called behind it."""
    rng = np.random.default_rng(2)
    picture = torch.from_numpy(rng.integers(0, 255, (1, 3, 3 * 28, 5 * 28), dtype=np.uint8))
    backbone, patches, grid = small.embedder.backbone, small.embedder.cutter(picture), torch.tensor([[1, 6, 10]])
    with torch.no_grad():
        whole = backbone.family.features(backbone.tower, patches, grid, KeepAll())
        again = backbone.family.features(backbone.tower, patches, grid, AveragePool(1.0))
        fewer = backbone.family.features(backbone.tower, patches, grid, Bilinear(2.0))
    torch.testing.assert_close(again, whole, atol=1e-5, rtol=0)
    assert (len(whole), len(fewer)) == (15, 6)


def test_a_shrinker_is_a_value_of_any_recipe(recipe: Recipe) -> None:
    """--set reaches it, JSON keeps it, and a recipe without one has the fingerprint that it had before there were any."""
    chosen = override(recipe, ["vision=Bilinear", "vision.factor=1.6"])
    assert chosen.vision == Bilinear(1.6)
    assert [(each.path, each.new) for each in differences(recipe, chosen)] == [("vision", "Bilinear(factor=1.6)")]
    assert recipe_from_json(canonical_json(chosen)) == chosen and recipe_fingerprint(chosen) != recipe_fingerprint(recipe)
    before = {name: value for name, value in json.loads(canonical_json(recipe)).items() if name not in ("vision", "templates")}
    assert recipe_from_json(json.dumps(before)) == recipe
    assert fingerprint({name: value for name, value in before.items() if name not in LABELS}) == recipe_fingerprint(recipe)


def test_lengths_know_what_is_left(small: Small, tmp_path: Path) -> None:
    recipe, vocabulary = replace(small.recipe, pixels=replace(small.recipe.pixels, min_tokens=9)), small.builder.vocabulary
    index = corpus(4)
    lengths = measured(index, recipe, vocabulary).lengths
    row = next(number for number, sample in enumerate(index.samples) if sample.query.images)
    grids = np.array([recipe.pixels.grid(56, 56)])
    built = small.builder.build(index.samples[row].query, grids)
    assert (len(built.image_tokens()), grids.tolist()) == (4, [[1, 6, 6]])
    assert lengths.size(row, 0) == (len(built), 9), "the tower and the loaders' memory see all"
    names = set()
    for shrinker in (KeepAll(), None, Bilinear(2.0), Bilinear(1.5), AveragePool(2.0)):
        ruler = ruler_of(recipe, replace(vocabulary, visual=VisualTokens(shrinker=shrinker)))
        names.add(table_name(index, ruler, tmp_path))  # type: ignore[arg-type]
    assert len(names) == 4, "tables of all tokens are the same whether or not a shrinker says so"
