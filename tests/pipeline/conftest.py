"""A two-layer random model folder and rows over it, shared by the tests of the library."""

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from data_prep.tiny_model import build_tiny_model
from pipeline.manifest import canonical_json
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.sequence import SequenceBuilder
from pipeline.train import checkpoint
from pipeline.train.build import build_embedder, chorus_ids
from tests.pipeline.corpus import SMALL, TEXTS, small_recipe

if TYPE_CHECKING:
    from tests.pipeline.exports import Case


def disturb(embedder: Embedder) -> None:
    """Random biases and gains, so that no test passes because a weight happens to be zero or one."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in embedder.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.05)


def build_disturbed(*given: Any, **named: Any) -> tuple[Embedder, Folder]:
    """A model in training mode none of whose weights is zero or one: adapters add something from the first step on."""
    embedder, folder = build_embedder(*given, **named)
    disturb(embedder)
    return embedder.train(), folder


def save_checkpoint(folder: Path, weights: dict[str, torch.Tensor], recipe: Recipe, model_folder: Path) -> Path:
    """A checkpoint folder of weights that no training made."""
    state = checkpoint.State(
        step=1,
        recipe=recipe.name,
        recipe_fingerprint=recipe_fingerprint(recipe),
        data_fingerprint="",
        model_folder=str(model_folder),
        digests={},
    )
    checkpoint.save(folder, weights, {}, state, canonical_json(recipe))
    return folder


@pytest.fixture(scope="session")
def recipe() -> Recipe:
    return small_recipe()


@pytest.fixture(scope="session")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny")
    build_tiny_model(folder, TEXTS, SMALL, seed=0)
    return folder


@pytest.fixture(scope="session")
def untied_folder(model_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same model with a head of its own, as the published 7B models have."""
    folder = tmp_path_factory.mktemp("untied") / "model"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["tie_word_embeddings"] = config["text_config"]["tie_word_embeddings"] = False
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    (table,) = (tensor for name, tensor in tensors.items() if name.endswith("embed_tokens.weight"))
    head = torch.randn(table.shape, generator=torch.Generator().manual_seed(2)) * table.std()
    save_file({**tensors, "lm_head.weight": head}, folder / "model.safetensors", metadata={"format": "pt"})
    return folder


@pytest.fixture(scope="session")
def loaded(model_folder: Path, recipe: Recipe) -> tuple[Embedder, Folder]:
    embedder, folder = build_embedder(model_folder, recipe, dtype=torch.float32)
    disturb(embedder)
    return embedder, folder


@pytest.fixture(scope="session")
def embedder(loaded: tuple[Embedder, Folder]) -> Embedder:
    return loaded[0]


@pytest.fixture(scope="session")
def builder(loaded: tuple[Embedder, Folder], recipe: Recipe) -> SequenceBuilder:
    vocabulary = loaded[1].vocabulary(chorus_ids(loaded[1], recipe))
    return SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)


@pytest.fixture(scope="session")
def trained(loaded: tuple[Embedder, Folder], recipe: Recipe, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A checkpoint folder that holds all weights of `embedder`."""
    weights = {name: parameter.detach() for name, parameter in loaded[0].named_parameters()}
    return save_checkpoint(tmp_path_factory.mktemp("trained") / "step-00000006", weights, recipe, loaded[1].path)


@pytest.fixture(scope="session")
def exported_cases(
    model_folder: Path, untied_folder: Path, recipe: Recipe, tmp_path_factory: pytest.TempPathFactory
) -> "dict[str, Case]":
    """Every case of tests/pipeline/exports.py, exported once."""
    from tests.pipeline.exports import make_cases

    return make_cases(tmp_path_factory.mktemp("exports"), model_folder, untied_folder, recipe)
