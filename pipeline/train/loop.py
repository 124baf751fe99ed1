"""The training loop: steps from the newest whole checkpoint to the end, with logs, evaluation and checkpoints on the way."""

import json
import logging
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from torch.utils.data import DataLoader

from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.errors import PipelineError
from pipeline.losses.weights import Stepwise, weight_at
from pipeline.manifest import canonical_json, fingerprint
from pipeline.model.backbone import open_folder
from pipeline.recipe import Phase, Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.sequence import SequenceBuilder, Vocabulary
from pipeline.tracking import Tracker
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, build_embedder, chorus_ids
from pipeline.train.corpus import Corpus, check_datasets, check_pixels
from pipeline.train.engine import Engine, rank_0_first, start_process_group
from pipeline.train.feed import Feed
from pipeline.train.held_out import HeldOut
from pipeline.train.lengths import Lengths, write_left_out
from pipeline.train.measure import Ruler, ensure_lengths, table_name
from pipeline.train.schedule import learning_rate
from pipeline.train.step import StepReport, train_step
from pipeline.train.work import StepWork

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what to say about the last one)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Places:
    """Folders that training reads and writes. `qa` may be missing: then no pair asks its own question."""

    shards: Path
    qa: Path | None
    model: Path
    out: Path

    @property
    def lengths(self) -> Path:
        """Tables of the rows' lengths in tokens; they outlive a training."""
        return self.out.with_name("lengths")

    @property
    def checkpoints(self) -> Path:
        """Where the step folders are."""
        return self.out / "checkpoints"

    @property
    def metrics(self) -> Path:
        """One JSON line a step."""
        return self.out / "metrics.jsonl"


def train(
    places: Places, recipe: Recipe, tracker: Tracker, *, progress: Progress, num_workers: int = 1, stop_after: int | None = None
) -> Path:
    """Train the recipe's phase and return the folder of its last checkpoint.

    Resumes from the newest whole checkpoint of the same recipe and data. `stop_after` ends the run at that step, as an
    interruption would. Every rank calls this; rank 0 writes.
    """
    phase = recipe.phases[0]
    run = _Run(places, recipe, phase, tracker, progress)
    begin = run.resume()
    end = phase.steps if stop_after is None else min(stop_after, phase.steps)
    started = time.monotonic()
    for step, work in run.works(begin, end, num_workers):
        figures = run.one_step(step, work)
        run.log(step, figures)
        if run.engine.rank == 0:
            done = step + 1 - begin
            progress(step + 1, phase.steps, _summary(figures, done / (time.monotonic() - started)))
    return run.finish(end)


def _summary(figures: Mapping[str, float], steps_per_second: float) -> str:
    names = {"contrastive": "InfoNCE", "own_language": "LM own", "outside_language": "LM outside", "precision_at_1": "P@1"}
    shown = "  ".join(f"{label} {figures[name]:.3f}" for name, label in names.items() if name in figures)
    return f"{shown}  {steps_per_second:.2f} steps/s"


class _Run:
    """One training run on one rank: what the loop keeps between steps."""

    def __init__(self, places: Places, recipe: Recipe, phase: Phase, tracker: Tracker, progress: Progress) -> None:
        self.places, self.recipe, self.phase, self.tracker = places, recipe, phase, tracker
        rank, num_ranks = start_process_group()
        # All that the user may have to mend is looked at before the model loads.
        folder = open_folder(places.model)
        vocabulary = folder.vocabulary(chorus_ids(folder, recipe))
        with rank_0_first(rank, num_ranks):
            corpus, table = self._corpus(vocabulary, progress)
        if rank == 0:
            self._note_left_out(corpus.lengths, table)
        self.feed = Feed(corpus, recipe, phase, vocabulary, rank=rank, num_ranks=num_ranks)
        self.held_out = HeldOut(self.feed)
        self.identity = {
            "recipe_fingerprint": recipe_fingerprint(recipe),
            "data_fingerprint": fingerprint([corpus.index.fingerprint, corpus.qa.fingerprint]),
        }
        embedder, _ = build_embedder(places.model, recipe, dtype=DTYPES[phase.dtype])
        self.found = checkpoint.newest(places.checkpoints, **self.identity)
        if self.found:
            embedder.load_state_dict(checkpoint.weights(self.found[0]), strict=False)
        self.engine = Engine(embedder, phase)

    def _corpus(self, vocabulary: Vocabulary, progress: Progress) -> tuple[Corpus, Path]:
        """The corpus with its table of lengths, which is made if need be, and the table's file."""
        index, qa = ShardIndex.open(self.places.shards), QaTable.open(self.places.qa)
        check_datasets(index, self.phase.mixture)
        check_pixels(index, self.recipe.pixels)
        recipe, cap = self.recipe, self.recipe.max_length
        builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.layout, max_length=cap)
        ruler = Ruler(builder=builder, pixels=recipe.pixels)
        table = self.places.lengths / table_name(index, ruler, self.places.model)
        lengths = ensure_lengths(table, index, ruler, lambda done, total: progress(done, total, "rows measured"))
        return Corpus(index=index, qa=qa, lengths=lengths), table

    def _note_left_out(self, lengths: Lengths, table: Path) -> None:
        """Count and list the rows that pass the cap."""
        cap, count = self.recipe.max_length, int((~lengths.fits(self.recipe.max_length)).sum())
        self.tracker.log_params({"rows": len(lengths), "rows_over_max_length": count})
        listed = table.with_name(f"{table.stem}-over-{cap}.jsonl")
        if write_left_out(listed, table, lengths, cap):
            message = "%d of %d rows are left out, most for passing max_length = %d; they are listed, with hard negatives, in %s"
            logger.warning(message, count, len(lengths), cap, listed)

    def resume(self) -> int:
        """Take over the newest checkpoint's optimizer; returns the step to go on with."""
        if not self.found:
            _truncate(self.places.metrics, 0)
            return 0
        folder, state = self.found
        idle = self.feed.work(self.feed.draw(0), 0).idle
        self.engine.restore(checkpoint.weights(folder), checkpoint.optimizer_state(folder), state.step, idle)
        _truncate(self.places.metrics, state.step)
        logger.info("resumed from %s", folder)
        return state.step

    def works(self, begin: int, end: int, num_workers: int) -> Iterator[tuple[int, StepWork]]:
        """Steps and their work, prepared ahead by workers that cannot change what is read."""
        ahead = 4 if num_workers else None
        loader = DataLoader(self.feed, batch_size=None, sampler=range(begin, end), num_workers=num_workers, prefetch_factor=ahead)
        for step, work in zip(range(begin, end), loader, strict=True):
            if isinstance(work, PipelineError):
                raise work
            yield step, work

    def one_step(self, step: int, work: StepWork) -> dict[str, float]:
        """Train one step; evaluate and checkpoint when they are due. Returns the figures to log."""
        begun = time.monotonic()
        rate = learning_rate(step, self.phase)
        # Dropout, where a recipe has any, depends on nothing but step and rank, so a resumed run draws the same.
        torch.manual_seed(hash((self.recipe.seed, step, self.engine.rank)) & 0x7FFFFFFF)
        report = train_step(self.engine, work, self.recipe, self.phase, rate)
        if not report.finite:
            raise PipelineError(
                f"step {step}: loss or gradient is not finite ({report}); lower the learning rate; the last checkpoint is intact"
            )
        seconds = time.monotonic() - begun
        figures = _figures(report, work, seconds) | {"learning_rate": rate} | _scheduled_weights(self.phase, step)
        done = step + 1
        if done % self.phase.evaluate_every == 0 or done == self.phase.steps:
            figures |= self.held_out.evaluate(self.engine)
        if done % self.phase.checkpoint_every == 0:
            self.save(done)
        return figures

    def save(self, step: int) -> Path:
        """Write a checkpoint of the state after `step` steps."""
        folder = self.places.checkpoints / f"step-{step:08d}"
        weights, moments = self.engine.state_tensors()
        if self.engine.rank == 0:
            model = os.path.relpath(self.places.model.resolve(), folder.resolve())
            state = checkpoint.State(step=step, recipe=self.recipe.name, model_folder=model, digests={}, **self.identity)
            checkpoint.save(folder, weights, moments, state, canonical_json(self.recipe))
            checkpoint.prune(self.places.checkpoints, self.phase.keep_checkpoints)
        return folder

    def log(self, step: int, figures: dict[str, float]) -> None:
        """Append a step's figures to the local file at once, and to the tracker now and then."""
        if self.engine.rank:
            return
        self.places.metrics.parent.mkdir(parents=True, exist_ok=True)
        with self.places.metrics.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": step + 1, **figures}) + "\n")
        self.tracker.log_metrics({f"train/{name}": value for name, value in figures.items()}, step=step + 1)

    def finish(self, end: int) -> Path:
        """The last checkpoint, written now when the last step was not one of its own."""
        folder = self.places.checkpoints / f"step-{end:08d}"
        return folder if (folder / checkpoint.STATE).is_file() else self.save(end)


def _scheduled_weights(phase: Phase, step: int) -> dict[str, float]:
    """Loss weights at a step, as far as they change in the phase."""
    weights = {"contrastive_weight": phase.contrastive_weight, "language_weight": phase.language_weight}
    return {name: weight_at(weight, step) for name, weight in weights.items() if isinstance(weight, Stepwise)}


def _figures(report: StepReport, work: StepWork, seconds: float) -> dict[str, float]:
    figures = {name: float(value) for name, value in asdict(report).items() if value is not None}
    return figures | {
        "seconds": seconds,
        "pairs_per_second": work.num_pairs / seconds,
        "tokens_per_second": work.num_tokens / seconds,
        "chunks": float(len(work.chunks)),
        "cut_answers": float(work.num_cut),
    }


def _truncate(file: Path, step: int) -> None:
    """Drop log lines after `step`: a resumed run writes them again."""
    if not file.exists():
        return
    lines = [line for line in file.read_text().splitlines() if _step_of(line) <= step]
    file.write_text("".join(line + "\n" for line in lines))


def _step_of(line: str) -> float:
    try:
        return float(json.loads(line)["step"])
    except ValueError:
        return float("inf")  # a line cut short by a kill
