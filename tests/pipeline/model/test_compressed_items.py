"""Compressed items are kept, carried to another process and asked there; what does not fit the model is refused."""

import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.cache_size import CacheSize
from pipeline.errors import DataError
from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.compressed_items import CompressedItems
from pipeline.model.generation import Sampled
from pipeline.recipe import Recipe
from pipeline.sample import Side
from pipeline.sequence import conversation_context
from tests.conftest import ROOT
from tests.pipeline.corpus import SMALL, picture, sentence

QUESTIONS = ["what is red", "where", "what is the picture of a blue star top left"]
WARM = Sampled(temperature=1.3, top_p=0.9, seed=4)

ELSEWHERE = """
import json, sys
from dataclasses import replace
from pathlib import Path
from pipeline.inference import load_model
from pipeline.model.compressed_items import CompressedItems
from pipeline.model.generation import GREEDY
from tests.pipeline.model.test_compressed_items import QUESTIONS, WARM

model = replace(load_model(Path(sys.argv[1])), decode=str)
items = CompressedItems.load(Path(sys.argv[2]), fingerprint=model.fingerprint)
answers = [model.answer_from(items, QUESTIONS, max_new_tokens=8, decoding=decoding) for decoding in (GREEDY, WARM)]
print(json.dumps(answers))
"""


@pytest.fixture(scope="module")
def model(trained: Path, recipe: Recipe) -> EmbeddingModel:
    return replace(load_model(trained), decode=str)


@pytest.fixture(scope="module")
def items(model: EmbeddingModel) -> CompressedItems:
    rng = np.random.default_rng(5)
    return model.compress(
        [
            Side(text=f"<|image_1|>\n{sentence(rng)}", images=(picture(rng, 84, 56),)),
            Side(text=sentence(rng)),
            Side(images=(picture(rng),)),
        ]
    )


@pytest.fixture
def saved(items: CompressedItems, tmp_path: Path) -> Path:
    items.save(tmp_path / "items.safetensors")
    return tmp_path / "items.safetensors"


def test_another_process_answers_token_for_token_the_same(
    model: EmbeddingModel, items: CompressedItems, saved: Path, trained: Path
) -> None:
    command = [sys.executable, "-c", ELSEWHERE, str(trained), str(saved)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    answers = [model.answer_from(items, QUESTIONS, max_new_tokens=8, **how) for how in ({}, {"decoding": WARM})]
    assert json.loads(done.stdout.splitlines()[-1]) == answers
    assert len(set(answers[1])) == 3, "sampled answers must differ for this to show anything"
    assert not set(answers[0]) & set(answers[1])


def test_what_is_loaded_is_what_was_saved_bit_for_bit(items: CompressedItems, saved: Path) -> None:
    again = CompressedItems.load(saved, fingerprint=items.fingerprint)
    for name in items.__slots__:
        if name != "fingerprint":
            assert torch.equal(getattr(again, name), getattr(items, name)), name
    half = replace(items, keys=items.keys.bfloat16(), values=items.values.bfloat16())
    half.save(saved)
    assert torch.equal(CompressedItems.load(saved, fingerprint=items.fingerprint).keys, half.keys)


def test_each_item_adds_its_tokens_alone(items: CompressedItems, saved: Path, tmp_path: Path) -> None:
    """4 tokens, 2 layers, keys and values of 2 heads of 8 numbers of 4 bytes; SYSTEM lies in the file once."""
    assert (SMALL.layers, SMALL.kv_heads, SMALL.hidden // SMALL.heads, items.keys.shape[3]) == (2, 2, 8, 4)
    assert items.bytes_per_item == 4 * 2 * 2 * 2 * 8 * 4
    items.take([0, 1, 2, 0, 1, 2]).save(tmp_path / "six")
    rest = SMALL.hidden * 4 + 3 * 8  # embedding, position, name and count of each item
    growth = (tmp_path / "six").stat().st_size - saved.stat().st_size
    assert abs(growth - 3 * (items.bytes_per_item + rest)) < 64, "the header may grow by a few digits"


def test_the_kept_share_is_over_the_measured_context(items: CompressedItems) -> None:
    counted = replace(items, context_tokens=torch.tensor([1428, 1427, 1429]))
    assert counted.kept_share == pytest.approx(4 / 1428)
    assert items.context_tokens.tolist()[2] == 1 + 4 + 1, "a picture of 2 x 2 visual tokens between its two markers"


def test_what_is_kept_is_counted_as_it_is_read(model: EmbeddingModel) -> None:
    """Two routes: roles of rows without a pixel, and the caches that a pass leaves. A bare picture has its instruction."""
    rng = np.random.default_rng(7)
    one, other = Side(images=(picture(rng, 84, 56),)), Side(text=sentence(rng))
    asked = [one, one, one, other]
    read = model.compress([conversation_context(side, model.builder.layout) for side in asked])
    size = model.cache_size(asked)
    assert (size.system, size.compression) == (read.system_keys.shape[2], read.keys.shape[3])
    assert size.context == pytest.approx(float(read.context_tokens.double().mean()))
    assert size.share == pytest.approx(read.kept_share)
    assert CacheSize(system=25, compression=16, context=1428).share == pytest.approx(0.0112, abs=5e-5), "as the paper prints it"
    assert CacheSize(system=25, compression=16, context=375).share_with_system == pytest.approx(41 / 400)
    with pytest.raises(DataError, match="no contexts"):
        model.cache_size([])


def test_the_next_position_is_that_of_the_whole_row(model: EmbeddingModel) -> None:
    """56 x 84 pixels: 2 x 3 visual tokens, which move the text on by 3 positions, not by 6."""
    rng = np.random.default_rng(0)
    one = model.compress([Side(images=(picture(rng, 84, 56),))])
    system = len(model.builder.system_ids())
    assert one.context_tokens.tolist() == [8]
    assert one.positions.tolist() == [system + 1 + 3 + 1 + 4]


@pytest.mark.parametrize("share", [0.0, 0.001, 0.1, 0.5, 0.999])
def test_a_truncated_file_is_refused(items: CompressedItems, saved: Path, share: float) -> None:
    content = saved.read_bytes()
    saved.write_bytes(content[: int(len(content) * share)])
    with pytest.raises(DataError, match=r"items\.safetensors: not a whole file .*; compress the items again"):
        CompressedItems.load(saved, fingerprint=items.fingerprint)


@pytest.mark.parametrize("place", [4, 20, 300, -1, -5000])
def test_a_changed_byte_is_refused(items: CompressedItems, saved: Path, place: int) -> None:
    content = bytearray(saved.read_bytes())
    content[place] ^= 1
    saved.write_bytes(content)
    with pytest.raises(DataError, match=r"items\.safetensors: .*; compress the items again"):
        CompressedItems.load(saved, fingerprint=items.fingerprint)


def test_missing_and_foreign_files_are_refused(saved: Path, tmp_path: Path, model_folder: Path) -> None:
    for path in (tmp_path / "nowhere", tmp_path, model_folder / "model.safetensors", model_folder / "config.json"):
        with pytest.raises(DataError, match="compress the items again"):
            CompressedItems.load(path, fingerprint="")


def test_items_of_another_model_are_refused_in_one_line(
    model: EmbeddingModel, items: CompressedItems, saved: Path, model_folder: Path, recipe: Recipe
) -> None:
    other = load_model(model_folder, recipe=recipe)
    with pytest.raises(DataError, match="made by another model") as refused:
        CompressedItems.load(saved, fingerprint=other.fingerprint)
    assert str(refused.value).startswith(str(saved)) and "\n" not in str(refused.value)
    with pytest.raises(DataError, match="made by another model"):
        other.answer_from(items, QUESTIONS)
    assert len(CompressedItems.load(saved, fingerprint=model.fingerprint)) == 3


def test_memory_of_items_is_that_of_a_whole_read(model: EmbeddingModel, items: CompressedItems) -> None:
    """SYSTEM of the first item serves all: put together again, each row is what reading it alone would have kept."""
    memory = items.memory(torch.device("cpu"))
    system = len(model.builder.system_ids())
    assert memory.keys[0].shape == (3, 2, system + 4, 8)
    assert bool(memory.seen.all())
    assert torch.equal(memory.keys[1][2, :, :system], items.system_keys[1])
    assert torch.equal(memory.values[1][2, :, system:], items.values[2, 1])
