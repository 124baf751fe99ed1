"""How long one side takes at batch 1, by family and shrinker: the form of Magic-MM-Embedding's Table 4.

Sides are a query (a natural picture and a question), a candidate (a natural picture) and a document. Where no model folder is
named, each family is a random model of the same small shape, so that only what pictures cost is compared. All cases take turns,
and the figure of each is the median; ratios are of one run.
"""

import io
import os
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from statistics import median
from time import perf_counter

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import torch
from PIL import Image

from data_prep.tiny_model import CLASSES, tiny_config, train_tokenizer
from eval.subject import one_line_errors
from pipeline.inference import EmbeddingModel, load_untrained
from pipeline.model.device import usual_place
from pipeline.model.inputs import PixelLimits
from pipeline.model.shrinkers import Bilinear, KeepAll, Shrinker
from pipeline.model.tiles import Tiles
from pipeline.recipe import Family, Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.sample import Side

SHRINKERS: tuple[Shrinker, ...] = (KeepAll(), Bilinear(2.0))
FAMILIES: tuple[Family, ...] = ("qwen2_vl", "qwen2_5_vl", "qwen3_vl", "internvl")
NATURAL, DOCUMENT = 448, 896
"""Pixels on a side of pictures (the paper's)."""
TILE = 448


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A model under a name, and the seconds that each kind of side took."""

    name: str
    model: EmbeddingModel
    seconds: dict[str, list[float]] = field(default_factory=dict)

    def row(self, sides: dict[str, Side]) -> str:
        """Milliseconds, and visual tokens in brackets."""
        cells = [f"{1000 * median(self.seconds[kind]):.1f} ({self.tokens(side)})" for kind, side in sides.items()]
        return f"| {self.name} | {' | '.join(cells)} |"

    def tokens(self, side: Side) -> int:
        """Visual tokens that the language model reads of a side."""
        return len(self.model.reader.row(side, slot=0).sequence.image_tokens())


def sides() -> dict[str, Side]:
    """A query, a candidate and a document."""
    natural, page = _picture(NATURAL), _picture(DOCUMENT)
    question = "Represent the given image with the following question: what is on the left of the picture?"
    return {
        "query": Side(text=f"<|image_1|>\n{question}", images=(natural,)),
        "candidate": Side(images=(natural,)),
        "document": Side(images=(page,)),
    }


def _picture(side: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(side).integers(0, 255, (side, side, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


def small_folder(out: Path, spec: TinyBackbone) -> Path:
    """A random model of a family, with tiles of the published size."""
    tokenizer = train_tokenizer(["what is on the left of the picture"] * 9, spec.vocab_size, tiles=spec.family == "internvl")
    config = tiny_config(tokenizer, spec)
    if spec.family == "internvl":
        config.vision_config.image_size = (TILE, TILE)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        CLASSES[spec.family][1](config).save_pretrained(out)
    tokenizer.save_pretrained(out)
    return out


def small_cases(folder: Path, spec: TinyBackbone) -> Iterator[Case]:
    """Each family under each shrinker."""
    for family in FAMILIES:
        place = small_folder(folder / family, replace(spec, family=family))
        tiles = Tiles(side=TILE, max_tiles=4) if family == "internvl" else PixelLimits(min_tokens=4, max_tokens=1280)
        yield from cases_of(place, replace(load("tiny"), pixels=tiles, max_length=4096), family)


def cases_of(folder: Path, recipe: Recipe, name: str) -> Iterator[Case]:
    """A model folder under each shrinker, where this machine computes: a GPU in bfloat16, or the CPU."""
    device, dtype = usual_place()
    for shrinker in SHRINKERS:
        model = load_untrained(folder, replace(recipe, vision=shrinker), device=device, dtype=dtype)
        yield Case(name=f"{name}, {type(shrinker).__name__}", model=model)


def measure(cases: list[Case], given: dict[str, Side], repeats: int) -> None:
    """Every case in turn, so that a busy machine slows all alike. The first round is not counted."""
    for number in range(repeats + 1):
        for case in cases:
            for kind, side in given.items():
                begun = perf_counter()
                case.model.embed([side])
                if number:
                    case.seconds.setdefault(kind, []).append(perf_counter() - begun)


@click.command()
@click.option("--model-folder", type=click.Path(path_type=Path), help="A published folder instead of small models.")
@click.option("--recipe", "name", default="tiny", show_default=True, help="Prompt and picture rule, with --model-folder.")
@click.option("--hidden", default=256, show_default=True, help="Width of the small models' layers and towers.")
@click.option("--layers", default=4, show_default=True, help="Layers of the small models and of their towers.")
@click.option("--repeats", default=5, show_default=True)
def main(model_folder: Path | None, name: str, hidden: int, layers: int, repeats: int) -> None:
    """Print milliseconds and visual tokens at batch 1, and what shrinking saves."""
    given = sides()
    spec = TinyBackbone(
        hidden=hidden, layers=layers, feed_forward=4 * hidden, vocab_size=600, tower_dim=hidden, tower_layers=layers
    )
    with tempfile.TemporaryDirectory() as folder:
        if model_folder is None:
            cases = list(small_cases(Path(folder), spec))
        else:
            cases = list(cases_of(model_folder, load(name), model_folder.name))
        measure(cases, given, repeats)
    print(f"ms at batch 1 (visual tokens), median of {repeats}, on {cases[0].model.device}; pictures are decoded each time")
    print(f"| model | {' | '.join(given)} |\n|---|{'---|' * len(given)}")
    for case in cases:
        print(case.row(given))
    for whole, fewer in zip(cases[0::2], cases[1::2], strict=True):
        ratios = [median(whole.seconds[kind]) / median(fewer.seconds[kind]) for kind in given]
        print(
            f"{fewer.name}: {', '.join(f'{kind} {ratio:.2f}' for kind, ratio in zip(given, ratios, strict=True))} times as fast"
        )


if __name__ == "__main__":
    with one_line_errors():
        main()
