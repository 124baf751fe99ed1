"""Any recipe at a size that a test can afford: a tiny model of its family, small batches, two steps a phase."""

import json
from dataclasses import replace
from pathlib import Path

from data_prep.tiny_model import TILE_PIXELS, build_tiny_model
from pipeline.manifest import canonical_json
from pipeline.model.inputs import PixelLimits
from pipeline.model.tiles import Tiles
from pipeline.negatives import InFile
from pipeline.phase import STARTS
from pipeline.recipe import Family, PublishedBackbone, Recipe, TinyBackbone
from pipeline.recipes import RECIPES, load
from tests.pipeline.corpus import SMALL, TEXTS

FAMILIES: dict[str, Family] = {"Qwen2-VL": "qwen2_vl", "Qwen2.5-VL": "qwen2_5_vl", "InternVL3": "internvl"}
"""How names of published models begin."""


def family(backbone: PublishedBackbone | TinyBackbone) -> Family:
    """Whose classes a backbone has."""
    if isinstance(backbone, TinyBackbone):
        return backbone.family
    (found,) = (family for begin, family in FAMILIES.items() if backbone.name.startswith(f"{begin}-"))
    return found


def shrunk(recipe: Recipe, **fields: object) -> list[Recipe]:
    """A recipe of each phase of a recipe, on the corpus in memory; keywords replace fields of its phase.

    What the recipe is about is left alone: layout, tokens, pooling, losses and their weights, adapter, which rows are drawn.
    """
    small = []
    for phase in recipe.phases:
        mixture = phase.mixture
        sizes = {"pairs": mixture.pairs and 4, "outside": mixture.outside and 4, "sub_batch": 2}
        mixture = replace(mixture, **sizes, weights=(), outside_sets=())
        machine = {"zero_stage": 0, "dtype": "float32", "chunk_tokens": 200, "kept_chunks": 0, "held_out": 2}
        steps = {"steps": 2, "evaluate_every": 2, "checkpoint_every": 2}
        optimizer = replace(phase.optimizer, learning_rate=1e-2, warmup_steps=0, warmup_share=0.0)
        if phase.negatives.mined is not None:  # what finds them is tried in tests/jobs/test_mine.py
            fields = {"negatives": InFile(most=2), **fields}
        fields = {**({"start": "merged"} if phase.start not in STARTS else {}), **fields}
        one = replace(phase, **{**machine, **steps, "mixture": mixture, "optimizer": optimizer, **fields})
        tiles = Tiles(side=TILE_PIXELS, max_tiles=2) if isinstance(recipe.pixels, Tiles) else None
        backbone, pixels = replace(SMALL, family=family(recipe.backbone)), tiles or PixelLimits(min_tokens=1, max_tokens=9)
        small.append(replace(recipe, backbone=backbone, pixels=pixels, phases=(one,)))
    return small


def distinct() -> dict[str, Recipe]:
    """A shrunk recipe of every phase of every recipe of ours, by both names; of those that differ in numbers alone (16 tokens or
    32), the first."""
    found: dict[str, tuple[str, Recipe]] = {}
    for name in RECIPES:
        for small in shrunk(load(name)):
            same = small.with_phase(name="any")
            kind = canonical_json(without_numbers(json.loads(canonical_json(replace(same, name="", summary="")))))
            found.setdefault(kind, (f"{name}-{small.phase.name}", small))
    return dict(found.values())


def without_numbers(plain: object) -> object:
    """A plain value that says of each number only whether it is 0."""
    if isinstance(plain, dict):
        return {name: without_numbers(part) for name, part in plain.items()}
    if isinstance(plain, list):
        return [without_numbers(part) for part in plain]
    return plain != 0 if isinstance(plain, int | float) else plain


def model_of(folders: Path, recipe: Recipe) -> Path:
    """The folder of a shrunk recipe's model, made below `folders` where no recipe of its family was here before."""
    out = folders / family(recipe.backbone)
    if not out.exists():
        build_tiny_model(out, TEXTS, replace(SMALL, family=family(recipe.backbone)), seed=0)
    return out
