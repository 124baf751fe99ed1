"""Models as they are loaded: number type, device, and a fingerprint that names everything answers depend on."""

import re
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.errors import CheckpointError, ConfigError, DataError
from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.generation import Sampled
from pipeline.recipe import Recipe
from pipeline.sample import Side
from tests.pages import lines_between
from tests.pipeline.corpus import picture, sentence
from tests.pipeline.variants import no_tokens

QUESTIONS = ["what is red", "where", "what is the picture of a blue star top left"]
WARM = Sampled(temperature=1.3, top_p=0.9)


def sides() -> list[Side]:
    rng = np.random.default_rng(5)
    return [
        Side(text=f"<|image_1|>\n{sentence(rng)}", images=(picture(rng, 84, 56),)),
        Side(text=sentence(rng)),
        Side(images=(picture(rng),)),
    ]


@pytest.fixture(scope="module")
def model(trained: Path, recipe: Recipe) -> EmbeddingModel:
    return replace(load_model(trained), decode=str)


def test_one_pass_gives_the_embeddings_and_the_answers_of_two(model: EmbeddingModel) -> None:
    items = model.compress(sides())
    np.testing.assert_allclose(items.embeddings.numpy(), model.embed(sides()), atol=1e-6)
    asked = [sides()[place] for place in (1, 0, 0)]
    answers = model.answer_from(items.take([1, 0, 0]), QUESTIONS, decoding=WARM)
    assert answers == model.answer(asked, QUESTIONS, compressed=True, decoding=WARM)
    assert len(set(answers)) == 3


def test_the_readme_s_lines_compress_save_and_answer(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    lines = lines_between("lines that compress")
    (path,) = re.findall(r'load_model\(Path\("(.*?)"\)\)', lines)
    (tmp_path / path).parent.mkdir(parents=True)
    (tmp_path / path).symlink_to(trained)
    (tmp_path / "bird.png").write_bytes(sides()[0].images[0])
    monkeypatch.chdir(tmp_path)
    exec(compile(lines, "python.md", "exec"), {})
    assert len(capsys.readouterr().out.splitlines()) == 4, "a table of two by two, and two lists of answers"


def test_many_items_come_back_in_their_order(model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch) -> None:
    """Chunks are cut by length; results stand where their sides stood."""
    monkeypatch.setattr("pipeline.answer_batches.CHUNK_TOKENS", 60)
    monkeypatch.setattr("pipeline.answer_batches.ANSWERED_ROWS", 2)
    many = [*sides(), *reversed(sides())]
    items = model.compress(many)
    np.testing.assert_allclose(items.embeddings[:3], items.embeddings[3:].flip(0), atol=1e-6)
    np.testing.assert_allclose(model.embed(many), items.embeddings, atol=1e-6)
    assert items.context_tokens.tolist() == items.context_tokens.tolist()[::-1]
    for compressed in (True, False):
        answers = model.answer(many, [*QUESTIONS, *reversed(QUESTIONS)], compressed=compressed, decoding=WARM)
        assert answers == answers[::-1]
        assert len(set(answers)) == 3


def test_a_model_without_compression_tokens_compresses_nothing(model: EmbeddingModel) -> None:
    without = replace(model, recipe=no_tokens(model.recipe))
    with pytest.raises(ConfigError, match=r"tokens\.count: recipe tiny has no compression tokens to answer from"):
        without.compress(sides())


def test_nothing_to_compress_and_questions_without_items_are_refused(model: EmbeddingModel) -> None:
    with pytest.raises(DataError, match="no sides"):
        model.compress([])
    with pytest.raises(DataError, match="3 questions about 2 items"):
        model.answer_from(model.compress(sides()[:2]), QUESTIONS)
    assert model.answer([], [], compressed=True) == model.answer([], [], compressed=False) == []


def test_bfloat16_is_near_float32_and_named_in_the_fingerprint(model: EmbeddingModel, trained: Path, recipe: Recipe) -> None:
    half = load_model(trained, dtype="bfloat16")
    assert half.fingerprint != model.fingerprint
    assert half.compress(sides()).keys.dtype == torch.bfloat16
    similarity = (half.embed(sides()) * model.embed(sides())).sum(axis=1)
    assert half.embed(sides()).dtype == np.float32
    assert (similarity > 0.99).all() and (similarity < 1 - 1e-7).any()
    assert len(half.answer(sides(), QUESTIONS, compressed=True, max_new_tokens=3)) == 3


def test_a_device_that_is_not_there_is_refused_before_anything_loads(recipe: Recipe) -> None:
    with pytest.raises(ConfigError, match=r"device: cuda:99 cannot be used .*; use cpu"):
        load_model(Path("nowhere"), recipe=recipe, device="cuda:99")


@pytest.mark.gpu
def test_a_gpu_gives_what_the_cpu_gives(model: EmbeddingModel, trained: Path, recipe: Recipe) -> None:
    there = replace(load_model(trained, device="cuda"), decode=str)
    assert there.device.type == "cuda"
    assert there.fingerprint == model.fingerprint
    np.testing.assert_allclose(there.embed(sides()), model.embed(sides()), atol=1e-4)
    items = there.compress(sides())
    assert items.keys.device.type == "cpu"
    torch.testing.assert_close(items.keys, model.compress(sides()).keys, atol=1e-3, rtol=1e-3)
    for compressed in (True, False):
        answers = there.answer(sides(), QUESTIONS, compressed=compressed, max_new_tokens=4)
        assert answers == model.answer(sides(), QUESTIONS, compressed=compressed, max_new_tokens=4)


def test_a_side_longer_than_training_s_cap_is_embedded_and_answered(model: EmbeddingModel, recipe: Recipe) -> None:
    """Several pictures of a question may pass the cap; what comes first must not change with the cap."""
    long = Side(text="red " * (recipe.max_length + 100))
    assert np.isfinite(model.embed([long])).all()
    assert len(model.answer([long], ["what"], compressed=False)) == len(model.answer([long], ["what"], compressed=True)) == 1


def test_values_of_the_machine_alone_do_not_refuse_a_checkpoint(trained: Path, recipe: Recipe) -> None:
    phase = replace(recipe.phase, zero_stage=2, chunk_tokens=999, keep_every=7)
    assert load_model(trained, recipe=replace(recipe, phases=(phase,))).recipe == recipe
    other = replace(recipe, phases=(replace(phase, steps=phase.steps + 1),))
    with pytest.raises(CheckpointError, match=r"trained with phases\.0\.steps"):
        load_model(trained, recipe=other)


def test_more_sides_than_are_decoded_at_once_come_back_in_their_order(
    model: EmbeddingModel, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = sides() * 3
    embeddings, answers = model.embed(given), model.answer(given, QUESTIONS * 3, compressed=False)
    monkeypatch.setattr("pipeline.answer_batches.DECODED_SIDES", 2)
    np.testing.assert_allclose(model.embed(given), embeddings, atol=1e-5)
    np.testing.assert_allclose(model.compress(given).embeddings.numpy(), embeddings, atol=1e-5)
    assert model.answer(given, QUESTIONS * 3, compressed=False) == answers


def test_the_fingerprint_names_weights_settings_tokenizer_and_recipe(
    model: EmbeddingModel, trained: Path, model_folder: Path, recipe: Recipe, tmp_path: Path
) -> None:
    """One changed byte in any file that decides what is computed, or one changed field, gives another fingerprint."""

    def of(folder: Path, recipe: Recipe) -> str:
        return load_model(folder, recipe=recipe).fingerprint

    found = [model.fingerprint, of(model_folder, recipe), of(model_folder, replace(recipe, seed=1))]
    for name in ("model.safetensors", "tokenizer.json", "preprocessor_config.json", "config.json"):
        folder = tmp_path / name
        shutil.copytree(model_folder, folder)
        content = (folder / name).read_bytes()
        changed = content[:-1] + bytes([content[-1] ^ 1]) if name.endswith("safetensors") else content + b"\n"
        (folder / name).write_bytes(changed)
        found.append(of(folder, recipe))
    assert len(set(found)) == len(found)
    assert of(trained, recipe) == model.fingerprint
