"""Two ranks train the tower of each family, and one of them has no picture: gradients of the full batch, and no rank waits."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_prep.tiny_model import build_tiny_model
from pipeline.recipe import Family
from tests.pipeline.corpus import SMALL, TEXTS
from tests.pipeline.train.ranks import family_recipe
from tests.pipeline.train.test_step import plain_gradients, run_ranks, worst

FAMILIES: tuple[Family, ...] = ("qwen2_5_vl", "qwen3_vl", "internvl")
"""All but Qwen2-VL, which tests/pipeline/train/test_step.py trains."""

CASES = [(family, stage) for family in FAMILIES for stage in (2, 3)]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("families")
    for family in FAMILIES:
        build_tiny_model(folder / family, TEXTS, replace(SMALL, family=family), seed=0)
    return folder


@pytest.fixture(scope="module")
def two_ranks(folders: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("ranks")
    run_ranks({"folder": str(folders), "families": CASES}, out)
    return out


@pytest.mark.parametrize(("family", "stage"), CASES)
def test_a_text_only_rank_beside_one_with_pictures(two_ranks: Path, folders: Path, family: Family, stage: int) -> None:
    found = torch.load(two_ranks / f"{family}-{stage}.pt", weights_only=True)
    (_, _, pictures), (_, _, none) = found["shares"]
    assert pictures > none == 0
    expected = plain_gradients(folders / family, family_recipe(family, 0).with_phase(kept_chunks=0))
    parts = ("vision", "projector") if family == "internvl" else ("visual",)
    for part in parts:
        assert max(float(gradient.norm()) for name, gradient in expected.items() if part in name) > 1e-6
    assert worst(found["gradients"], expected) < 1e-5
