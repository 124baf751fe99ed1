"""The layer over a real model: what an embedding depends on, and which calls a change costs."""

import io
import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from pipeline.encode.encode import encode
from pipeline.encode.encoder import Reader
from pipeline.encode.share import Encoding
from pipeline.inference import EmbeddingModel, load_model, load_untrained
from pipeline.recipe import Recipe
from pipeline.sample import Side
from tests.pipeline.corpus import picture, sentence


def sides() -> list[Side]:
    """Twelve of very different lengths, with small and large pictures and none."""
    rng = np.random.default_rng(5)
    mixed = [Side(text=f"<|image_1|>\n{sentence(rng)}", images=(picture(rng, 56 + 28 * number, 84),)) for number in range(4)]
    words = [Side(text=" ".join(sentence(rng) for _ in range(1 + number % 3))) for number in range(5)]
    return [
        *mixed,
        *words,
        Side(images=(picture(rng),)),
        Side(instruction="<|image_1|>\n", images=(picture(rng),)),
        Side(text="a"),
    ]


@dataclass
class Counting:
    """An encoder that counts the sides it is asked to embed."""

    model: EmbeddingModel
    asked: list[int] = field(default_factory=list)

    @property
    def encoder_fingerprint(self) -> str:
        return self.model.encoder_fingerprint

    @property
    def reader(self) -> Reader:
        return self.model.reader

    def embed_batch(self, batch: Any) -> np.ndarray:
        self.asked.append(len(batch.slots))
        return self.model.embed_batch(batch)


def calls(model: EmbeddingModel, given: Sequence[Side], cache: Path) -> int:
    """Sides that are embedded anew."""
    counting = Counting(model)
    encode(counting, given, what="test", how=Encoding(cache=cache))
    return sum(counting.asked)


@pytest.fixture(scope="module")
def model(trained: Path) -> EmbeddingModel:
    return load_model(trained)


def test_an_embedding_depends_on_its_side_alone(model: EmbeddingModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    given, how = sides(), Encoding(cache=tmp_path, workers=2)
    alone = np.concatenate([model.embed([side]) for side in given])
    assert len(np.unique(alone.round(4), axis=0)) == len(given)
    np.testing.assert_allclose(encode(model, given, what="one batch"), alone, atol=1e-5)
    monkeypatch.setattr("pipeline.encode.workload.BATCH_SIDES", 3)
    np.testing.assert_allclose(encode(model, given[::-1], what="small batches", how=how)[::-1], alone, atol=1e-5)
    for found in (encode(model, given, what="found again", how=how), encode(model, given[5:], what="a part", how=how)):
        np.testing.assert_allclose(found, alone[-len(found) :], atol=1e-5)


def test_the_reader_counts_tokens_as_the_row_has_them(model: EmbeddingModel) -> None:
    for side in sides():
        assert model.reader.reading(side).tokens == len(model.reader.row(side, slot=0).sequence)


def test_a_change_costs_exactly_what_it_touches(model_folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    given = sides()
    assert calls(load_untrained(model_folder, recipe), given, tmp_path) == len(given)
    assert calls(load_untrained(model_folder, recipe), given, tmp_path) == 0
    limits = replace(recipe.pixels, max_tokens=11)
    fewer = load_untrained(model_folder, replace(recipe, pixels=limits))
    changed = [side for side in given if model_sizes(side, recipe) != model_sizes(side, replace(recipe, pixels=limits))]
    assert 0 < len(changed) < 6
    assert calls(fewer, given, tmp_path) == len(changed)
    prompt = recipe.with_phase(layout=replace(recipe.phase.layout, system="You see."))
    assert calls(load_untrained(model_folder, prompt), given, tmp_path) == len(given)
    other = shutil.copytree(model_folder, tmp_path / "other")
    weights = (other / "model.safetensors").read_bytes()
    (other / "model.safetensors").write_bytes(weights[:-1] + bytes([weights[-1] ^ 1]))
    assert calls(load_untrained(other, recipe), given, tmp_path) == len(given)
    assert calls(load_untrained(model_folder, recipe, dtype="bfloat16"), given, tmp_path) == len(given)
    assert calls(load_untrained(model_folder, recipe), given, tmp_path) == 0


def model_sizes(side: Side, recipe: Recipe) -> list[tuple[int, int]]:
    """Sizes at which the pictures are shown, by the pictures themselves."""
    opened = [Image.open(io.BytesIO(encoded)) for encoded in side.images]
    return [recipe.pixels.resized(each.height, each.width) for each in opened]


def test_changed_weights_and_fewer_tokens_are_other_encoders(trained: Path, model: EmbeddingModel, tmp_path: Path) -> None:
    given = sides()[:3]
    assert calls(model, given, tmp_path) == calls(model.with_tokens(1), given, tmp_path) == 3
    assert calls(model, given, tmp_path) == 0
