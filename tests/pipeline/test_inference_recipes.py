"""A checkpoint says itself what it was trained with: no name, no user's file and no later sentence is needed to load it."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.errors import CheckpointError
from pipeline.inference import load_model
from pipeline.manifest import file_digest
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.sample import Side
from pipeline.tracking import NullTracker
from pipeline.train import checkpoint, loop
from pipeline.train.loop import train
from pipeline.train.run_options import RunOptions, TrainingPaths
from tests.pipeline.corpus import MemoryQa, corpus, small_recipe

SIDES = [Side(text="red circle"), Side(text="blue star left")]


def overridden() -> Recipe:
    """Values that no name has: more tokens, another start, adapters."""
    settings = [
        "name=mine",
        "tokens.count=6",
        "tokens.start=eos",
        "phases.0.adapter=LoRA",
        "phases.0.adapter.rank=2",
        "phases.0.tower=frozen",
    ]
    return override(small_recipe(steps=2), settings)


@pytest.fixture
def trained(tmp_path: Path, model_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(loop.ShardIndex, "open", classmethod(lambda cls, folder: corpus()))
    monkeypatch.setattr(loop.QaTable, "open", classmethod(lambda cls, folder, kind: MemoryQa()))
    paths = TrainingPaths(shards=tmp_path, qa=None, model=model_folder, out=tmp_path)
    return train(paths, overridden(), NullTracker(), progress=lambda *_: None, options=RunOptions(num_workers=0))


def test_a_checkpoint_of_an_overridden_recipe_loads_by_itself(trained: Path) -> None:
    model = load_model(trained)
    assert model.recipe == overridden()
    assert len(model.embedder.bank.rows) == 6
    renamed = load_model(trained, recipe=replace(overridden(), name="other", summary="told better"))
    assert renamed.fingerprint == model.fingerprint
    np.testing.assert_array_equal(renamed.embed(SIDES), model.embed(SIDES))


def test_other_values_than_it_was_trained_with_are_refused_by_their_field(trained: Path) -> None:
    with pytest.raises(CheckpointError, match=r"trained with tokens\.count = 6, and the recipe given has 4"):
        load_model(trained, recipe=override(overridden(), ["tokens.count=4"]))


def test_a_recipe_with_fields_that_are_gone_is_refused(trained: Path) -> None:
    stored = json.loads((trained / checkpoint.RECIPE).read_text()) | {"magic": 1}
    (trained / checkpoint.RECIPE).write_text(json.dumps(stored))
    state = json.loads((trained / checkpoint.STATE).read_text())
    state["digests"][checkpoint.RECIPE] = file_digest(trained / checkpoint.RECIPE)
    (trained / checkpoint.STATE).write_text(json.dumps(state))
    with pytest.raises(CheckpointError, match=r"recipe\.json: the recipe has no field 'magic'.*another version of this program"):
        load_model(trained)


def test_a_renamed_recipe_resumes(trained: Path) -> None:
    state = checkpoint.read_state(trained)
    assert state.recipe_fingerprint == recipe_fingerprint(replace(overridden(), name="other", summary="told better"))
