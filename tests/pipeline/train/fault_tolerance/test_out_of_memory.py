"""A GPU that runs out of memory: one line that names what a run may go on with."""

import re
from pathlib import Path

import pytest
import torch

from pipeline.model.adapters import LoRA
from pipeline.overrides import override
from pipeline.recipe_json import NEUTRAL, course_fingerprint
from pipeline.train import loop
from pipeline.train.fault_tolerance.out_of_memory import OutOfMemoryError, naming_settings
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.test_loop import corpus_in_memory, run  # noqa: F401

SAID = "CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total capacity of 79.25 GiB of which 1.00 GiB is free.\nMore."
FULL_GPU = torch.OutOfMemoryError(SAID)


def test_the_line_names_what_may_change_on_resume(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RANK", "3")
    recipe = small_recipe(kept_chunks=2, zero_stage=1).with_phase(adapter=LoRA(), tower="frozen")
    with pytest.raises(OutOfMemoryError) as error, naming_settings(recipe):
        raise FULL_GPU
    said = str(error.value)
    assert said.startswith("rank 3: CUDA out of memory. Tried to allocate 2.00 GiB; ") and "\n" not in said
    named = re.findall(r"phases\.0\.(\w+)=(\w+)", said)
    assert named == [
        ("chunk_tokens", "200"), ("kept_chunks", "0"), ("features", "host"),
        ("gradient_checkpointing", "true"), ("zero_stage", "2"),
    ]  # fmt: skip
    assert {name for name, _ in named} <= set(NEUTRAL)
    lower = override(recipe, [f"phases.0.{name}={value}" for name, value in named])
    assert lower != recipe and course_fingerprint(lower) == course_fingerprint(recipe)


def test_what_is_low_already_is_not_named() -> None:
    recipe = small_recipe(zero_stage=3, gradient_checkpointing=True).with_phase(tower="trained")
    with pytest.raises(OutOfMemoryError, match=r"--set phases\.0\.chunk_tokens=200$"), naming_settings(recipe):
        raise FULL_GPU


def test_a_step_without_memory_ends_the_run_in_that_line(
    model_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_memory(*_: object) -> None:
        raise FULL_GPU

    monkeypatch.setattr(loop, "train_step", no_memory)
    with pytest.raises(OutOfMemoryError, match=r"phases\.0\.chunk_tokens"):
        run(tmp_path, model_folder, small_recipe())
