"""Encoding the sides of an evaluation against the common practice, and how its cost grows with the number of sides.

The practice is that of the public harnesses: sides in the order of the file, in batches padded to their longest, pictures
through the stock processor, stock attention with a dense mask, the whole model called, so that logits of all positions exist.
Both embed the same sides with the same weights, and a difference ends the program. They take turns in each repetition on the
processor time of this process; a ratio is taken in each, and their median counts. Growth is that of the layer alone
(benchmarks.encode_growth).
"""

import io
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import median
from time import process_time
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import numpy as np
import torch
from PIL import Image

from benchmarks.encode_growth import COUNTS, print_growth
from benchmarks.practice import Habits, Practice
from benchmarks.practice_batches import StockRows
from benchmarks.train_step_rows import REAL_MINI, bench_folder, bench_recipe
from eval.subject import one_line_errors
from pipeline.batch import Row
from pipeline.data.mmeb_eval import eval_datasets, read_eval
from pipeline.encode.encode import encode
from pipeline.encode.share import Encoding
from pipeline.inference import EmbeddingModel
from pipeline.merged import load_merged
from pipeline.model.inputs import WHOLE
from pipeline.sample import Side

BATCH = 16
"""Rows of the practice's batches: VLM2Vec's harness takes 16 to 32."""

TOLERANCE = 1e-4
HABITS = Habits(padded=True, dense_mask=True, tower_loop=True, all_logits=True, stock_pictures=True)


def drawn_sides(data: Path, most: int) -> list[Side]:
    """Queries and distinct candidates of the sets, set after set, at most so many of each set."""
    found: list[Side] = []
    for name in eval_datasets(data):
        eval_set = read_eval(data, name, verify=False)
        found += [*eval_set.queries[: most // 2], *eval_set.candidates[: most // 2]]
    return found


def photographs(count: int) -> list[Side]:
    """Pictures of 1,600 x 1,200 pixels with the detail of photographs."""
    rng, found = np.random.default_rng(0), []
    for _ in range(count):
        coarse = Image.fromarray(rng.integers(0, 255, (75, 100, 3), dtype=np.uint8)).resize(
            (1600, 1200), Image.Resampling.BICUBIC
        )
        file = io.BytesIO()
        coarse.save(file, "JPEG", quality=90)
        found.append(Side(images=(file.getvalue(),)))
    return found


def by_practice(practice: Practice, model: EmbeddingModel, sides: Sequence[Side]) -> np.ndarray:
    """Embeddings (N, D) of the sides in batches in their order."""
    rows: Any = practice.rows
    assert isinstance(rows, StockRows), "pictures go through the stock processor"
    found = []
    for start in range(0, len(sides), BATCH):
        batch = [_row(rows, model, side, slot) for slot, side in enumerate(sides[start : start + BATCH])]
        found.append(practice.embed(batch, max(len(row.sequence) for row in batch)).numpy())
        rows.forget()
    return np.concatenate(found)


def _row(rows: StockRows, model: EmbeddingModel, side: Side, slot: int) -> Row:
    pixels = tuple(rows.pixels(picture, "", WHOLE) for picture in side.images)
    grids = np.array([model.recipe.pixels.grid_of(*picture.shape[1:]) for picture in pixels], dtype=np.int64)
    return Row(key="", sequence=model.builder.build(side, grids), pixels=pixels, slot=slot)


def check_equal(ours: np.ndarray, theirs: np.ndarray) -> float:
    """The largest difference of embeddings (N, D). Raises ClickException where it is more than rounding."""
    difference = float(np.abs(ours - theirs).max())
    if not difference <= TOLERANCE:
        raise click.ClickException(f"the practice does not embed as we do: difference {difference:.1e}")
    return difference


def seconds(work: Callable[[], object]) -> float:
    """Processor time that this process takes for it."""
    begun = process_time()
    work()
    return process_time() - begun


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=REAL_MINI, show_default=True, help="Folder with MMEB-eval.")
@click.option("--hidden", default=256, show_default=True, help="Width of the model.")
@click.option("--vocabulary", default=2048, show_default=True, help="Rows of its table and head.")
@click.option("--most", default=40, show_default=True, help="Sides of each set.")
@click.option("--photographs", "num_photos", default=96, show_default=True, help="Large pictures, for decoding.")
@click.option("--repeats", default=3, show_default=True, help="Repetitions, in turn.")
@click.option("--count", "counts", multiple=True, type=int, default=COUNTS, help="Sides whose growth is shown.")
def main(data: Path, hidden: int, vocabulary: int, most: int, num_photos: int, repeats: int, counts: tuple[int, ...]) -> None:
    """Print items a second of both and their ratio, what workers take off the model's process, and growth."""
    torch.set_num_threads(1)
    recipe = bench_recipe(pairs=4, outside=1, chunk_tokens=2048, hidden=hidden)
    sides = drawn_sides(data, most)
    with bench_folder(data) as bench:
        folder = bench.model_folder(recipe.backbone, vocabulary)  # type: ignore[arg-type]
        ours, theirs = (load_merged(folder, recipe=recipe) for _ in range(2))
        practice = Practice(theirs.embedder, bench.dataset(folder, recipe)[1], HABITS)
        difference = check_equal(encode(ours, sides, what="sides"), by_practice(practice, theirs, sides))
        click.echo(describe(ours, sides) + f"; embeddings agree to {difference:.0e}")
        photos = photographs(num_photos)
        taken = [
            (
                seconds(lambda: encode(ours, sides, what="sides")),
                seconds(lambda: by_practice(practice, theirs, sides)),
                seconds(lambda: encode(ours, photos, what="photographs")),
                seconds(lambda: encode(ours, photos, what="photographs", how=Encoding(workers=1))),
            )
            for _ in range(repeats)
        ]
    report(len(sides), taken)
    print_growth(counts)


def describe(model: EmbeddingModel, sides: Sequence[Side]) -> str:
    """How many sides of which lengths."""
    tokens = np.array([model.reader.reading(side).tokens for side in sides])
    distinct, pictures = len({(side.instruction + side.text, side.images) for side in sides}), sum(len(s.images) for s in sides)
    least, middle, most = np.quantile(tokens, [0, 0.5, 1]).astype(int)
    return f"{len(sides)} sides ({distinct} distinct, {pictures} pictures) of {least} to {most} tokens, median {middle}"


def report(count: int, taken: Sequence[tuple[float, ...]]) -> None:
    """Items a second, and ratios with their range."""
    ours, theirs, alone, relieved = (np.array(column) for column in zip(*taken, strict=True))
    click.echo("\n| | items a second (processor time) |\n|---|---|")
    click.echo(f"| ours | {count / median(ours):.0f} |\n| common practice | {count / median(theirs):.0f} |")
    named = ("practice / ours", theirs / ours), ("photographs, the model's process with a worker / without", relieved / alone)
    for name, ratio in named:
        click.echo(f"{name}: {median(ratio):.2f} ({ratio.min():.2f} to {ratio.max():.2f})")


if __name__ == "__main__":
    with one_line_errors():
        main()
