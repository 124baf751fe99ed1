"""Checkpoints whose weights have all moved, in every form that an export has, and what to embed with them."""

import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from data_prep.tiny_model import TILE_PIXELS, build_tiny_model
from pipeline.export import Form, export
from pipeline.model.adapters import LoRA
from pipeline.model.shrinkers import AveragePool, Bilinear
from pipeline.model.tiles import Tiles
from pipeline.recipe import Family, Recipe
from pipeline.sample import Side
from pipeline.templates import Instructions, Templates
from pipeline.train.build import build_embedder
from tests.pipeline.conftest import save_checkpoint
from tests.pipeline.corpus import SMALL, TEXTS, picture, sentence
from tests.pipeline.variants import (
    attention_pool,
    dora,
    mlp_mean,
    plain_prompt,
    shrunk_vision,
    still_rows_at_new_ids,
    whole_table_under_lora,
)

BLOCKED = ("pipeline", "data_prep", "eval", "jobs", "launchers", "tests")
"""What a program that has nothing of ours cannot import."""

MERGED, ADAPTER = "merged", "adapter"

TOLD = Templates(
    query_template="Instruct: {instruction}\n{pictures}Query: {text}",
    candidate_template="{pictures}Instruct: {instruction}\nText: {text}",
    instructions=(
        Instructions(of="default", query="what is the picture", candidate="red star"),
        Instructions(of="dataset.DocVQA", query="where is it", candidate=""),
    ),
)
"""Instructions of the case that is trained whole."""


def items() -> list[Side]:
    """Text alone, a picture alone, both, a picture in mid-sentence, two without markers; over and under the limits; turned,
    transparent, grey, of 16 bits; a text that spells special tokens."""
    rng = np.random.default_rng(9)
    return [
        Side(instruction="Represent the text: ", text=f" {sentence(rng)} <|im_end|>\n"),
        Side(images=(picture(rng, 84, 56),)),
        Side(instruction="<|image_1|>\nRepresent the given image.", text="\n what is red", images=(picture(rng, 300, 150),)),
        Side(text="where <|image_1|> is the star", images=(picture(rng, 20, 15),)),
        Side(text="what is red", images=(picture(rng, 56, 56), encoded(Image.linear_gradient("L").resize((57, 90))))),
        Side(text="<|image_1|> top", images=(turned(rng),)),
        Side(images=(transparent(rng),)),
        Side(text="<|image_1|>", images=(encoded(Image.fromarray(rng.integers(0, 65535, (56, 84), dtype=np.uint16))),)),
        Side(text="red <|chorus_405|><|chorus_406|> <|image_pad|> blue"),
    ]


def encoded(image: Image.Image, kind: str = "PNG", **more: object) -> bytes:
    file = io.BytesIO()
    image.save(file, kind, **more)
    return file.getvalue()


def turned(rng: np.random.Generator) -> bytes:
    """A picture that its EXIF block turns by a quarter."""
    image = Image.fromarray(rng.integers(0, 255, (56, 112, 3), dtype=np.uint8))
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(image, exif=exif)


def transparent(rng: np.random.Generator) -> bytes:
    """A picture whose colours shine through by half."""
    return encoded(Image.fromarray(rng.integers(0, 255, (56, 56, 4), dtype=np.uint8), "RGBA"))


def save_moved(folder: Path, model_folder: Path, recipe: Recipe) -> Path:
    """A checkpoint whose trained weights have all moved."""
    embedder, _ = build_embedder(model_folder, recipe, dtype=torch.float32)
    generator = torch.Generator().manual_seed(3)
    trained = {name: weight.detach() for name, weight in embedder.named_parameters() if weight.requires_grad}
    moved = {name: weight + 0.05 * torch.randn(weight.shape, generator=generator) for name, weight in trained.items()}
    return save_checkpoint(folder, moved, recipe, model_folder)


@dataclass(frozen=True)
class Case:
    """A checkpoint, and the folder of its export."""

    path: Path
    exported: Path

    def said(self, name: str = "said.json") -> dict[str, Any]:
        """What another program said of it."""
        return json.loads((self.exported.parent / name).read_text())


def tiled(recipe: Recipe) -> Recipe:
    return replace(recipe, pixels=Tiles(side=TILE_PIXELS, max_tiles=4))


def lora(recipe: Recipe) -> Recipe:
    return recipe.with_phase(adapter=LoRA(rank=4, alpha=16), tower="frozen")


CASES: dict[str, tuple[Form, str, Callable[[Recipe], Recipe]]] = {
    "adapters merged": (MERGED, "tied", lora),
    "trained whole": (MERGED, "tied", lambda recipe: replace(recipe, templates=TOLD)),
    "plain prompt, last token": (MERGED, "tied", lambda recipe: lora(plain_prompt(recipe))),
    "rows behind the table, own head": (MERGED, "untied", still_rows_at_new_ids),
    "whole table under adapters": (MERGED, "tied", whole_table_under_lora),
    "Qwen2.5-VL": (MERGED, "2.5", lora),
    "DoRA merged": (MERGED, "tied", dora),
    "MLP and mean": (MERGED, "tied", lambda recipe: lora(mlp_mean(recipe))),
    "attention of a query": (MERGED, "tied", lambda recipe: lora(attention_pool(recipe))),
    "fewer visual tokens": (MERGED, "tied", lambda recipe: lora(shrunk_vision(recipe, Bilinear()))),
    "fewer visual tokens of windows": (MERGED, "2.5", lambda recipe: lora(shrunk_vision(recipe, AveragePool(1.6)))),
    "levels of features, fewer tokens": (MERGED, "3", lambda recipe: lora(shrunk_vision(recipe, Bilinear()))),
    "tiles": (MERGED, "tiles", lambda recipe: lora(tiled(recipe))),
    "tiles, fewer tokens": (MERGED, "tiles", lambda recipe: lora(replace(tiled(recipe), vision=Bilinear()))),
    "as an adapter": (ADAPTER, "tied", lora),
    "DoRA as an adapter": (ADAPTER, "tied", dora),
    "as an adapter with an MLP": (ADAPTER, "tied", lambda recipe: lora(mlp_mean(recipe))),
}


def make_cases(root: Path, tied: Path, untied: Path, recipe: Recipe) -> dict[str, Case]:
    """Every case exported below `root`."""
    families: dict[str, Family] = {"2.5": "qwen2_5_vl", "3": "qwen3_vl", "tiles": "internvl"}
    folders = {"tied": tied, "untied": untied, **{name: root / family for name, family in families.items()}}
    for name, family in families.items():
        build_tiny_model(folders[name], TEXTS, replace(SMALL, family=family), seed=0)
    made = {}
    for number, (name, (form, folder, vary)) in enumerate(CASES.items()):
        path = save_moved(root / f"checkpoint-{number}", folders[folder], vary(recipe))
        made[name] = Case(path, root / str(number) / "exported")
        export(path, made[name].exported, form=form)
    return made
