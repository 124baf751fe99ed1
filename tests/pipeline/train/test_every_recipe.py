"""Every recipe, whatever it brings, takes one optimizer step a global batch, of the whole gradient, and resumes."""

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

import pipeline.train.loop as loop
from pipeline.recipe import Recipe
from pipeline.train import checkpoint
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.step import train_step
from tests.pipeline.corpus import qa_of
from tests.pipeline.shrunk import distinct, model_of
from tests.pipeline.train.ranks import make
from tests.pipeline.train.test_loop import corpus_in_memory, figures, run  # noqa: F401
from tests.pipeline.train.test_step import worst

PHASES = distinct()

ModelOf = Callable[[Recipe], Path]


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> ModelOf:
    folders = tmp_path_factory.mktemp("families")
    return lambda recipe: model_of(folders, recipe)


def taken(engine: Engine) -> set[int]:
    """Steps that torch's AdamW counts, over all its tensors."""
    return {int(state["step"]) for state in engine.inner.state.values()}


def stepped(folder: Path, recipe: Recipe) -> tuple[dict[str, torch.Tensor], StepWork, set[int]]:
    """The first step's gradients, its work, and the steps that AdamW counted after it."""
    engine, dataset = make(folder, recipe)
    found: dict[str, torch.Tensor] = {}
    take = engine.step

    def look(learning_rate: float) -> float:
        found.update(engine.full_gradients())
        return take(learning_rate)

    engine.step = look  # type: ignore[method-assign]
    work = dataset.work(dataset.draw(0), 0)
    train_step(engine, work, recipe.phase, 1e-3)
    return found, work, taken(engine)


@pytest.mark.parametrize("name", PHASES)
def test_a_global_batch_is_one_optimizer_step_of_its_whole_gradient(model: ModelOf, name: str) -> None:
    """The whole gradient is that of one graph over one chunk: nothing is added up, cached or computed again."""
    recipe = PHASES[name]
    expected, whole, _ = stepped(model(recipe), recipe.with_phase(chunk_tokens=10**6, kept_chunks=1))
    assert len(whole.chunks) == 1 and max(float(gradient.norm()) for gradient in expected.values()) > 1e-4
    for stage in (0, 1, 2, 3):
        halves = recipe.with_phase(zero_stage=stage, chunk_tokens=whole.num_tokens // 2)
        found, work, steps = stepped(model(recipe), halves)
        assert len(work.chunks) > 1 and steps == {1}
        assert worst(found, expected) < 1e-5


@pytest.mark.parametrize(("number", "name"), enumerate(PHASES))
def test_a_recipe_stopped_after_its_first_step_goes_on_bit_for_bit(
    tmp_path: Path, model: ModelOf, number: int, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """ZeRO 0 to 2, in turn; stage 3 costs ten times as much, and test_loop resumes it."""
    recipe = PHASES[name].with_phase(zero_stage=number % 3)
    monkeypatch.setattr(loop.QaTable, "open", classmethod(lambda cls, *_: qa_of(recipe)))
    whole = run(tmp_path / "whole", model(recipe), recipe)
    run(tmp_path / "broken", model(recipe), recipe, stop_after=1)
    resumed = run(tmp_path / "broken", model(recipe), recipe)
    assert len(figures(tmp_path / "whole")) == 2 and figures(tmp_path / "whole") == figures(tmp_path / "broken")
    for read in (checkpoint.weights, checkpoint.optimizer_state):
        expected, found = read(whole), read(resumed)
        assert set(expected) == set(found) and all(torch.equal(tensor, found[part]) for part, tensor in expected.items())
