"""`auto` in a run: what is trained does not depend on it, a resume repeats it, another machine decides anew."""

import json
import logging
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.recipe import Recipe
from pipeline.train import checkpoint, loop, run_chunks
from pipeline.train.forecast.chunk_planner import Room
from pipeline.train.node import Node
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.conftest import Forked
from tests.pipeline.train.test_loop import IN_PROCESS, Notes, TrainingPaths, corpus_in_memory, figures, run  # noqa: F401

CHUNKS = ("chunks", "kept_chunks")


def auto(**phase: Any) -> Recipe:
    return small_recipe(**({"chunk_tokens": 200, "kept_chunks": "auto", "checkpoint_every": 2, "evaluate_every": 9} | phase))


@pytest.fixture
def small_gpu(monkeypatch: pytest.MonkeyPatch) -> Any:
    """A GPU with room for some graphs, on which the first steps take less than forecast; a call gives it another size."""

    def of(kind: str = "some GPU", size: int = 14_000_000, peak: int = 4_000_000) -> None:
        monkeypatch.setattr(run_chunks, "room_of", lambda node: Room(kind=kind, size=size, is_gpu=True))
        monkeypatch.setattr(run_chunks, "gpu_bytes", lambda: (peak, 1_000_000))

    of()
    return of


def choice(out: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((out / "chunks.json").read_text())
    return found


def same_weights(one: Path, other: Path) -> bool:
    stored = [(read(one), read(other)) for read in (checkpoint.weights, checkpoint.optimizer_state)]
    return all(torch.equal(tensor, other[name]) for one, other in stored for name, tensor in one.items())


def test_what_is_trained_does_not_depend_on_the_choice(tmp_path: Path, model_folder: Path) -> None:
    """Adam's first steps move a weight by the learning rate whatever its gradient's size, so noise may turn those of nearly 0."""
    choices = [(10**6, 0), (10**6, 99), (200, 1), (100, 3), ("auto", "auto")]
    ran = [
        run(tmp_path / str(number), model_folder, auto(chunk_tokens=tokens, kept_chunks=kept, steps=4, evaluate_every=4))
        for number, (tokens, kept) in enumerate(choices)
    ]
    first = [{name: v for name, v in line.items() if name not in CHUNKS} for line in figures(tmp_path / "0")]
    expected = checkpoint.weights(ran[0])
    for number, last in enumerate(ran):
        for line, own in zip(first, figures(tmp_path / str(number)), strict=True):
            assert {name: v for name, v in own.items() if name not in CHUNKS} == pytest.approx(line, rel=2e-4)
        weights = checkpoint.weights(last)
        for name, weight in expected.items():
            assert (weights[name] - weight).norm() < 2e-3 * max(weight.norm(), 0.1), name
    assert len({(line["chunks"], line["kept_chunks"]) for n in range(5) for line in figures(tmp_path / str(n))}) > 4


@pytest.mark.parametrize(("stop", "is_lost"), [(2, False), (4, False), (4, True)])
def test_a_resume_repeats_the_choices_bit_for_bit(
    tmp_path: Path, model_folder: Path, small_gpu: Any, stop: int, is_lost: bool
) -> None:
    """Also from a checkpoint of before the correction, where the one after it is lost."""
    whole = run(tmp_path / "whole", model_folder, auto())
    found = choice(tmp_path / "whole")
    (_, before), (begin, after) = found["kept"]
    assert begin == 3 and not found["due"] and 1 <= before < after
    assert [line["kept_chunks"] for line in figures(tmp_path / "whole")] == [before] * 3 + [after] * 3
    last = run(tmp_path / "broken", model_folder, auto(), stop_after=stop)
    if is_lost:
        shutil.rmtree(last)
    small_gpu(size=14_000_000 if stop == 2 else 99_000_000)  # who uses the GPU beside us does not matter once all is chosen
    resumed = run(tmp_path / "broken", model_folder, auto())
    assert choice(tmp_path / "broken") == found
    assert figures(tmp_path / "whole") == figures(tmp_path / "broken") and same_weights(whole, resumed)


def test_another_machine_or_recipe_decides_anew_and_says_so(
    tmp_path: Path, model_folder: Path, small_gpu: Any, caplog: pytest.LogCaptureFixture
) -> None:
    run(tmp_path, model_folder, auto(), stop_after=2)
    small_gpu(kind="a larger GPU", size=20_000_000)
    run(tmp_path, model_folder, auto(chunk_tokens=300), stop_after=3)
    said = "chunks are chosen anew, not as in "
    assert said in caplog.text and "device some GPU -> a larger GPU, chunk_tokens 200 -> 300" in caplog.text
    assert choice(tmp_path)["made_for"]["device"] == "a larger GPU" and choice(tmp_path)["tokens"] == 300
    caplog.clear()
    (tmp_path / "chunks.json").write_text('{"tokens": 3')
    run(tmp_path, model_folder, auto(chunk_tokens=300), stop_after=4)
    assert "chunks.json: not read (JSONDecodeError); chunks are chosen anew" in caplog.text
    assert choice(tmp_path)["tokens"] == 300


def test_the_rank_with_the_least_room_decides_for_all(
    tmp_path: Path, model_folder: Path, small_gpu: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(tmp_path / "alone", model_folder, auto(), stop_after=1)
    other, agree = Room(kind="some GPU", size=7_000_000, is_gpu=True), run_chunks.of_all_ranks
    monkeypatch.setattr(
        run_chunks, "of_all_ranks", lambda values: [*agree(values), *([other] if isinstance(values[0], Room) else [])]
    )
    run(tmp_path / "beside", model_folder, auto(), stop_after=1)
    alone, beside = (choice(tmp_path / name)["kept"][0][1] for name in ("alone", "beside"))
    assert 1 <= beside < alone


def test_two_ranks_choose_together(tmp_path: Path, forked: Forked) -> None:
    assert forked(tmp_path, phase={"chunk_tokens": "auto", "kept_chunks": "auto", "steps": 1}) == [0, 0]
    assert choice(tmp_path)["made_for"]["ranks"] == 2 and choice(tmp_path)["tokens"] == 2048


def test_a_run_says_what_auto_chose(tmp_path: Path, model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    tracker, recipe = Notes(), small_recipe(chunk_tokens="auto", kept_chunks="auto", steps=1)
    caplog.set_level(logging.INFO)
    paths = TrainingPaths(shards=tmp_path, qa=None, model=model_folder, out=tmp_path)
    loop.train(paths, recipe, tracker, progress=lambda *_: None, options=IN_PROCESS)
    kept = tracker.params["kept_chunks"]
    assert tracker.params["chunk_tokens"] == 2048 and kept == 20, "on a CPU, all that a step can have"
    assert f"chunk_tokens 2048 by auto, kept_chunks {kept} by auto), 0 of them replayed" in caplog.text
    assert checkpoint.recipe(checkpoint.folder_of(paths.checkpoints, 1)) == recipe, "what was asked, for the next machine"
    assert not choice(tmp_path)["due"] and choice(tmp_path)["made_for"]["device"] == "cpu"


def test_a_cpu_s_room_is_the_rank_s_share_of_half_the_memory() -> None:
    node = Node(name="here", num_ranks=4, cores=8, host_bytes=80 * 2**30, hosts=("here",) * 4)
    assert run_chunks.room_of(node) == Room(kind="cpu", size=10 * 2**30, is_gpu=False)
