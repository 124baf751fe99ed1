"""What preparing batches costs a core: pairs a second, and the shares of decoding, resizing and everything else.

The rows are those of the small real corpus; each picture is drawn anew, once and before the clock starts, as a JPEG somewhat
larger than the visual tokens asked for, so that it is decoded and shrunk as a photo would be. Enlarged pictures have less detail
than photos of that size, so their JPEGs decode faster than a photo's. The clock is the processor time of this one process.
"""

import io
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
from PIL import Image, ImageOps

from benchmarks.train_step_rows import REAL_MINI, Bench, bench_folder, bench_recipe
from data_prep.published_shapes import write_config
from eval.subject import one_line_errors
from pipeline.model.inputs import View
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.recipes import load
from pipeline.train.dataloader.step_dataset import RowBuilder
from pipeline.train.forecast.chunk_planner import ChunkPlanner
from pipeline.train.forecast.forecast import forecast
from pipeline.train.forecast.gpus import GPUS

LARGER = 1.5
"""Area of a stored picture over the area that is asked for."""
GPU, NUM_GPUS = "a800-80g", 8


class PhotoRows(RowBuilder):
    """Rows whose pictures were enlarged beforehand; `decoding` and `loading` add up seconds, `extra` those of the clockwork."""

    def __init__(self, rows: RowBuilder) -> None:
        super().__init__(rows.recipe, rows.builder.vocabulary)
        self.photos: dict[bytes, bytes] = {}
        self.decoding = self.loading = self.extra = 0.0

    def pixels(self, picture: bytes, key: str, view: View, dataset: str = "") -> np.ndarray:
        """As training loads it; the photo is decoded once more to know what that part takes."""
        begun = process_time()
        photo = self.photos.get(picture) or self._photo(picture)
        ready = process_time()
        with Image.open(io.BytesIO(photo)) as opened:
            ImageOps.exif_transpose(opened).convert("RGB")
        decoded = process_time()
        pixels = super().pixels(photo, key, view, dataset)
        self.decoding += decoded - ready
        self.extra += decoded - begun
        self.loading += process_time() - decoded
        return pixels

    def _photo(self, picture: bytes) -> bytes:
        limits, file = self.recipe.pixels, io.BytesIO()
        with Image.open(io.BytesIO(picture)) as opened:
            rgb = opened.convert("RGB")
        scale = (LARGER * limits.max_tokens * limits.factor**2 / (rgb.width * rgb.height)) ** 0.5
        size = (round(rgb.width * scale), round(rgb.height * scale))
        rgb.resize(size, Image.Resampling.BICUBIC).save(file, "JPEG", quality=90)
        self.photos[picture] = file.getvalue()
        return self.photos[picture]


@dataclass(frozen=True, slots=True, kw_only=True)
class Rate:
    """Of one core: pairs a second and the shares of the time."""

    pairs: float
    decode: float
    resize: float

    @property
    def rest(self) -> float:
        """Share of reading, tokenising and packing."""
        return 1 - self.decode - self.resize


def rate(bench: Bench, recipe: Recipe, repeats: int) -> Rate:
    """Prepare one step's batch again and again."""
    assert isinstance(recipe.backbone, TinyBackbone)
    _, dataset = bench.dataset(bench.model_folder(recipe.backbone, recipe.backbone.vocab_size), recipe)
    dataset.rows = rows = PhotoRows(dataset.rows)
    draw = dataset.draw(0)
    dataset.work(draw, 0)
    rows.decoding = rows.loading = rows.extra = 0.0
    begun = process_time()
    for _ in range(repeats):
        dataset.work(draw, 0)
    seconds = process_time() - begun - rows.extra
    pairs = repeats * recipe.phase.mixture.pairs
    return Rate(pairs=pairs / seconds, decode=rows.decoding / seconds, resize=(rows.loading - rows.decoding) / seconds)


def lines(bench: Bench, pairs: int, repeats: int, tokens: tuple[int, ...]) -> Iterator[str]:
    """Rows of the table."""
    shape = write_config(bench.folder / "shape", "Qwen2-VL-2B-Instruct")
    for visual in tokens:
        recipe = bench_recipe(pairs=pairs, outside=pairs // 8, chunk_tokens=16_384, max_tokens=visual)
        found = rate(bench, recipe, repeats)
        planned = ChunkPlanner(shape, load("crem_2b"), NUM_GPUS, visual=visual).recipe_on(GPUS[GPU])
        wanted = forecast(shape, planned, GPUS[GPU], NUM_GPUS, visual=visual).pairs_per_second
        cells = (f"{found.pairs:.1f}", f"{found.decode:.0%}", f"{found.resize:.0%}", f"{found.rest:.0%}")
        yield f"| {visual} | {' | '.join(cells)} | {wanted:.1f} | {wanted / found.pairs:.2f} |"


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=REAL_MINI, show_default=True, help="Corpus to convert.")
@click.option("--shards", type=click.Path(path_type=Path), help="Its shards, where they are made already.")
@click.option("--pairs", type=click.IntRange(8), default=64, show_default=True, help="Of a batch.")
@click.option("--repeats", type=click.IntRange(1), default=3, show_default=True)
@click.option("--visual-tokens", "tokens", multiple=True, type=int, default=(256, 1280), show_default=True)
def main(data: Path, shards: Path | None, pairs: int, repeats: int, tokens: tuple[int, ...]) -> None:
    """Measure the loader on one core; print a table in Markdown."""
    print("| visual tokens | pairs/s a core | decode | resize | read, tokenise, pack |", end=" ")
    print(f"pairs/s an {GPU} (crem_2b, dry run) | cores an {GPU} |")
    print("| --- | --- | --- | --- | --- | --- | --- |")
    with bench_folder(data, shards) as bench:
        for line in lines(bench, pairs, repeats, tokens):
            print(line, flush=True)


if __name__ == "__main__":
    with one_line_errors():
        main()
