"""The joint CREM step of the pipeline against the common practice, each of whose habits is a switch.

What is timed is the collator (read, decode, resize, tokenise, batch) and the step (forward, backward, optimizer) in one process.
All variants take turns within each repetition, so that what slows the machine slows all of them; a ratio is taken in each
repetition and the median of the ratios is what counts. With one thread the clock is the processor time of the process, which
stands still while other programs have the core. Losses and gradients of all variants are compared first, and a difference ends
the program. The learning rate is 0: every repetition computes the same.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import click
import torch

from benchmarks.practice import Habits, Practice
from benchmarks.practice_batches import StockRows
from benchmarks.step_gradients import Gradients, Variant, check_equal, check_rounding
from benchmarks.step_times import Seconds, line, measure, ratio
from benchmarks.train_step_rows import REAL_MINI, Bench, bench_folder, bench_recipe, histogram
from eval.subject import one_line_errors
from pipeline.chunk_budget import AUTO, ChunkBudget
from pipeline.model.head import Head
from pipeline.recipe import Recipe
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.distributed import start_process_group
from pipeline.train.engine import Engine
from pipeline.train.forecast.chunk_planner import ChunkPlanner
from pipeline.train.node import Node
from pipeline.train.run_chunks import room_of
from pipeline.train.step import StepReport, train_step

VOCABULARIES = (2_048, 151_936)
STEP = 0
OURS, KEPT, TWICE = "ours", "ours, every graph kept", "ours, logits visited twice"
NONE, ALL = "practice, every habit off", "practice, every habit on"
NO_HABIT, ALL_HABITS = Habits(), Habits(**dict.fromkeys(Habits.names(), True))
MIB = 2**20
CHECKED = 4
"""Pairs whose gradients are compared before a large model is timed."""
WHAT = {
    "padded": "rows padded to the longest",
    "dense_mask": "dense 4-D mask, stock attention",
    "tower_twice": "tower in every forward",
    "tower_loop": "tower picture by picture",
    "two_forwards": "separate forwards for the two losses",
    "all_logits": "logits of all positions",
    "stock_pictures": "stock processor, float pixels",
}


class Remembering(Engine):
    """The engine, keeping the gradients of its last step."""

    last: Gradients

    def step(self, learning_rate: float) -> float:
        """One optimizer step."""
        self.last = self.full_gradients()
        return super().step(learning_rate)


class TwoVisits(Head):
    """The head as it is where it is trained: the backward pass computes the logits again."""

    def forward(
        self, states: torch.Tensor, targets: torch.Tensor | None = None, reference: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Logits, or losses whose logits are computed again."""
        if targets is None or reference is not None:
            return super().forward(states, targets, reference)
        return self.visited_twice(states, targets)


def ours(bench: Bench, folder: Path, recipe: Recipe, name: str = OURS, *, head: type[Head] = Head) -> Variant:
    """The pipeline's own step under its engine, as it is trained."""
    embedder, dataset = bench.dataset(folder, recipe)
    embedder.backbone.model.lm_head.__class__ = head
    engine, phase = Remembering(embedder, recipe.phase), recipe.phase

    def step(work: StepWork) -> tuple[float, ...]:
        return _losses(train_step(engine, work, phase, 0.0))

    return Variant(name=name, collate=lambda: dataset.work(dataset.draw(STEP), STEP), step=step, gradients=lambda: engine.last)


def ends(bench: Bench, folder: Path, recipe: Recipe) -> list[Variant]:
    """Ours, and the practice without a habit and with all."""
    return [ours(bench, folder, recipe), *practice(bench, folder, recipe, {NONE: NO_HABIT, ALL: ALL_HABITS})]


def _losses(report: StepReport) -> tuple[float, ...]:
    found = report.contrastive, report.own_language, report.outside_language
    return tuple(figure for figure in found if figure is not None)


def practice(bench: Bench, folder: Path, recipe: Recipe, named: dict[str, Habits]) -> list[Variant]:
    """The common practice with different habits, all on one model."""
    embedder, dataset = bench.dataset(folder, recipe)
    trained = {name: parameter for name, parameter in embedder.named_parameters() if parameter.requires_grad}

    def variant(name: str, habits: Habits) -> Variant:
        made = Practice(embedder, dataset, habits)

        def step(load: Any) -> tuple[float, ...]:
            losses = made(load)
            if isinstance(made.rows, StockRows):
                made.rows.forget()
            return losses.contrastive, *losses.language

        def gradients() -> Gradients:
            return {name: p.grad / made.shrunk for name, p in trained.items() if p.grad is not None}

        return Variant(name=name, collate=lambda: made.collate(STEP), step=step, gradients=gradients)

    return [variant(name, habits) for name, habits in named.items()]


def variants(bench: Bench, folder: Path, recipe: Recipe, habits: tuple[str, ...]) -> list[Variant]:
    """Ours; ours without replay; the practice without a habit, with one of those named, with all but one, with all."""
    named = {NONE: NO_HABIT, ALL: ALL_HABITS}
    for habit in habits:
        named |= {f"{habit} alone": replace(NO_HABIT, **{habit: True}), f"all but {habit}": replace(ALL_HABITS, **{habit: False})}
    kept = recipe.with_phase(kept_chunks=10**6)
    mine = [ours(bench, folder, recipe), ours(bench, folder, kept, KEPT), ours(bench, folder, recipe, TWICE, head=TwoVisits)]
    return [*mine, *practice(bench, folder, recipe, named)]


def table(times: dict[str, list[Seconds]], pairs: int, habits: tuple[str, ...]) -> Iterator[str]:
    """Whole steps, then the factor of each habit: alone over none, and all over all but it."""
    yield line("step", "collate, ms", "step, ms", "pairs/s", "time / ours", "step / ours", "peak of the GPU, MiB")
    yield line(*["---"] * 7)
    for name in (OURS, KEPT, TWICE, NONE, ALL):
        own = times[name]
        collate, step = (median(getattr(run, part) for run in own) * 1e3 for part in ("collate", "step"))
        rate = pairs / median(run.both for run in own)
        ratios = ratio(own, times[OURS]), ratio(own, times[OURS], "step")
        peak = max(run.peak for run in own)
        cells = f"{collate:.0f}", f"{step:.0f}", f"{rate:.1f}", *ratios, f"{peak / MIB:,.0f}" if peak else "no GPU"
        yield line(name, *cells)
    if not habits:
        return
    yield ""
    yield line("habit", "alone / every habit off", "every habit on / all but this")
    yield line(*["---"] * 3)
    for habit in habits:
        alone, rest = ratio(times[f"{habit} alone"], times[NONE]), ratio(times[ALL], times[f"all but {habit}"])
        yield line(WHAT[habit], alone, rest)


def auto_line(bench: Bench, folder: Path, recipe: Recipe, repeats: int) -> str:
    """The contrastive step of four times the pairs, with the chunks that `auto` chooses against those of the time before it."""
    mixture = recipe.phase.mixture
    pairs = recipe.with_phase(mixture=replace(mixture, pairs=4 * mixture.pairs, outside=0, own_sides=()))
    start_process_group()
    chosen = ChunkPlanner(folder, pairs.with_phase(chunk_tokens=AUTO, kept_chunks=AUTO), 1).choose(room_of(Node.of_this_rank()))
    budgets = {"before": ChunkBudget(tokens=12_288, kept=0), "auto": chosen}
    compared = [
        ours(bench, folder, pairs.with_phase(chunk_tokens=budget.tokens, kept_chunks=budget.kept), name)
        for name, budget in budgets.items()
    ]
    worst, times = check_equal(compared), measure(compared, repeats)
    return (
        f"contrastive step of {pairs.phase.mixture.pairs} pairs: auto (chunk_tokens {chosen.tokens}, kept_chunks "
        f"{chosen.kept}) takes {ratio(times['auto'], times['before'], 'step')} of 12288 and 0; losses and gradients differ by "
        f"{worst:.1g}"
    )


def profile(variant: Variant, rows: int = 12) -> str:
    """Where the time of a step goes, by operator."""
    load = variant.collate()
    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU]) as recorded:
        variant.step(load)
    text: str = recorded.key_averages().table(sort_by="self_cpu_time_total", row_limit=rows, max_name_column_width=40)
    return text


@click.command()
@click.option("--data", type=click.Path(path_type=Path), default=REAL_MINI, show_default=True, help="Corpus to convert.")
@click.option("--shards", type=click.Path(path_type=Path), help="Its shards, where they are made already.")
@click.option("--pairs", type=click.IntRange(4), default=16, show_default=True)
@click.option("--outside", type=click.IntRange(1), default=2, show_default=True, help="Conversations (the paper: 1 to 8 pairs).")
@click.option("--chunk-tokens", type=click.IntRange(64), default=1024, show_default=True, help="Budget of a packed chunk.")
@click.option("--vocabulary", "vocabularies", multiple=True, type=int, default=VOCABULARIES, show_default=True)
@click.option("--habit", "habits", multiple=True, type=click.Choice(Habits.names()), default=Habits.names(), help="Default: all.")
@click.option("--whole-steps", is_flag=True, help="No habit by itself.")
@click.option("--model-folder", type=click.Path(path_type=Path), help="A model of a published shape, in place of small ones.")
@click.option("--visual-tokens", type=click.IntRange(1), help="Of every picture. Default: what its size gives, up to 256.")
@click.option("--repeats", type=click.IntRange(1), default=5, show_default=True)
@click.option("--with-profile", is_flag=True, help="Also where the time of our step goes.")
@click.option("--quick", is_flag=True, help="Few rows of few tokens, one repetition: shows that it runs.")
def main(
    data: Path,
    shards: Path | None,
    pairs: int,
    outside: int,
    chunk_tokens: int,
    vocabularies: tuple[int, ...],
    habits: tuple[str, ...],
    whole_steps: bool,
    model_folder: Path | None,
    visual_tokens: int | None,
    repeats: int,
    with_profile: bool,
    quick: bool,
) -> None:
    """Measure the training step against the common practice; print tables in Markdown. It runs on the GPU where there is one."""
    pairs, repeats, widest = (4, 1, 16) if quick else (pairs, repeats, 256)
    recipe = bench_recipe(pairs=pairs, outside=outside, chunk_tokens=chunk_tokens, max_tokens=visual_tokens or widest)
    if visual_tokens:
        recipe = replace(recipe, pixels=recipe.pixels.at(visual_tokens))
    habits = () if whole_steps else habits
    place = torch.cuda.get_device_name() if torch.cuda.is_available() else f"{torch.get_num_threads()} threads"
    print(f"torch {torch.__version__}, {place}; medians of {repeats} interleaved repetitions")
    with bench_folder(data, shards) as bench:
        if model_folder is not None:
            dtype = "bfloat16" if torch.cuda.is_available() else "float32"
            compare(bench, model_folder, recipe.with_phase(dtype=dtype), model_folder.name, habits, repeats)
            return
        for vocabulary in vocabularies:
            folder = bench.model_folder(recipe.backbone, vocabulary)  # type: ignore[arg-type]
            mine = compare(bench, folder, recipe, f"vocabulary {vocabulary:,}", habits, repeats)
            print(auto_line(bench, folder, recipe, repeats), flush=True)
            if with_profile:
                print(f"\n{profile(mine)}")


def compare(bench: Bench, folder: Path, recipe: Recipe, title: str, habits: tuple[str, ...], repeats: int) -> Variant:
    """Print the tables of one model; returns our own step."""
    mixture = recipe.phase.mixture
    print(f"\n{title}, batch {mixture.pairs} + {mixture.outside}: {_rows(bench, folder, recipe)}")
    if recipe.phase.dtype == "bfloat16":
        check_half(bench, folder, recipe)
    compared = variants(bench, folder, recipe, habits)
    if recipe.phase.dtype == "bfloat16":
        for variant in compared:  # the warm-up
            variant.step(variant.collate())
    else:
        print(f"losses and gradients of {len(compared)} variants agree: largest relative difference {check_equal(compared):.1g}")
    print(flush=True)
    times = measure(compared, repeats)
    print("\n".join(table(times, mixture.pairs, habits)), flush=True)
    print(f"\njoint step, a frozen head visited once: {ratio(times[OURS], times[TWICE], 'step')} of two visits", flush=True)
    return compared[0]


def check_half(bench: Bench, folder: Path, recipe: Recipe) -> None:
    """Hold a few rows' gradients against each other in float32, and those of bfloat16 against them."""
    mixture = replace(recipe.phase.mixture, pairs=CHECKED, sub_batch=CHECKED, outside=1)
    few = recipe.with_phase(mixture=mixture)
    exact = ends(bench, folder, few.with_phase(dtype="float32"))
    worst = check_equal(exact, each=False)
    print(f"float32, {CHECKED} + 1 rows: losses and gradients of {len(exact)} variants agree to {worst:.1g}; bfloat16 is off by")
    for name, off in check_rounding(ends(bench, folder, few), exact[0].gradients()).items():
        print(f"  {off:.3f} {name}")


def _rows(bench: Bench, folder: Path, recipe: Recipe) -> str:
    _, dataset = bench.dataset(folder, recipe)
    return histogram(dataset.global_rows(dataset.draw(STEP), STEP))


if __name__ == "__main__":
    with one_line_errors():
        main()
