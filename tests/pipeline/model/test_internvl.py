"""InternVL3: pictures as tiles and a thumbnail, positions that count up, and the oracles of the other families."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import GotOcr2ImageProcessorPil

from data_prep.tiny_model import TILE_PIXELS, build_tiny_model
from jobs.mine import shown_as
from pipeline.batch import Row, pack, row_places
from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import EmbeddingModel
from pipeline.manifest import canonical_json
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Folder, load_weights, open_folder
from pipeline.model.embedder import Embedder
from pipeline.model.inputs import View, load_pixels
from pipeline.model.shrinkers import AveragePool, Bilinear, KeepAll, Shrinker
from pipeline.model.tiles import TileCutter, Tiles
from pipeline.overrides import override
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_from_json
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.token_counts import Ruler
from pipeline.train.forecast.trace import outline_embedder
from tests.pipeline.conftest import disturb
from tests.pipeline.corpus import SMALL, TEXTS, corpus, picture, sentence
from tests.pipeline.model.test_generation import (  # noqa: F401
    contexts,
    model,
    test_answers_and_their_logits_equal_whole_forward_passes,
    test_batched_answers_equal_single_ones_and_differ_from_native,
)
from tests.pipeline.model.test_shrinkers import shrunk_plane
from tests.pipeline.model.test_token_attention import test_weights_are_those_of_transformers_own_forward  # noqa: F401
from tests.pipeline.own_forward import own_states

TILES = Tiles(side=TILE_PIXELS, max_tiles=4)
SIZES = [(56, 56), (150, 90), (60, 200), (300, 300)]
"""Width and height of pictures of 1 tile, and of 6, 4 or 5 with the thumbnail."""


@pytest.fixture(scope="module")
def recipe(recipe: Recipe) -> Recipe:
    return replace(recipe, pixels=TILES)


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("tiny-internvl")
    build_tiny_model(folder, TEXTS, replace(SMALL, family="internvl"), seed=0)
    return folder


@pytest.fixture(scope="module")
def loaded(model_folder: Path, recipe: Recipe) -> tuple[Embedder, Folder]:
    embedder, folder = build_embedder(model_folder, recipe, dtype=torch.float32)
    disturb(embedder)
    return embedder, folder


@pytest.fixture(scope="module")
def embedder(loaded: tuple[Embedder, Folder]) -> Embedder:
    return loaded[0]


@pytest.fixture(scope="module")
def builder(loaded: tuple[Embedder, Folder], recipe: Recipe) -> SequenceBuilder:
    vocabulary = loaded[1].vocabulary(chorus_ids(loaded[1], recipe))
    return SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)


def rows_of(builder: SequenceBuilder, counts: tuple[int, ...]) -> list[Row]:
    """A row of the first so many pictures for each count, in one company."""
    rng, rows = np.random.default_rng(0), []
    encoded = [picture(rng, *size) for size in SIZES]
    for slot, count in enumerate(counts):
        pixels = tuple(load_pixels(each, TILES, where="test") for each in encoded[:count])
        grids = np.array([TILES.grid_of(*each.shape[1:]) for each in pixels], dtype=np.int64).reshape(-1, 3)
        side = Side(text=sentence(rng), images=tuple(encoded[:count]))
        turns = [Turn(question=sentence(rng), answer=sentence(rng))]
        sequence = builder.build(side, grids, turns)
        rows.append(Row(key=str(slot), sequence=sequence, pixels=pixels, compressed=False, slot=slot))
    return rows


@settings(max_examples=40, deadline=None)
@given(width=st.integers(1, 300), height=st.integers(1, 300), most=st.integers(1, 12), seed=st.integers(0, 9))
def test_tiles_are_the_processors_bit_for_bit(width: int, height: int, most: int, seed: int) -> None:
    picture = Image.fromarray(np.random.default_rng(seed).integers(0, 255, (height, width, 3), dtype=np.uint8))
    file = io.BytesIO()
    picture.save(file, "PNG")
    size = {"height": TILE_PIXELS, "width": TILE_PIXELS}
    processor = GotOcr2ImageProcessorPil(size=size, crop_to_patches=True, max_patches=most)
    expected, tiles = processor(picture, return_tensors="pt"), Tiles(side=TILE_PIXELS, max_tiles=most)
    pixels = load_pixels(file.getvalue(), tiles, where="test")
    cut = TileCutter(mean=tuple(processor.image_mean), std=tuple(processor.image_std))(torch.from_numpy(pixels)[None])
    assert tiles.grid(height, width) == tiles.grid_of(*pixels.shape[1:]) == (int(expected["num_patches"][0]), 4, 4)
    assert torch.equal(cut, expected["pixel_values"])


def test_tiles_worked_by_hand() -> None:
    """A page of 2 : 1 in at most 4 tiles of 448: 2 below each other, and a thumbnail: 3 x 256 visual tokens; 64 a tile shrunk."""
    tiles = Tiles(max_tiles=4)
    assert tiles.canvas(2000, 1000) == (2, 1) and tiles.grid(2000, 1000) == (3, 32, 32)
    assert tiles.grid(448, 448) == (1, 32, 32), "a small square is one tile: four would be more than twice its pixels"
    assert tiles.grid(1000, 1000) == (5, 32, 32) and tiles.max_tokens == 1280 and Tiles(max_tiles=1).max_tokens == 256
    named = Tiles(max_tiles=1, by_phase=(("restore", 4),), by_dataset=(("DocVQA", 6),))
    found = {(p, d): named.of(p, d).max_tiles for p in ("restore", "warm") for d in ("DocVQA", "MSCOCO")}
    assert found == {("restore", "DocVQA"): 4, ("restore", "MSCOCO"): 4, ("warm", "DocVQA"): 6, ("warm", "MSCOCO"): 1}
    assert named.max_tokens == 7 * 256
    assert tiles.within(256, 1280) is tiles
    with pytest.raises(ConfigError, match=r"4 to 1280 visual tokens: the model sees tiles of 256; set pixels\.max_tiles"):
        tiles.within(4, 1280)
    with pytest.raises(ConfigError, match=r"pixels\.side: 450 is not a multiple"):
        Tiles(side=450)


def test_a_view_moves_all_tiles_and_keeps_their_number() -> None:
    """A crop is shown at the whole picture's tiles: the left half, twice as wide, is what is seen."""
    halves = np.zeros((112, 224, 3), dtype=np.uint8)
    halves[:, 112:] = 255
    whole = TILES.show(Image.fromarray(halves))
    left = TILES.show(Image.fromarray(halves), View(width=0.4))
    assert whole.shape == left.shape == (3, 3 * 56, 56) and whole.max() == 255 and left.max() == 0


def test_states_are_those_of_transformers_own_forward(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """Rows with none, one and several pictures, of one tile and of several, packed, against the whole model by itself."""
    rows = rows_of(builder, (0, 1, 2, 4))
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    assert batch.position_ids.shape == (1, len(batch.input_ids)) and len(set(batch.grid_thw[:, 0].tolist())) >= 3
    with torch.no_grad():
        states = embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
    for row, place in zip(rows, row_places(rows), strict=True):
        torch.testing.assert_close(states[place], own_states(embedder, row), atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("shrinker", [Bilinear(2.0), AveragePool(2.0), Bilinear(1.0)], ids=str)
def test_tiles_are_shrunk_before_the_shuffle(embedder: Embedder, shrinker: Shrinker) -> None:
    """Another road: patches as they leave the tower, shrunk point by point, 2 x 2 of them by hand in the shuffle's order."""
    backbone, tower = embedder.backbone, embedder.backbone.tower
    tiles = torch.randn(3, 3, TILE_PIXELS, TILE_PIXELS, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        found = backbone.family.features(tower, tiles, torch.tensor([(3, 4, 4)]), shrinker)
        states = tower.vision_tower(pixel_values=tiles).last_hidden_state[:, 1:].reshape(3, 4, 4, -1)
        side = 2 * int(shrinker.side(np.array(2)))
        rows = []
        for tile in states.numpy():
            small = shrunk_plane(tile, side, side, shrinker)
            for y in range(0, side, 2):
                for x in range(0, side, 2):
                    rows.append(np.concatenate([small[y, x], small[y, x + 1], small[y + 1, x], small[y + 1, x + 1]]))
        expected = tower.projector(torch.from_numpy(np.stack(rows)).float())
        whole = backbone.family.features(tower, tiles, torch.tensor([(3, 4, 4)]), KeepAll())
    torch.testing.assert_close(found, expected, atol=1e-5, rtol=1e-5)
    assert len(whole) == 12 and (len(found) == 3 or torch.allclose(found, whole, atol=1e-5))


def test_the_published_layout_loads_with_nothing_missing_or_unexpected(model_folder: Path, tmp_path: Path) -> None:
    """bfloat16, `rope_theta` beside the text's other values, tensors by the names of transformers' class of before."""
    folder = tmp_path / "published"
    shutil.copytree(model_folder, folder)
    config = json.loads((folder / "config.json").read_text())
    config["text_config"]["rope_theta"] = config["text_config"].pop("rope_parameters")["rope_theta"]
    (folder / "config.json").write_text(json.dumps(config))
    tensors = load_file(folder / "model.safetensors")
    old = {}
    for name, tensor in tensors.items():
        name = name.replace("model.language_model.", "language_model.model.") if "language_model" in name else name
        old[name.replace("model.vision_tower.", "vision_tower.").replace("model.multi_modal", "multi_modal")] = tensor.bfloat16()
    assert any(name.startswith("language_model.model.") for name in old)
    save_file(old, folder / "model.safetensors", metadata={"format": "pt"})
    found: Any = load_weights(folder, dtype=torch.float32)
    own: Any = load_weights(model_folder, dtype=torch.float32)
    assert set(found.state_dict()) == set(own.state_dict())
    for name, tensor in found.state_dict().items():
        torch.testing.assert_close(tensor, own.state_dict()[name].bfloat16().float(), atol=0, rtol=0)


def test_folders_that_are_not_read_are_refused_by_name(model_folder: Path, recipe: Recipe, tmp_path: Path) -> None:
    config = json.loads((model_folder / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "internvl_chat", "auto_map": {"AutoModel": "x.InternVL"}}))
    with pytest.raises(CheckpointError, match=r"wants code of the folder's own .* a folder whose name ends in -hf"):
        open_folder(tmp_path)
    with pytest.raises(CheckpointError, match="-hf"):
        outline_embedder(tmp_path, recipe)
    shutil.copytree(model_folder, tmp_path / "layer")
    (tmp_path / "layer" / "config.json").write_text(json.dumps({**config, "vision_feature_layer": -2}))
    with pytest.raises(CheckpointError, match="not the last layer's patches"):
        open_folder(tmp_path / "layer")
    for pixels, wrong in ((Tiles(), r"pixels\.side: 448, .* tiles of 56; --set pixels\.side=56"), (None, "--set pixels=Tiles")):
        other = replace(recipe, pixels=pixels or override(recipe, ["pixels=PixelLimits"]).pixels)
        with pytest.raises(ConfigError, match=wrong):
            build_embedder(model_folder, other, dtype=torch.float32)


def test_tiles_are_a_value_of_a_recipe(recipe: Recipe) -> None:
    chosen = override(recipe, ["pixels=Tiles", "pixels.max_tiles=4", "vision=Bilinear"])
    assert chosen.pixels == Tiles(max_tiles=4) and recipe_from_json(canonical_json(chosen)) == chosen


def test_lengths_know_tiles_of_a_phase_and_of_a_dataset(builder: SequenceBuilder, recipe: Recipe) -> None:
    index = corpus(2)
    rng = np.random.default_rng(0)
    sample = replace(index.samples[0], query=Side(text="what", images=(picture(rng, 224, 112),)))
    index.samples[0], index.sizes[0] = sample, ((224, 112), *index.sizes[0][1:])
    counts = {}
    for phase, tiles in {
        "joint": TILES,
        "named": Tiles(side=56, max_tiles=4, by_phase=(("named", 1),)),
        "set": Tiles(side=56, max_tiles=1, by_dataset=(("pictures", 4),)),
    }.items():
        ruler = Ruler(builder=builder, pixels=tiles, phase=phase)
        counts[phase] = ruler.row(index, 0)["visual"][0]  # type: ignore[arg-type]
    assert counts == {"joint": 3 * 4, "named": 4, "set": 3 * 4}


def test_mining_sees_the_tiles_of_a_dataset_that_its_training_sees(model: EmbeddingModel) -> None:  # noqa: F811
    """A page of 1 : 2: 2 tiles and a thumbnail where the dataset has 4, else one."""
    side = Side(images=(picture(np.random.default_rng(0), 112, 224),))
    pixels = Tiles(side=TILE_PIXELS, max_tiles=1, by_dataset=(("pages", 4),))
    named = replace(model, recipe=replace(model.recipe, pixels=pixels))
    shown = {name: shown_as(named, pixels, "mined", name).reader.reading(side).shown for name in ("pages", "photos")}
    assert shown == {"pages": ((3 * 56, 56),), "photos": ((56, 56),)}


def test_the_outline_has_the_weights_of_the_model(model_folder: Path, embedder: Embedder, recipe: Recipe) -> None:
    found = outline_embedder(model_folder, recipe)
    assert {n: w.shape for n, w in found.named_parameters()} == {n: w.shape for n, w in embedder.named_parameters()}
