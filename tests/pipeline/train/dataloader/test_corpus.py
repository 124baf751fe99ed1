"""Which rows of a corpus a phase trains on, and by what share of its datasets."""

from dataclasses import replace

import numpy as np
import pytest

from pipeline.errors import ConfigError
from pipeline.model.inputs import PixelLimits
from pipeline.model.tiles import Tiles
from pipeline.phase import Mixture
from pipeline.recipe import Recipe
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.train.dataloader.corpus import check_datasets, check_pixels, divide, shares
from tests.pipeline.corpus import MemoryIndex, corpus, measured

LONG = Side(text="red " * 600)


def test_rows_over_the_cap_are_neither_trained_on_nor_held_out(recipe: Recipe, builder: SequenceBuilder) -> None:
    samples = corpus().samples
    samples[30] = replace(samples[30], positive=LONG)
    samples[31] = replace(samples[31], query=LONG)
    samples[50] = replace(samples[50], query=replace(samples[50].query, turns=(Turn(question="red " * 600, answer="a"),)))
    read = measured(MemoryIndex(samples), recipe, builder.vocabulary)
    phase = replace(recipe.phase, held_out=1000)
    found = divide(read, phase, max_length=recipe.max_length, seed=0)
    trained = {row for rows in (*found.pairs.values(), *found.talks.values()) for row in rows.tolist()}
    held_out = {*found.held_out.pairs, *found.held_out.outside}
    assert trained | held_out == set(range(72)) - {30, 31, 50} and not trained & held_out
    assert (len(found.held_out.pairs), len(found.held_out.outside)) == (4, 2), "a tenth of 46 and of 23"


def test_a_kind_that_the_phase_does_not_read_is_not_held_out(recipe: Recipe, builder: SequenceBuilder) -> None:
    read, phase = measured(corpus(), recipe, builder.vocabulary), recipe.phase
    for pairs, outside, expected in ((0, 4, (0, 2)), (8, 0, (4, 0))):
        mixture = replace(phase.mixture, pairs=pairs, outside=outside)
        found = divide(read, replace(phase, mixture=mixture), max_length=512, seed=0).held_out
        assert (len(found.pairs), len(found.outside)) == expected


def test_shares_are_weights_times_rows_up_to_the_cap() -> None:
    rows = {"big": np.arange(500), "small": np.arange(30), "none": np.arange(0)}
    mixture = Mixture(weights=(("small", 2.0), ("big", 0.5)))
    assert shares(rows, mixture) == {"big": 250.0, "small": 60.0, "none": 0.0}
    assert shares(rows, mixture, cap=100) == {"big": 50.0, "small": 60.0, "none": 0.0}


def test_a_weight_of_a_dataset_that_is_not_there_is_refused() -> None:
    index = corpus()
    check_datasets(index, Mixture(weights=(("pictures", 2.0),)), "phases.1")  # type: ignore[arg-type]
    for absent in ("picture", "OK-VQA"):
        with pytest.raises(
            ConfigError,
            match=rf"mixture.weights: '{absent}' not in the shards; there are pictures, talks.*--set phases\.1\.mixture\.weights",
        ):
            check_datasets(index, Mixture(weights=(("pictures", 2.0), (absent, 2.0))), "phases.1")  # type: ignore[arg-type]


def test_a_recipe_asks_for_no_larger_pictures_than_the_shards_hold() -> None:
    index, limits = corpus(), PixelLimits(max_tokens=100)
    for held in (None, 100 * 28 * 28):
        index.max_pixels = held
        check_pixels(index, limits)  # type: ignore[arg-type]
    index.max_pixels = 100 * 28 * 28 - 1
    with pytest.raises(ConfigError, match=r"^pixels\.max_tokens: 100 .* --max-pixels 78400, or set pixels\.max_tokens=99$"):
        check_pixels(index, limits)  # type: ignore[arg-type]
    index.max_pixels = 3 * 448 * 448
    with pytest.raises(ConfigError, match=r"^pixels\.max_tiles: 4 tiles are 802816 .* or set pixels\.max_tiles=3$"):
        check_pixels(index, Tiles(max_tiles=1, by_dataset=(("DocVQA", 4),)))  # type: ignore[arg-type]
