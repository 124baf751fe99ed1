"""How the memory of a training step grows with the global batch: gradient caching against one graph over the whole batch.

The meter is the bytes that autograd keeps for backward passes, the most at any moment of a step, each storage once, weights
aside. The feature cache is counted apart. Pictures are small, since only bytes are of interest.
"""

import os
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from benchmarks.train_step_rows import REAL_MINI, Bench, bench_folder, bench_recipe
from eval.subject import one_line_errors
from pipeline.batch import pack
from pipeline.model import head
from pipeline.recipe import Recipe, TinyBackbone
from pipeline.train.engine import Engine
from pipeline.train.forecast.saved_bytes import SavedBytes
from pipeline.train.step import train_step
from pipeline.train.vision_features import Cached

MIB = 2**20
VISUAL = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Peaks:
    """Bytes of a step at one batch size: saved by the cached step, its feature cache, saved by the uncached step.

    Both savings include the log probabilities of one piece of the head, which exist again while its gradient is computed.
    """

    cached: int
    features: int
    uncached: int


def peaks(bench: Bench, recipe: Recipe) -> Peaks:
    """Measure one step of the recipe, cached and uncached."""
    assert isinstance(recipe.backbone, TinyBackbone)
    folder = bench.model_folder(recipe.backbone, recipe.backbone.vocab_size)
    embedder, dataset = bench.dataset(folder, recipe)
    draw = dataset.draw(0)
    work, rows = dataset.work(draw, 0), dataset.global_rows(draw, 0)
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter:
        whole = embedder(pack(rows, recipe.phase.layout, recipe.pooling.positions))
        uncached = meter.peak
        del whole
    engine = Engine(embedder, recipe.phase)
    assert isinstance(engine.vision, Cached)
    with SavedBytes([*embedder.parameters(), *embedder.buffers()]) as meter:
        train_step(engine, work, recipe.phase, 0.0)
    size = engine.module.backbone.text.embed_tokens.weight.itemsize
    features = sum(len(chunk.full.image_index) for chunk in work.chunks) * embedder.width * size
    scored = max(len(chunk.full.score_index) for chunk in work.chunks)
    piece = 4 * min(scored, head.HEAD_ROWS) * embedder.backbone.vocab_size
    return Peaks(cached=meter.peak + piece, features=features, uncached=uncached + piece)


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=REAL_MINI, show_default=True, help="Corpus to convert.")
@click.option("--shards", type=click.Path(path_type=Path), help="Its shards, where they are made already.")
@click.option("--batch", "batches", multiple=True, type=int, default=(128, 1024), show_default=True, help="Pairs of a batch.")
@click.option("--chunk-tokens", type=click.IntRange(64), default=4096, show_default=True)
@click.option("--hidden", type=int, default=128, show_default=True, help="Width of the model.")
def main(data: Path, shards: Path | None, batches: tuple[int, ...], chunk_tokens: int, hidden: int) -> None:
    """Print a table in Markdown and the growth from the first batch size to the last."""
    print("| pairs | saved, cached step, MiB | feature cache | saved, uncached step |")
    print("| --- | --- | --- | --- |")
    found: list[Peaks] = []
    with bench_folder(data, shards) as bench:
        for pairs in batches:
            recipe = bench_recipe(pairs=pairs, outside=pairs // 8, chunk_tokens=chunk_tokens, max_tokens=VISUAL, hidden=hidden)
            found.append(peaks(bench, recipe))
            sizes = (found[-1].cached, found[-1].features, found[-1].uncached)
            print(f"| {pairs} | {' | '.join(f'{size / MIB:.1f}' for size in sizes)} |", flush=True)
    first, last = found[0], found[-1]
    growth = {name: getattr(last, name) / getattr(first, name) for name in ("cached", "uncached")}
    print(f"\ngrowth from {batches[0]} to {batches[-1]} pairs: ", end="")
    print("cached {cached:.2f}, uncached {uncached:.2f}".format(**growth))
    gpu = "see docs/benchmarks.md" if torch.cuda.is_available() else "not measured: no GPU"
    print(f"device peak: {gpu}")


if __name__ == "__main__":
    with one_line_errors():
        main()
