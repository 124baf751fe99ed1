"""A rehearsal: a phase of a recipe at its real shape, with random weights and drawn pictures, before anything is downloaded.

All that decides what a step computes is the recipe's: backbone, tokens, layout, losses, adapter, dtype, chunks. Made up are the
weights, the rows, and how many of them a step has.
"""

import gc
import json
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from jobs.run import Machine, Runner, run_chain, stages
from jobs.stage import Context
from jobs.train import TrainStage
from pipeline.errors import StoppedError
from pipeline.negatives import InFile
from pipeline.recipe import PublishedBackbone, Recipe
from pipeline.sample import Side
from pipeline.train.forecast.forecast import Forecast

ENLARGED = 12
"""Drawn pictures are so many times as large, 672 x 672 pixels, crops half of it: decoding and resizing take their time."""
FIRST_STEPS = 1
"""Steps that no rate counts: allocators and caches fill."""
EMBEDDED = 4
"""Sides of the evaluation's batch."""
_SPARE_ROWS = 32
CPU_VISUAL_TOKENS = 64
"""Of a picture, at most, where there is no GPU and nobody says."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Size:
    """Of a rehearsal: steps before the interruption, pairs a step (None: the recipe's), visual tokens a picture, ranks."""

    steps: int
    pairs: int | None
    visual: int
    ranks: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Rehearsed:
    """What was seen. `steps` are the lines of the log, `seconds` those of parts of the rehearsal by name."""

    steps: tuple[Mapping[str, float], ...]
    seconds: Mapping[str, float]
    checkpoint_bytes: int
    embeddings_are_finite: bool

    def mean(self, name: str) -> float:
        """Of a figure, over the steps but for the first, where there are more."""
        lines = [line for line in self.steps if name in line]
        counted = lines[FIRST_STEPS:] or lines
        return sum(line[name] for line in counted) / len(counted) if counted else float("nan")

    @property
    def peak_gib(self) -> float:
        """The most memory of rank 0's device in the steps before the interruption; without a GPU of its process."""
        return max(line["peak_memory_gib"] for line in self.steps[:-1])

    @property
    def resumed_gib(self) -> float:
        """That of the step after it. A process keeps what its allocator had in small pieces, so it is no training's own."""
        return self.steps[-1]["peak_memory_gib"]


def without_gpu(recipe: Recipe, visual: int | None, settings: Sequence[str]) -> tuple[Recipe, int, str]:
    """A recipe whose step a CPU takes in minutes, the visual tokens of its pictures, and a line that says what was changed.

    Layers, tokens, losses and adapters stay. What the user has set, `visual` and a phase's dtype among `settings`, stays too.
    """
    changed, undo = [], []
    shown = visual or recipe.pixels.max_tokens
    few = recipe.pixels.at(min(shown, CPU_VISUAL_TOKENS)).max_tokens
    if visual is None and few < shown:
        changed.append(f"{few} visual tokens a picture for {shown:,}")
        undo.append(f"--visual-tokens {shown}")
        shown = few
    halves = [number for number, phase in enumerate(recipe.phases) if phase.dtype == "bfloat16"]
    if halves and not any(setting.partition("=")[0].endswith("dtype") for setting in settings):
        recipe = replace(recipe, phases=tuple(replace(phase, dtype="float32") for phase in recipe.phases))
        changed.append("float32 for bfloat16")
        undo.append(f"--set phases.{halves[0]}.dtype=bfloat16")
    why = "a step takes hours with what the recipe says"
    return recipe, shown, f"no GPU: {' and '.join(changed)}, since {why}; {' '.join(undo)} has it back" if changed else ""


def rehearsal_recipe(recipe: Recipe, phase: str, size: Size) -> Recipe:
    """The recipe with that phase alone, of as many steps and rows as the rehearsal has; what a step computes stays."""
    chosen = recipe.until(phase or recipe.phases[0].name).phase
    mixture = chosen.mixture
    pairs = mixture.pairs if size.pairs is None or not mixture.pairs else size.pairs
    outside = mixture.outside if size.pairs is None else min(mixture.outside, max(1, size.pairs // 8))
    drawn = replace(
        mixture,
        pairs=pairs,
        sub_batch=_largest_divisor(pairs, most=mixture.sub_batch),
        outside=outside,
        own_sides=tuple(side for side in mixture.own_sides if side != "negatives"),  # the drawn pairs have none
        outside_sets=(),
        weights=(),
    )
    steps = size.steps + 1
    chosen = replace(
        chosen,
        start="merged",  # alone it begins in the model folder, whatever phase comes before
        steps=steps,
        mixture=drawn,
        negatives=InFile(),
        held_out=size.ranks,
        evaluate_every=size.steps,
        checkpoint_every=steps,
        keep_checkpoints=1,
    )
    pixels = recipe.pixels.at(size.visual)
    return replace(recipe, phases=(chosen,), pixels=pixels)


def _largest_divisor(pairs: int, *, most: int) -> int:
    """The largest run of one dataset, up to the recipe's, that pairs are made of; 1 where there are none."""
    return next(size for size in range(max(1, min(most, pairs)), 0, -1) if pairs % size == 0)


def prepare(context: Context, run: Runner) -> Iterator[str]:
    """Make corpus, model and all that training reads; yields what is being done. A part that is there is left as it is.

    Raises ConfigError before anything is made where the backbone's published shape is not known.
    """
    from data_prep.published_shapes import shape_of
    from data_prep.toy_world import FACTS, write_toy_world

    if isinstance(context.recipe.backbone, PublishedBackbone):
        shape_of(context.recipe.backbone.name)
    mixture = context.recipe.phase.mixture
    rows = max(mixture.sub_batch + context.recipe.phase.held_out, mixture.pairs // 10) + _SPARE_ROWS
    if not (context.data / FACTS).is_file():
        yield "drawing pictures"
        talks = mixture.outside + context.recipe.phase.held_out + _SPARE_ROWS
        write_toy_world(
            context.data, seed=0, train_rows=rows, eval_rows=1, conversations=talks, mcq_rows=1, times=ENLARGED, progress=_quiet
        )
    yield "making a model of the published shape with random weights"
    machine = Machine(model_folder=_shape(context))
    yield "preparing rows"
    list(run_chain(stages(context, machine), context, until="measure", run=run))


def _quiet(line: str) -> None:
    """Progress of the drawing, which takes seconds."""


def _shape(context: Context) -> Path | None:
    """The random model's folder; None for a tiny recipe, whose stage `model` makes one anyway."""
    from data_prep.published_shapes import build_random_model

    backbone = context.recipe.backbone
    if not isinstance(backbone, PublishedBackbone):
        return None
    folder = context.work / f"random-{backbone.name}"
    if not (folder / "preprocessor_config.json").is_file():  # it is written last
        build_random_model(folder, backbone.name, _texts(context.data), seed=0)
    return folder


def _texts(data: Path) -> Iterator[str]:
    """What the tokenizer is trained on: the drawn conversations."""
    for row in json.loads((data / "conversations" / "train.json").read_text(encoding="utf-8")):
        yield from (turn["value"] for turn in row["conversations"])


def rehearse(context: Context, size: Size, run: Runner) -> Rehearsed:
    """Take the steps, stop, go on from the checkpoint for one more, and embed a batch with what was trained."""
    seconds = {}
    begun = time.monotonic()
    stage = TrainStage(context=context, stop_after=size.steps)
    try:
        run(stage, context)
    except StoppedError:
        seconds["start and steps"] = time.monotonic() - begun
    _let_go()
    begun = time.monotonic()
    run(replace(stage, stop_after=None), context)
    seconds["resume and one step"] = time.monotonic() - begun
    _let_go()
    begun = time.monotonic()
    newest = next((context.train / "checkpoints").glob("step-*"))
    finite = _embeds(newest, context.data)
    seconds["loading and embedding"] = time.monotonic() - begun
    lines = (context.train / "metrics.jsonl").read_text().splitlines()
    return Rehearsed(
        steps=tuple(json.loads(line) for line in lines),
        seconds=seconds,
        checkpoint_bytes=sum(file.stat().st_size for file in newest.rglob("*") if file.is_file()),
        embeddings_are_finite=finite,
    )


def _let_go() -> None:
    """Free what a training that ended has held: its engine refers to itself, and would stand beside what is loaded next."""
    import torch

    gc.collect()
    torch.cuda.empty_cache()


def _embeds(checkpoint: Path, data: Path) -> bool:
    """Whether a batch of pictures has finite embeddings from the trained model, on the device that is there."""
    import zipfile

    import numpy as np
    import torch

    from pipeline.inference import load_model

    with zipfile.ZipFile(data / "conversations" / "images.zip") as archive:
        pictures = [archive.read(name) for name in archive.namelist()[:EMBEDDED]]
    device = "cuda" if torch.cuda.is_available() else "cpu"
    model = load_model(checkpoint, device=device, dtype="bfloat16" if device == "cuda" else "float32")
    return bool(np.isfinite(model.embed([Side(text="<|image_1|>", images=(picture,)) for picture in pictures])).all())


def lines(found: Rehearsed, expected: Forecast, size: Size) -> list[str]:
    """The rehearsal as a table of what was seen beside what the forecast says."""
    step = found.mean("seconds")
    rows = [
        ("memory of a rank, GiB", f"{found.peak_gib:.2f}", f"{expected.memory.total / 2**30:.2f}"),
        ("the same after the resume, GiB", f"{found.resumed_gib:.2f}", ""),
        ("seconds a step", f"{step:.2f}", ""),
        ("tokens/s, all ranks", f"{found.mean('tokens_per_second'):,.0f}", ""),
        ("tokens a step, all ranks", f"{found.mean('tokens_per_second') * step:,.0f}", f"{expected.work.tokens:,}"),
        ("PFLOPs of the model a step", "", f"{expected.work.model / 1e15:.4f}"),
        ("share of the step that waits for data", f"{found.mean('data_wait_share'):.1%}", ""),
        ("checkpoint, MB", f"{found.checkpoint_bytes / 1e6:.1f}", ""),
    ]
    for name, label in (("model_flops_utilisation", "MFU"), ("hardware_flops_utilisation", "hardware utilisation")):
        value = found.mean(name)
        rows.append((label, "not known for this device" if value != value else f"{value:.1%}", ""))
    rows += [(name, f"{seconds:.0f} s", "") for name, seconds in found.seconds.items()]
    head = f"{'rehearsed, ' + str(size.ranks) + ' rank(s)':<40} {'seen':>26} {'forecast':>12}"
    return [head, *(f"{name:<40} {seen:>26} {said:>12}".rstrip() for name, seen, said in rows)]
