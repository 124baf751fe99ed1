"""Where a phase begins: what the model computes is the same before and after, and a phase that is cut off goes on."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import load_model, load_untrained
from pipeline.model.adapters import Full, LoRA
from pipeline.model.compression import Chorus
from pipeline.model.pooling import MLPMean
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.train import checkpoint
from pipeline.train.run_options import TrainingPaths
from pipeline.train.start import merged_start, start_of
from tests.pipeline.corpus import small_recipe
from tests.pipeline.exports import items, save_moved
from tests.pipeline.train.test_loop import IN_PROCESS, corpus_in_memory, figures  # noqa: F401
from tests.pipeline.train.test_loop import train as train_phase
from tests.pipeline.variants import whole_table_under_lora


def adapted(recipe: Recipe) -> Recipe:
    """Adapters, tokens and a pooling with weights of its own."""
    return replace(recipe, pooling=MLPMean()).with_phase(adapter=LoRA(rank=2, alpha=8), tower="frozen")


def second(recipe: Recipe, **fields: object) -> Recipe:
    """The recipe with another phase like its first behind it."""
    again = replace(recipe.phase, name="again", **fields)  # type: ignore[arg-type]
    return replace(recipe, phases=(recipe.phase, again))


def run(out: Path, model: Path, recipe: Recipe, start: Path | None = None, stop_after: int | None = None) -> Path:
    from pipeline.tracking import NullTracker

    paths = TrainingPaths(shards=out, qa=None, model=model, out=out, start=start)
    return train_phase(paths, recipe, NullTracker(), progress=lambda *_: None, options=IN_PROCESS, stop_after=stop_after)


@pytest.mark.parametrize("vary", [adapted, whole_table_under_lora, lambda recipe: recipe], ids=["adapters", "table", "full"])
def test_a_merged_start_computes_what_the_phase_before_computed(
    tmp_path: Path, model_folder: Path, recipe: Recipe, vary: Callable[[Recipe], Recipe]
) -> None:
    """New adapters add nothing before their first step."""
    trained = save_moved(tmp_path / "step-00000001", model_folder, vary(recipe))
    folder = merged_start(trained, tmp_path / "start", vary(recipe))
    before, after = load_model(trained), load_untrained(folder, vary(recipe))
    sides = items()
    np.testing.assert_allclose(after.embed(sides), before.embed(sides), atol=2e-6)
    untouched = load_untrained(model_folder, vary(recipe)).embed(sides)
    assert np.abs(untouched - before.embed(sides)).max() > 1e-2, "the moved weights matter"


def test_a_start_is_written_once_for_each_checkpoint_and_number_type(tmp_path: Path, model_folder: Path, recipe: Recipe) -> None:
    trained, out = save_moved(tmp_path / "step-00000001", model_folder, adapted(recipe)), tmp_path / "start"
    merged_start(trained, out, adapted(recipe))
    marker = (out / "config.json").stat().st_ino
    merged_start(trained, out, adapted(recipe))
    assert (out / "config.json").stat().st_ino == marker
    merged_start(trained, out, adapted(recipe).with_phase(dtype="bfloat16"))
    assert (out / "config.json").stat().st_ino != marker
    assert json.loads((out / "config.json").read_text())["dtype"] == "bfloat16"


def test_a_start_with_other_tokens_is_refused_by_the_field(tmp_path: Path, model_folder: Path, recipe: Recipe) -> None:
    trained = save_moved(tmp_path / "step-00000001", model_folder, recipe)
    with pytest.raises(ConfigError, match=r"step-00000001: trained with tokens\.count = 4, and the recipe has 3; "):
        merged_start(trained, tmp_path / "start", replace(recipe, tokens=Chorus(count=3)))
    with pytest.raises(CheckpointError, match="neither a checkpoint nor an exported folder"):
        merged_start(model_folder, tmp_path / "start", recipe)
    assert not (tmp_path / "start").exists()
    folder = merged_start(trained, tmp_path / "start", recipe)
    with pytest.raises(CheckpointError, match=r"start\.safetensors holds bank\.rows, and the recipe has bank\.rows, pooling\."):
        load_untrained(folder, replace(recipe, pooling=MLPMean()))


@pytest.mark.parametrize("start", ["merged", "continued"])
def test_a_phase_cut_off_goes_on_from_its_own_checkpoint(tmp_path: Path, model_folder: Path, start: str) -> None:
    """The second phase begins where the first ended, and a resumed one equals the unbroken one bit for bit."""
    recipe = adapted(small_recipe(steps=2, checkpoint_every=2, evaluate_every=9, held_out=0))
    both = second(recipe, start=start, steps=3)
    first = run(tmp_path / "train-joint", model_folder, recipe)
    whole = run(tmp_path / "whole", model_folder, both, first)
    run(tmp_path / "broken", model_folder, both, first, stop_after=2)
    resumed = run(tmp_path / "broken", model_folder, both, first)
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken")
    expected, found = checkpoint.weights(whole), checkpoint.weights(resumed)
    assert set(expected) == set(found) and all(torch.equal(tensor, found[name]) for name, tensor in expected.items())
    assert load_model(resumed).recipe == both
    begun, _ = start_of(TrainingPaths(shards=first, qa=None, model=model_folder, out=tmp_path / "whole", start=first), both)
    assert begun == (tmp_path / "whole" / "start" if start == "merged" else model_folder.resolve())


def test_a_continued_phase_that_trains_other_weights_is_refused(tmp_path: Path, model_folder: Path) -> None:
    recipe = adapted(small_recipe(steps=1, held_out=0))
    first = run(tmp_path / "train-joint", model_folder, recipe)
    with pytest.raises(ConfigError, match=r"phases\.1\.start: continued, but .*--set phases\.1\.start=merged"):
        run(tmp_path / "train", model_folder, second(recipe, start="continued", adapter=Full()), first)


def test_a_later_phase_draws_its_data_anew() -> None:
    recipe = small_recipe()
    assert recipe.order_seed == recipe.seed
    three = replace(recipe, phases=tuple(replace(recipe.phase, name=name) for name in "abc"))
    assert three.until("a").order_seed == recipe.seed and len({three.until(name).order_seed for name in "abc"}) == 3


def test_phases_are_told_apart_by_their_names() -> None:
    recipe = second(small_recipe())
    assert recipe.until("joint").phases == recipe.phases[:1] and recipe.until("again") == recipe
    with pytest.raises(ConfigError, match=r"--phase last: recipe tiny has joint, again"):
        recipe.until("last")
    with pytest.raises(ConfigError, match=r"phases, name: joint stands there twice"):
        replace(recipe, phases=(recipe.phases[0], recipe.phases[0]))
    with pytest.raises(ConfigError, match=r"phase\.name: '\.\./x' names a folder too"):
        replace(recipe.phase, name="../x")
    with pytest.raises(ConfigError, match=r"phases: none"):
        replace(recipe, phases=())
    assert isinstance(recipe.phase, Phase)
