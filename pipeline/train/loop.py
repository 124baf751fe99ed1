"""The training loop: steps from the newest whole checkpoint to the end, with logs, evaluation and checkpoints on the way."""

import logging
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch.distributed as dist

from pipeline.batch import Batch
from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.errors import PipelineError, StoppedError
from pipeline.model.attention import Route
from pipeline.model.backbone import open_folder
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.recipe_json import course_fingerprint
from pipeline.sequence import Vocabulary
from pipeline.tracking import Tracker
from pipeline.train import checkpoint
from pipeline.train.build import DTYPES, build_embedder, chorus_ids, load_trained
from pipeline.train.checkpoint_writer import CheckpointWriter
from pipeline.train.collectives import as_on_rank_0, of_all_ranks, on_any_rank, rank_0_first
from pipeline.train.dataloader.collate_buffer import load_ahead
from pipeline.train.dataloader.corpus import Corpus, check_datasets, check_pixels
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.lengths import count_left_out
from pipeline.train.dataloader.shared_memory import limit_of
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.dataloader.token_counts import ensure_lengths, lengths_file, ruler_of, warn_of_counting
from pipeline.train.dataloader.unreadable import UnreadableRows
from pipeline.train.distributed import own_rank, start_process_group
from pipeline.train.engine import Engine
from pipeline.train.fault_tolerance.out_of_memory import naming_settings
from pipeline.train.fault_tolerance.signals import StopNote
from pipeline.train.fault_tolerance.skipped_steps import Skips
from pipeline.train.fault_tolerance.watchdog import READS, Watchdog
from pipeline.train.flops import Cost
from pipeline.train.held_out import HeldOut, is_due
from pipeline.train.metrics_log import MetricsLog, drop_after
from pipeline.train.node import Node
from pipeline.train.run_chunks import RunChunks
from pipeline.train.run_header import asked, composition, opening, told
from pipeline.train.run_options import DEFAULT_OPTIONS, RunOptions, TrainingPaths
from pipeline.train.schedule import learning_rate
from pipeline.train.slowest_rank import SlowestRank
from pipeline.train.start import load_continued, start_of
from pipeline.train.step import train_step
from pipeline.train.step_metrics import Clock, Tally, figures_of, scheduled, summary, tally

logger = logging.getLogger(__name__)

SIZED_STEPS = 3
"""Steps whose bytes are estimated before loader processes start: all have as many rows."""

Progress = Callable[[int, int, str], None]
"""Called with (steps done, steps in all, what to say about the last one)."""


def train(
    paths: TrainingPaths,
    recipe: Recipe,
    tracker: Tracker,
    *,
    progress: Progress,
    options: RunOptions = DEFAULT_OPTIONS,
    stop_after: int | None = None,
) -> Path:
    """Train the recipe's last phase and return the folder of its last checkpoint.

    Resumes from the newest whole checkpoint of the same course of training and data. `stop_after` ends the run at that step, as
    an interruption would. Every rank calls this; rank 0 writes.

    Raises:
        StoppedError: a signal asked for it; the checkpoint is written.
        PipelineError: what the user can mend; the last checkpoint is intact.
    """
    with StopNote() as note, Watchdog(paths.heartbeats, own_rank(), options.step_timeout, note) as watch:
        with naming_settings(recipe):
            run = _Run(paths, recipe, tracker, progress, note, watch)
        with naming_settings(run.chunks.recipe), run.engine.released(), run.writer:
            begin = run.resume()
            end = run.phase.steps if stop_after is None else min(stop_after, run.phase.steps)
            return run.steps(begin, end, run.node.loaders if options.num_workers is None else options.num_workers)


class _Run:
    """One training run on one rank: what the loop keeps between steps."""

    def __init__(
        self, paths: TrainingPaths, recipe: Recipe, tracker: Tracker, progress: Progress, note: StopNote, watch: Watchdog
    ) -> None:
        self.recipe, self.progress, self.note, self.watch = recipe, progress, note, watch
        self.journal = MetricsLog(paths.metrics, tracker)
        rank, num_ranks = start_process_group()
        watch.is_queued = num_ranks > 1 and dist.get_backend() == "nccl"
        # All that the user may have to mend is looked at before the model loads.
        with rank_0_first():
            model, continued = start_of(paths, recipe)
        self.paths = paths = replace(paths, model=model)
        folder, self.node = open_folder(model), Node.of_this_rank()
        self.slowest = SlowestRank(self.node.hosts)
        self.chunks = RunChunks(paths.chunks, model, recipe, self.node)
        self.phase: Phase = self.chunks.at(0)
        vocabulary = folder.vocabulary(chorus_ids(folder, recipe), recipe.vision)
        with rank_0_first():
            corpus = self._corpus(vocabulary, writes=rank == 0)
        self.dataset = StepDataset(corpus, self.chunks.recipe, vocabulary, rank=rank, num_ranks=num_ranks)
        self.held_out = HeldOut(self.phase)
        self.data_fingerprint = corpus.fingerprint
        watch.beat(0, "loading the model")
        embedder, _ = build_embedder(model, recipe, dtype=DTYPES[self.phase.dtype])
        watch.beat(0, "choosing a checkpoint")
        self.found = self._newest(rank)
        if self.found:
            load_trained(embedder, checkpoint.weights(self.found[0]), self.found[0])
        elif continued:
            load_continued(embedder, continued, recipe)
        self.cost = Cost.of(embedder)
        watch.beat(0, "starting DeepSpeed")
        self.engine = Engine(embedder, self.phase)
        self.route = Route.of(embedder.backbone.text.config, self.engine.device, DTYPES[self.phase.dtype])
        skipped = (self.found[1].skipped, self.found[1].skipped_in_a_row) if self.found else (0, 0)
        self.skips = Skips(self.phase.skips_in_a_row, *skipped)
        taken, num_rows = self.found[1].step if self.found else 0, len(corpus.index)
        self.unreadable = UnreadableRows(paths.unreadable, self.phase.max_unreadable, num_rows, step=taken)
        saved = self.found[1].step if self.found else None
        self.writer = CheckpointWriter(paths, recipe, self.engine, self.data_fingerprint, saved)

    def _corpus(self, vocabulary: Vocabulary, *, writes: bool) -> Corpus:
        self.watch.beat(0, "opening the corpus")
        index, qa = ShardIndex.open(self.paths.shards), QaTable.open(self.paths.qa, self.phase.needs or "qa")
        check_datasets(index, self.phase.mixture, self.recipe.phase_path)
        check_pixels(index, self.recipe.pixels)
        ruler = ruler_of(self.recipe, vocabulary)
        table = lengths_file(self.paths.lengths, index, ruler, self.paths.model)
        warn_of_counting(table, len(index))
        lengths = ensure_lengths(table, index, ruler, self._counted)
        corpus = Corpus.of(index, qa, lengths, self.phase, self.paths.negatives)
        if writes:
            self.journal.tracker.log_params(count_left_out(corpus.lengths, table, self.recipe.max_length))
        return corpus

    def _counted(self, done: int, total: int) -> None:
        """Rows were counted: a large corpus may take longer than a step."""
        self.watch.beat(0, "counting tokens")
        self.progress(done, total, "rows measured")

    def _newest(self, rank: int) -> tuple[Path, checkpoint.State] | None:
        """The checkpoint to go on from: rank 0 checks and chooses, so that all take the same."""
        root, none = self.paths.checkpoints, -1
        course = course_fingerprint(self.recipe)
        found = checkpoint.newest(root, course=course, data_fingerprint=self.data_fingerprint) if rank == 0 else None
        step = as_on_rank_0(checkpoint.step_of(found[0]) if found else none)
        folder = checkpoint.folder_of(root, step)
        return None if step == none else (folder, checkpoint.peek(folder))

    def resume(self) -> int:
        """Take over the newest checkpoint's optimizer; returns the step to go on with."""
        step = self.found[1].step if self.found else 0
        if self.found:
            folder, state = self.found
            taken = state.step - state.skipped
            self.watch.beat(0, "resuming")
            self.engine.restore(checkpoint.weights(folder), checkpoint.optimizer_state(folder), taken, self.dataset.dummy())
            logger.info("resumed from %s", folder)
        if self.engine.rank == 0:
            self.journal.go_on_from(step)
            drop_after(self.paths.unreadable, step)
        return step

    def steps(self, begin: int, end: int, num_workers: int) -> Path:
        """Train the steps of a range; returns the folder of the checkpoint after the last one."""
        started, watch = time.monotonic(), self.watch
        watch.beat(begin + 1, READS)
        works = self._works(begin, end, num_workers)
        for step in range(begin, end):
            asked = time.monotonic()
            work, waited = _next(works)
            if step == begin:
                self._announce(work, self.chunks.at(step), num_workers)
            watch.beat(step + 1, "training")
            figures, total = self._one_step(step, work, asked, waited)
            figures |= self._look(step + 1, works, work.dummy)
            self._record(step + 1, figures, (step + 1 - begin) / (time.monotonic() - started))
            watch.beat(step + 1, "saving")
            if (step + 1) % self.phase.checkpoint_every == 0:
                self._save(step + 1, figures)
            if total.asked_to_stop and step + 1 < end:
                self._stop(step + 1, figures)
            watch.beat(step + 2, READS)
        watch.beat(end, "saving")
        folder = self._save(end, {})
        self.writer.finish()
        return folder

    def _numbers(self, begin: int, end: int) -> list[int]:
        """What is read, in order: the steps of a range, and the held-out slice after those where it is looked at."""
        return [n for step in range(begin, end) for n in ((step, HELD_OUT) if self._is_look_due(step + 1) else (step,))]

    def _is_look_due(self, done: int) -> bool:
        held_out = self.dataset.held_out
        return bool(held_out.pairs or held_out.outside) and is_due(done, self.phase)

    def _works(self, begin: int, end: int, num_workers: int) -> Iterator[Any]:
        """Works in the order of their numbers. Workers that prepare them ahead cannot change what is read."""
        numbers = self._numbers(begin, end)
        sized = {*numbers[:SIZED_STEPS], *(number for number in numbers if number == HELD_OUT)}
        most = max(map(self.dataset.step_bytes, sized), default=0)
        return load_ahead(self.dataset, numbers, num_workers, limit=limit_of(self.node, most) if num_workers else most)

    def _announce(self, work: StepWork, phase: Phase, num_workers: int) -> None:
        """Say what a step is made of, once."""
        if self.engine.rank == 0:
            said = opening(work, self.recipe, phase, self.engine.num_ranks, num_workers)
            dataset = self.dataset
            parts = dataset.pairs.parts()
            drawn = list(composition(dataset.corpus.index, self.phase.mixture, parts, dataset.outside.parts()))
            sets = [name for name, part in parts.items() if part]
            drawn += [*told(self.recipe.templates, sets), *asked(dataset.corpus.qa, self.phase, sets)]
            logger.info("%s", "\n".join([*drawn, said, f"attention: {self.route}"]))
            noted = {
                "step": said,
                "attention": str(self.route),
                "mixture": "\n".join(drawn),
                "ranks": self.engine.num_ranks,
                "loaders": num_workers,
            }
            noted |= {name: getattr(phase, name) for name in ("zero_stage", "chunk_tokens", "kept_chunks")}
            self.journal.tracker.log_params(noted)

    def _one_step(self, step: int, work: StepWork, asked: float, waited: float) -> tuple[dict[str, float], Tally]:
        """Train one step, whose data was `asked` for at a time of the clock. Returns its figures and the sums over ranks."""
        phase = self.chunks.at(step)
        rate = learning_rate(step, phase)
        self.engine.own_time.begin()
        report = train_step(self.engine, work, phase, rate)
        clock = Clock(time.monotonic() - asked, waited, self.engine.own_time.seconds())
        cost = self.cost.step(work.chunks, phase)
        total = tally(work, clock, cost, engine=self.engine, asked_to_stop=bool(self.note.asked))
        self.skips.note(step, report)
        if total.unreadable:
            self.unreadable.note(step + 1, of_all_ranks(work.unreadable), writes=self.engine.rank == 0)
        figures = figures_of(report, work, clock, total, num_ranks=self.engine.num_ranks, device=self.engine.device)
        figures |= {"learning_rate": rate, "skipped_steps": float(self.skips.total), **scheduled(phase, step)}
        figures |= self.slowest.note(step + 1, total.own, says=self.engine.rank == 0)
        figures["attention_kernel"] = float(self.route.is_kernel)
        figures["kept_chunks"] = float(min(phase.budget.kept, len(work.chunks)))
        self.chunks.look(step, len(work.chunks))
        return figures, total

    def _look(self, done: int, works: Iterator[Any], dummy: Batch) -> dict[str, float]:
        """Figures of the held-out slice where they are due."""
        if not self._is_look_due(done):
            return {}
        self.watch.beat(done, READS)
        work, _ = _next(works)
        self.watch.beat(done, "evaluating")
        return self.held_out.evaluate(self.engine, work, dummy)

    def _record(self, done: int, figures: Mapping[str, float], steps_per_second: float) -> None:
        if self.engine.rank == 0:
            self.journal.write(done, figures)
            self.progress(done, self.phase.steps, summary(figures, steps_per_second))

    def _save(self, step: int, figures: Mapping[str, float]) -> Path:
        return self.writer.save(step, figures, skipped=self.skips.total, skipped_in_a_row=self.skips.in_a_row)

    def _stop(self, step: int, figures: Mapping[str, float]) -> None:
        """Leave with a checkpoint; every rank comes here after the same step. Raises StoppedError."""
        folder = self._save(step, figures)
        self.writer.finish()
        asked = self.note.asked or "a signal to another rank"
        raise StoppedError(f"stopped by {asked} after step {step}; {folder} is written, and the same command goes on from it")


def _next(works: Iterator[Any]) -> tuple[Any, float]:
    """The next of the works and the seconds waited for it. Every rank must call it.

    Raises PipelineError, on all ranks, where one of them has an error in the place of its work: the others would wait for it.
    """
    asked = time.monotonic()
    try:
        work = next(works)
    except PipelineError as error:
        work = error
    waited = time.monotonic() - asked
    problem = work if isinstance(work, PipelineError) else None
    if on_any_rank(problem is not None):
        raise problem or PipelineError("another rank has nothing to go on with; its message says why")
    return work, waited
