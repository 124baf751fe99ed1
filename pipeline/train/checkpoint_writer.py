"""Writes a run's checkpoints while it goes on: a step waits for a copy in the host's memory, never for the disk."""

import logging
import os
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from dataclasses import replace
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import TypeVar

import torch

from pipeline.errors import CheckpointError
from pipeline.manifest import canonical_json, fingerprint
from pipeline.model.backbone import folder_digests
from pipeline.recipe import Recipe
from pipeline.recipe_json import recipe_fingerprint
from pipeline.train import checkpoint, checkpoint_retention
from pipeline.train.collectives import on_any_rank
from pipeline.train.engine import Engine
from pipeline.train.run_options import TrainingPaths

logger = logging.getLogger(__name__)

_HELD_OUT = "held_out/"

Value = TypeVar("Value")


class CheckpointWriter:
    """Rank 0 writes, one checkpoint at a time, in a thread; every rank calls the methods. `saved` is the newest one's step.

    A write that fails is told at the next `save` or `finish`, on every rank, and in the log where another error ends the run
    first. On leaving, a write that has begun is ended, but for a second Ctrl-C: what is half written is aside, and is removed by
    the next run.
    """

    def __init__(self, paths: TrainingPaths, recipe: Recipe, engine: Engine, data_fingerprint: str, saved: int | None) -> None:
        self.paths, self.recipe, self.engine, self.saved = paths, recipe, engine, saved
        self._data_fingerprint = data_fingerprint
        self._writing: Future[None] | None = None
        # Begun now, while the folder is what the model was read from, and by the rank that notes it: it reads the whole folder.
        self.model_digest = _begin(lambda: fingerprint(folder_digests(paths.model))) if engine.rank == 0 else None

    def __enter__(self) -> "CheckpointWriter":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self._writing is None or kind is KeyboardInterrupt:
            return
        problem = self._writing.exception()
        if problem is not None:
            logger.error("step %s: its checkpoint could not be written: %s", self.saved, problem)

    def save(self, step: int, figures: Mapping[str, float], *, skipped: int = 0, skipped_in_a_row: int = 0) -> Path:
        """Begin to write the state after `step` steps, so many of them skipped, unless it is there.

        Raises what the write before it met.
        """
        folder = checkpoint.folder_of(self.paths.checkpoints, step)
        if self.saved == step:
            return folder
        self.finish()
        begun = time.monotonic()
        weights, moments = self.engine.state_tensors()
        if self.engine.rank == 0:
            held_out = {name.removeprefix(_HELD_OUT): value for name, value in figures.items() if name.startswith(_HELD_OUT)}
            state = checkpoint.State(
                step=step,
                recipe=self.recipe.name,
                recipe_fingerprint=recipe_fingerprint(self.recipe),
                data_fingerprint=self._data_fingerprint,
                model_folder=os.path.relpath(self.paths.model.resolve(), folder.resolve()),
                digests={},
                skipped=skipped,
                skipped_in_a_row=skipped_in_a_row,
                held_out=held_out,
            )
            stall = time.monotonic() - begun
            self._writing = _begin(lambda: self._write(folder, weights, moments, state, stall))
        self.saved = step
        return folder

    def finish(self) -> None:
        """Wait for the write that has begun, if any. Where it failed, raises its error on rank 0, CheckpointError on others."""
        # Whatever the error is: ranks that were not told would wait for rank 0 for ever.
        problem = self._writing.exception() if self._writing is not None else None
        self._writing = None
        if on_any_rank(problem is not None):
            raise problem or CheckpointError(f"step {self.saved}: rank 0 could not write its checkpoint; its message says why")

    def _write(
        self,
        folder: Path,
        weights: dict[str, torch.Tensor],
        moments: dict[str, torch.Tensor],
        state: checkpoint.State,
        stall: float,
    ) -> None:
        begun = time.monotonic()
        state = replace(state, model_digest=self.model_digest.result() if self.model_digest else "")
        checkpoint.save(folder, weights, moments, state, canonical_json(self.recipe))
        checkpoint_retention.prune(self.paths.checkpoints, self.recipe.phase, state.step)
        logger.info("%s: training waited %.1f s, the disk took %.1f s", folder.name, stall, time.monotonic() - begun)


def _begin(work: Callable[[], Value]) -> Future[Value]:
    """What the work returns or raises, while it goes on in a thread that a process which ends does not wait for."""
    future = Future[Value]()

    def run() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # noqa: BLE001 (who asks for the result gets it)
            future.set_exception(error)

    Thread(target=run, name="checkpoint", daemon=True).start()
    return future
