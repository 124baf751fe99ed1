"""`crem train --dry-run`: everything a run would be, from a config alone, and one line where it cannot fit."""

import json
import re
from pathlib import Path

import pytest

from data_prep.published_shapes import write_config
from data_prep.tiny_model import build_tiny_model
from tests.launchers.test_cli import Run, crem
from tests.pipeline.corpus import SMALL, TEXTS

__all__ = ["crem"]


def test_a_dry_run_prints_recipe_deepspeed_memory_and_hours(crem: Run, tmp_path: Path) -> None:
    folder = write_config(tmp_path / "2b", "Qwen2-VL-2B-Instruct")
    machines = ("--dry-run", "--gpus", "4", "--gpu", "a800-80g", "--visual-tokens", "256", "--model-folder", str(folder))
    code, out, err = crem("train", "--recipe", "crem_2b", "--set", "phases.0.zero_stage=3", "--work", "work", *machines)
    assert (code, err) == (0, "")
    recipe, rest = out.split("\nphase joint, DeepSpeed:\n")
    assert json.loads(recipe)["phases"][0]["zero_stage"] == 3
    settings, tables = rest.split("\n\n", 1)
    assert json.loads(settings)["zero_optimization"]["stage"] == 3 and json.loads(settings)["train_batch_size"] == 4
    assert re.search(r"a100-40g [\d,]+ and 0; .*h200-141g 24,576 and 0", tables), "ZeRO-3 keeps no graph"
    for part in ("weights", "gradients", "optimizer", "activations", "feature cache", "in all", "PFLOPs", "hours"):
        assert part in tables
    assert not (tmp_path / "work").exists(), "nothing is written"

    code, out, err = crem("train", "--recipe", "crem_2b", "--work", "work", *machines, "--set", "phases.0.chunk_tokens=99999")
    assert code == 1 and "in all" in out
    assert err.startswith("error: crem_2b needs ") and err.count("\n") == 1 and "phases.0.chunk_tokens" in err


def test_a_dry_run_of_a_published_shape_needs_no_folder(crem: Run, tmp_path: Path) -> None:
    """`crem rehearse` says what `crem train` does with a folder of that shape, and leaves nothing behind."""
    folder = write_config(tmp_path / "2b", "Qwen2-VL-2B-Instruct")
    chunks = ("--set", "phases.0.chunk_tokens=12288", "--set", "phases.0.kept_chunks=1")  # or eight kinds of GPU are planned for
    given = ("--recipe", "crem_2b", *chunks, "--work", "work", "--dry-run")
    machines = ("--gpus", "4", "--gpu", "a800-80g")
    _, expected, _ = crem("train", *given, *machines, "--model-folder", str(folder))
    assert crem("rehearse", *given, "--processes", "4", "--gpu", "a800-80g") == (0, expected, "")
    assert "phase joint" in expected and "2,213.4 M weights, 4.38 M of them trained" in expected and "auto, " not in expected
    assert not (tmp_path / "work").exists()


def test_a_dry_run_of_a_tiny_model_needs_the_model(crem: Run) -> None:
    code, _, err = crem("rehearse", "--recipe", "tiny", "--work", "work", "--dry-run")
    assert (code, err) == (1, "error: work/model: no model there yet; run crem model first\n")


def test_a_dry_run_adds_up_the_hours_of_all_phases(crem: Run, tmp_path: Path) -> None:
    """Each phase by itself, and one that is named alone."""
    (tmp_path / "two.py").write_text(TWO_PHASES)
    build_tiny_model(model_folder := tmp_path / "model", TEXTS, SMALL, seed=0)
    shared = ("--recipe", str(tmp_path / "two.py:two"), "--work", "work", "--dry-run", "--model-folder", str(model_folder))
    code, out, _ = crem("train", *shared)
    hours = [float(found) for found in re.findall(r"([\d.]+) hours for [35],000,000,000 steps", out)]
    (total,) = re.findall(r"all 2 phases: ([\d.]+) hours", out)
    assert code == 0 and len(hours) == 2 and float(total) == pytest.approx(sum(hours), abs=0.11) and hours[1] > hours[0] > 0
    assert re.findall(r"phase (\w+), DeepSpeed", out) == ["first", "second"]
    code, out, _ = crem("train", *shared, "--phase", "first")
    assert code == 0 and re.findall(r"phase (\w+), DeepSpeed", out) == ["first"] and "phases:" not in out


TWO_PHASES = """
from dataclasses import replace
from tests.pipeline.corpus import small_recipe


def two():
    recipe = small_recipe()
    first = replace(recipe.phase, name="first", steps=3_000_000_000)
    return replace(recipe, phases=(first, replace(first, name="second", steps=5_000_000_000)))
"""


def test_a_dry_run_needs_a_folder(crem: Run) -> None:
    code, _, err = crem("train", "--recipe", "crem_2b", "--work", "work", "--dry-run", "--model-folder", "nowhere")
    assert code == 1 and err.startswith("error: nowhere: no config.json") and err.count("\n") == 1
