"""Checkpoints written while training goes on: what is gathered, when the step waits, and how a failed write is told."""

import shutil
import threading
import weakref
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
import torch

from pipeline.errors import CheckpointError
from pipeline.manifest import fingerprint
from pipeline.model.backbone import folder_digests
from pipeline.train import checkpoint, checkpoint_retention, checkpoint_writer, engine
from pipeline.train.build import load_trained
from pipeline.train.checkpoint_writer import CheckpointWriter
from pipeline.train.engine import Engine
from pipeline.train.run_options import TrainingPaths
from pipeline.train.step import train_step
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import make

DATA = "these shards"


@pytest.fixture(params=[0, 2, 3])
def trained(model_folder: Path, request: pytest.FixtureRequest) -> Engine:
    """An engine after one step at each sort of ZeRO stage, so that it has optimizer tensors."""
    recipe = small_recipe(zero_stage=request.param)
    made, dataset = make(model_folder, recipe)
    train_step(made, dataset.work(dataset.draw(0), 0), recipe.phase, 1e-3)
    return made


@pytest.fixture
def unentered(model_folder: Path, tmp_path: Path) -> CheckpointWriter:
    """A writer of a model folder of its own."""
    shutil.copytree(model_folder, tmp_path / "model")
    recipe = small_recipe(zero_stage=0)
    paths = TrainingPaths(shards=tmp_path, qa=None, model=tmp_path / "model", out=tmp_path / "train")
    return CheckpointWriter(paths, recipe, make(model_folder, recipe)[0], DATA, None)


@pytest.fixture
def writer(model_folder: Path, tmp_path: Path) -> Iterator[CheckpointWriter]:
    recipe = small_recipe(zero_stage=0)
    made, _ = make(model_folder, recipe)
    paths = TrainingPaths(shards=tmp_path, qa=None, model=model_folder, out=tmp_path / "train")
    with CheckpointWriter(paths, recipe, made, DATA, None) as one:
        yield one


def watched(take: Callable[..., torch.Tensor], alive: list[int], seen: list[Any]) -> Callable[..., torch.Tensor]:
    """A gathering that counts how many whole tensors of earlier calls are still there."""

    def gather(*given: Any) -> torch.Tensor:
        alive.append(sum(reference() is not None for reference in seen))
        found = take(*given)
        seen.append(weakref.ref(found))
        return found

    return gather


def test_one_whole_tensor_at_a_time_is_on_the_device(trained: Engine) -> None:
    alive: list[int] = []
    seen: list[Any] = []
    names = ("safe_get_full_fp32_param", "safe_get_full_optimizer_state")
    patched = {name: watched(getattr(engine, name), alive, seen) for name in names}
    with mock.patch.multiple(engine, **patched):
        weights, moments = trained.state_tensors()
    assert len(moments) == 2 * len(weights) == 2 * len(trained.named)
    assert len(alive) == (3 * len(weights) if trained.zero_stage else 0)
    assert max(alive, default=0) <= 1, "the one before may wait for its successor"


def test_only_rank_0_keeps_what_is_gathered(trained: Engine) -> None:
    trained.rank = 1
    assert trained.state_tensors() == ({}, {})


def test_a_step_waits_for_no_disk_and_the_checkpoint_is_of_its_own_step(writer: CheckpointWriter) -> None:
    may_write, take = threading.Event(), checkpoint.save

    def slow(*given: Any) -> None:
        assert may_write.wait(60)
        take(*given)

    name, weight = next(iter(writer.engine.named.items()))
    before = weight.detach().clone()
    with mock.patch.object(checkpoint_writer.checkpoint, "save", slow):
        folder = writer.save(1, {"held_out/contrastive": 2.0, "contrastive": 1.0})
        assert not folder.exists()
        with torch.no_grad():
            weight += 1.0  # the run goes on
        may_write.set()
        writer.finish()
    state = checkpoint.read_state(folder)
    assert (state.step, state.held_out, state.data_fingerprint) == (1, {"contrastive": 2.0}, DATA)
    assert torch.equal(checkpoint.weights(folder)[name], before)


@pytest.mark.parametrize("then", ["save", "finish"])
def test_a_write_that_failed_is_told_by_the_next_call(writer: CheckpointWriter, then: str) -> None:
    with mock.patch.object(checkpoint_writer.checkpoint, "save", side_effect=CheckpointError("step 1: no room")):
        writer.save(1, {})
        with pytest.raises(CheckpointError, match="no room"):
            writer.save(2, {}) if then == "save" else writer.finish()
    assert not checkpoint.steps(writer.paths.checkpoints)


def test_other_ranks_are_told_too(writer: CheckpointWriter) -> None:
    writer.saved = 1
    with mock.patch.object(checkpoint_writer, "on_any_rank", return_value=True), pytest.raises(CheckpointError, match="rank 0"):
        writer.finish()


def test_ranks_agree_whatever_the_write_met(writer: CheckpointWriter) -> None:
    with (
        mock.patch.object(checkpoint_retention, "prune", side_effect=PermissionError("no")),
        mock.patch.object(checkpoint_writer, "on_any_rank", side_effect=bool) as told,
    ):
        writer.save(1, {})
        with pytest.raises(PermissionError):
            writer.finish()
    assert told.call_args_list == [mock.call(False), mock.call(True)], "the others would wait for rank 0 for ever"


def test_a_write_that_failed_is_told_where_another_error_ends_the_run(
    unentered: CheckpointWriter, caplog: pytest.LogCaptureFixture
) -> None:
    with (
        mock.patch.object(checkpoint_writer.checkpoint, "save", side_effect=CheckpointError("step 1: no room")),
        pytest.raises(ValueError, match="another"),
        unentered as writer,
    ):
        writer.save(1, {})
        raise ValueError("another")
    assert "step 1: its checkpoint could not be written: step 1: no room" in caplog.text


@pytest.mark.parametrize(("error", "waits"), [(ValueError, True), (KeyboardInterrupt, False)])
def test_a_second_ctrl_c_waits_for_no_write(unentered: CheckpointWriter, error: type[BaseException], waits: bool) -> None:
    may_write, ended = threading.Event(), threading.Event()

    def slow(*given: Any) -> None:
        ended.set() if may_write.wait(60) else None

    with mock.patch.object(checkpoint_writer.checkpoint, "save", slow), pytest.raises(error), unentered as writer:
        writer.save(1, {})
        threading.Timer(0.2 if waits else 5.0, may_write.set).start()
        raise error
    assert ended.is_set() == waits


def test_the_model_folder_is_noted_as_it_was_at_the_start(unentered: CheckpointWriter, tmp_path: Path) -> None:
    before, config = fingerprint(folder_digests(tmp_path / "model")), tmp_path / "model" / "config.json"
    assert unentered.model_digest and unentered.model_digest.result(60) == before
    config.write_text(config.read_text() + "\n")
    with unentered as writer:
        folder = writer.save(1, {})
        writer.finish()
    assert checkpoint.read_state(folder).model_digest == before != fingerprint(folder_digests(tmp_path / "model"))


def test_a_model_folder_that_is_gone_has_no_digest(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "gone"):
        with pytest.raises(CheckpointError, match=f"{folder}: there is no file of a model"):
            folder_digests(folder)


def test_what_is_there_is_not_written_again(writer: CheckpointWriter) -> None:
    writer.save(1, {})
    writer.finish()
    with mock.patch.object(writer.engine, "state_tensors", side_effect=AssertionError):
        assert writer.save(1, {}) == checkpoint.folder_of(writer.paths.checkpoints, 1)


def test_a_weight_that_is_missing_foreign_or_of_another_shape_is_refused(writer: CheckpointWriter) -> None:
    module, weights = writer.engine.module, {name: weight.detach().clone() for name, weight in writer.engine.named.items()}
    name = next(iter(weights))
    lost = {other: weight for other, weight in weights.items() if other != name}
    for wrong, said in (
        (lost, rf"1 missing or unexpected weights, first {name}"),
        ({**weights, "no.such.weight": torch.zeros(3)}, "1 missing or unexpected weights, first no.such.weight"),
        ({**weights, name: torch.zeros(3)}, rf"{name} is \(3,\), not"),
    ):
        with pytest.raises(CheckpointError, match=said):
            load_trained(module, wrong, Path("there"))
    load_trained(module, {other: weight + 1 for other, weight in weights.items()}, Path("there"))
    assert all(torch.equal(weight, weights[other] + 1) for other, weight in writer.engine.named.items())


def test_a_stored_tensor_is_read_when_it_is_asked_for(writer: CheckpointWriter) -> None:
    folder = writer.save(1, {})
    writer.finish()
    stored = checkpoint.weights(folder)
    assert set(stored) == set(writer.engine.named) and len(stored) == len(writer.engine.named)
    with pytest.raises(KeyError):
        stored["no.such.weight"]
