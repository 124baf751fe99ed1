"""What a stage notes into: one run, or nothing."""

import logging
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Protocol

from pipeline.tracking.address import one_line
from pipeline.tracking.entries import MAX_METRICS_PER_CALL, Number, metrics_of, milliseconds, params_of, tags_of
from pipeline.tracking.notes import Note
from pipeline.tracking.system import SystemMetrics

logger = logging.getLogger(__name__)

_FLUSH_SECONDS = 5.0


class Tracker(Protocol):
    """Where a stage notes what it did. No method raises: a note that cannot be taken is warned of once."""

    run_id: str

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note settings, cut to the store's limits."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note numbers at a step; non-finite ones are left out."""

    def log_artifact(self, path: Path) -> None:
        """Copy a file into the run."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note short texts that the run is found by."""


class NullTracker:
    """Stands where nothing is to be noted: other ranks, tests, a store that does not answer."""

    run_id = ""

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note nothing."""

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note nothing."""

    def log_artifact(self, path: Path) -> None:
        """Note nothing."""

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note nothing."""


class Sink(Protocol):
    """Takes notes, and never raises: a thread that sends them, or a file that keeps them."""

    def put(self, note: Note) -> None:
        """Take a note."""

    def take_file(self, path: Path) -> Path:
        """Where a file lies until it is sent. Raises OSError where it cannot be kept."""

    def close(self) -> None:
        """No more notes come."""


class RunTracker:
    """Notes into one run, numbers together every few seconds: one transaction a step would cost a step several per cent."""

    def __init__(self, run_id: str, sink: Sink, *, began: float) -> None:
        """`began`: seconds since 1970 of the run's beginning."""
        self.run_id, self._sink = run_id, sink
        self._held: list[Number] = []
        self._flushed = time.monotonic()
        self._system = SystemMetrics(self._log_now, began=began)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note settings; nested values become dotted names."""
        self._sink.put(Note(params=params_of(params)))

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note numbers at a step; non-finite ones are left out."""
        self._held.extend(metrics_of(metrics, step))
        if len(self._held) >= MAX_METRICS_PER_CALL or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Hand on the numbers that are still held back."""
        held, self._held = self._held, []
        self._flushed = time.monotonic()
        if held:
            self._sink.put(Note(metrics=held))

    def log_artifact(self, path: Path) -> None:
        """Copy a file into the run's artifact folder."""
        try:
            self._sink.put(Note(file=str(self._sink.take_file(path))))
        except OSError as error:
            logger.warning("tracking: %s is not noted (%s)", path, one_line(error))

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note short texts that the run is found by."""
        self._sink.put(Note(tags=tags_of(tags)))

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._system.close()
        self.flush()
        self._sink.put(Note(status=status, ended=milliseconds()))
        self._sink.close()

    def _log_now(self, metrics: Mapping[str, float], step: int) -> None:
        """Hand on numbers of another thread than the stage's."""
        self._sink.put(Note(metrics=metrics_of(metrics, step)))
