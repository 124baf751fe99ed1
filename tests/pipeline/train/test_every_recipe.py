"""Every recipe, whatever it brings, takes one optimizer step a global batch, of the whole gradient, and resumes."""

import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import torch
from _pytest.mark import ParameterSet

import pipeline.train.loop as loop
from pipeline.export import export
from pipeline.inference import load_model
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side
from pipeline.train import checkpoint
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.forecast.chunk_planner import ChunkPlanner
from pipeline.train.forecast.forecast import forecast
from pipeline.train.forecast.gpus import DEFAULT_GPU, GPUS
from pipeline.train.step import train_step
from tests.pipeline.corpus import corpus, picture, qa_of
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


def every_stage() -> Iterator[ParameterSet]:
    """Every phase at every ZeRO stage; `make test` takes one stage of each, in turn."""
    for number, name in enumerate(PHASES):
        for stage in range(4):
            yield pytest.param(name, stage, marks=() if stage == number % 4 else pytest.mark.slow, id=f"{name}-{stage}")


@pytest.mark.parametrize(("name", "stage"), every_stage())
def test_a_global_batch_is_one_optimizer_step_of_its_whole_gradient(model: ModelOf, name: str, stage: int) -> None:
    """The whole gradient is that of one graph over one chunk: nothing is added up, cached or computed again."""
    recipe = PHASES[name]
    expected, whole, _ = stepped(model(recipe), recipe.with_phase(chunk_tokens=10**6, kept_chunks=1))
    assert len(whole.chunks) == 1 and max(float(gradient.norm()) for gradient in expected.values()) > 1e-4
    halves = recipe.with_phase(zero_stage=stage, chunk_tokens=whole.num_tokens // 2)
    found, work, steps = stepped(model(recipe), halves)
    assert len(work.chunks) > 1 and steps == {1}
    assert worst(found, expected) < 1e-5


@dataclass(frozen=True)
class Trained:
    """A recipe's two steps: in one go, and the second from the checkpoint of the first."""

    recipe: Recipe
    whole: Path
    resumed: Path


HEADS = ("tiny", "crem_2b-", "crem_2b_elastic-", "coma_3b-", "btoks_2b-", "magic_2b-", "vlm2vec", "cafe", "voco_llama")
"""What `make test` trains: a method's own recipe and our small ones; `make test-slow` trains their ablations too."""


@pytest.fixture(
    scope="module",
    params=[pytest.param(name, marks=() if name.startswith(HEADS) else pytest.mark.slow) for name in PHASES],
)
def trained(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, model: ModelOf) -> Iterator[Trained]:
    """ZeRO 0 to 2, in turn; stage 3 costs ten times as much, and test_loop resumes it."""
    name = request.param
    recipe = PHASES[name].with_phase(zero_stage=list(PHASES).index(name) % 3, checkpoint_every=1)
    out = tmp_path_factory.mktemp(name)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(loop.ShardIndex, "open", classmethod(lambda cls, folder: corpus()))
        patch.setattr(loop.QaTable, "open", classmethod(lambda cls, *_: qa_of(recipe)))
        whole = run(out / "whole", model(recipe), recipe)
        shutil.copytree(out / "whole", out / "broken")
        shutil.rmtree(out / "broken" / whole.relative_to(out / "whole"))
        yield Trained(recipe, whole, run(out / "broken", model(recipe), recipe))


def test_a_recipe_stopped_after_its_first_step_goes_on_bit_for_bit(trained: Trained) -> None:
    one, other = (figures(last.parent.parent) for last in (trained.whole, trained.resumed))
    assert len(one) == 2 and one == other
    for read in (checkpoint.weights, checkpoint.optimizer_state):
        expected, found = read(trained.whole), read(trained.resumed)
        assert set(expected) == set(found) and all(torch.equal(tensor, found[part]) for part, tensor in expected.items())


SEEN = [Side(text="red circle", images=(picture(np.random.default_rng(3), 56, 84),)), Side(text="blue star left")]


def test_what_a_recipe_trained_embeds_answers_and_is_exported(trained: Trained, tmp_path: Path) -> None:
    model = load_model(trained.resumed)
    embeddings = model.embed(SEEN)
    np.testing.assert_allclose(np.linalg.norm(embeddings, axis=1), 1, atol=1e-5)
    for compressed in {False, Role.COMPRESSION in trained.recipe.phase.layout.order}:
        answers = model.answer(SEEN, ["what is it?"] * 2, compressed=compressed, max_new_tokens=3)
        assert [type(answer) for answer in answers] == [str, str]
    export(trained.resumed, tmp_path / "out", form="merged")
    np.testing.assert_allclose(load_model(tmp_path / "out").embed(SEEN), embeddings, atol=1e-5)


@pytest.mark.parametrize("name", PHASES)
def test_a_dry_run_says_what_a_recipe_takes(model: ModelOf, name: str) -> None:
    recipe = PHASES[name]
    planner = ChunkPlanner(model(recipe), recipe, 2, visual=recipe.pixels.max_tokens)
    found = forecast(model(recipe), planner.recipe_on(GPUS[DEFAULT_GPU]), GPUS[DEFAULT_GPU], 2, visual=recipe.pixels.max_tokens)
    assert sum(found.weights.trained) > 0 and found.memory.total > 0 and found.work.model > 0 and found.hours > 0
    found.refuse_misfit()
