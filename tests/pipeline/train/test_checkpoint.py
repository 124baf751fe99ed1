"""Which checkpoint a run goes on from: the newest whole one of the same course and data."""

import json
import logging
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from pipeline.manifest import canonical_json
from pipeline.recipe import Recipe
from pipeline.recipe_json import course_fingerprint, recipe_fingerprint
from pipeline.train import checkpoint
from tests.pipeline.corpus import small_recipe

DATA = "these shards"


def save(root: Path, step: int, recipe: Recipe, data: str = DATA) -> Path:
    folder, tensors = checkpoint.folder_of(root, step), {"w": torch.full((10,), float(step))}
    state = checkpoint.State(
        step=step,
        recipe=recipe.name,
        recipe_fingerprint=recipe_fingerprint(recipe),
        data_fingerprint=data,
        model_folder="m",
        digests={},
    )
    checkpoint.save(folder, tensors, tensors, state, canonical_json(recipe))
    return folder


def test_what_is_broken_or_foreign_is_named_and_the_one_before_it_is_taken(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    recipe = small_recipe()
    save(tmp_path, 1, recipe)
    good = save(tmp_path, 2, replace(small_recipe(zero_stage=2), name="told otherwise"))
    (save(tmp_path, 3, recipe) / checkpoint.STATE).unlink()
    broken = save(tmp_path, 4, recipe) / checkpoint.OPTIMIZER
    broken.write_bytes(broken.read_bytes()[:-1])
    unreadable = save(tmp_path, 5, recipe)
    (unreadable / checkpoint.STATE).write_text(json.dumps({"step": 5}))
    save(tmp_path, 6, recipe, data="other shards")
    save(tmp_path, 7, replace(recipe, seed=7))
    with caplog.at_level(logging.WARNING):
        found = checkpoint.newest(tmp_path, course=course_fingerprint(recipe), data_fingerprint=DATA)
    assert found is not None and found[0] == good and found[1].step == 2
    assert float(checkpoint.weights(good)["w"][0]) == 2.0
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 5 and all(f"step-0000000{7 - n}" in line and "\n" not in line for n, line in enumerate(said))
    assert all("made by another recipe or other data" in line for line in said[:2])


def test_without_a_whole_one_there_is_none(tmp_path: Path) -> None:
    recipe = small_recipe()
    course = course_fingerprint(recipe)
    assert checkpoint.newest(tmp_path / "nowhere", course=course, data_fingerprint=DATA) is None
    (save(tmp_path, 1, recipe) / checkpoint.WEIGHTS).unlink()
    assert checkpoint.newest(tmp_path, course=course, data_fingerprint=DATA) is None
