"""What a stage notes into: one MLflow run, or nothing."""

import time
from collections import deque
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from pipeline.tracking.entries import MAX_METRICS_PER_CALL, MAX_PARAMS_PER_CALL, batches, metrics_of, params_of, tags_of
from pipeline.tracking.sender import Sender, may_pass
from pipeline.tracking.system import SystemMetrics

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Metric, Run

CHANGED_TAG = "crem.changed."
_FLUSH_SECONDS = 5.0
_ARTIFACT_SECONDS = 10.0
_NOTHING_LOGGED = -1
_MAX_HELD = 200_000
"""Numbers that wait while a store is away; of more, the newest are kept."""


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


class MlflowTracker:
    """Notes into one MLflow run, in batches and in the background.

    A run that is opened again goes on where it stood: of a metric that it has up to a step, only later steps are noted.
    """

    def __init__(self, client: "MlflowClient", run: "Run", *, is_reopened: bool = False) -> None:
        self.run_id = str(run.info.run_id)
        self._client = client
        self._is_reopened = is_reopened
        self._params: dict[str, str] = dict(run.data.params)
        self._last_steps: dict[str, int] = {}
        self._held: deque[Metric] = deque(maxlen=_MAX_HELD)
        self._in_flight: list[Metric] = []
        self._flushed = time.monotonic()
        self._sender = Sender()
        self._system = SystemMetrics(self._log_now, began=run.info.start_time / 1000)

    def log_params(self, params: Mapping[str, object]) -> None:
        """Note settings; nested values become dotted names.

        A store never changes a parameter. One with another value than before becomes the tag `crem.changed.<name>`.
        """
        entries = params_of(params)
        fresh = [entry for entry in entries if entry.key not in self._params]
        changed = {entry.key: entry.value for entry in entries if self._params.get(entry.key, entry.value) != entry.value}
        self._params |= {entry.key: entry.value for entry in fresh}
        for part in batches(fresh, MAX_PARAMS_PER_CALL):
            self._sender.put(partial(self._client.log_batch, self.run_id, params=part))
        self.set_tags({CHANGED_TAG + name: value for name, value in changed.items()})

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        """Note numbers at a step; non-finite ones are left out.

        They are sent together, every few seconds: one transaction a step would cost a training step several per cent.
        """
        self._held.extend(metrics_of(metrics, step))
        if len(self._held) >= MAX_METRICS_PER_CALL or time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Send the numbers that are still held back."""
        self._sender.put(self._send_metrics)
        self._flushed = time.monotonic()

    def log_artifact(self, path: Path) -> None:
        """Copy a file into the run's artifact folder. Waits a while for it: a stage's folder may move next."""
        self._sender.put(partial(self._client.log_artifact, self.run_id, str(path)))
        self._sender.wait(_ARTIFACT_SECONDS)

    def set_tags(self, tags: Mapping[str, str]) -> None:
        """Note short texts that the run is found by."""
        for part in batches(tags_of(tags), MAX_PARAMS_PER_CALL):
            self._sender.put(partial(self._client.log_batch, self.run_id, tags=part))

    def finish(self, status: str) -> None:
        """Close the run as FINISHED, FAILED or KILLED."""
        self._system.close()
        self.flush()
        self._sender.put(partial(self._client.set_terminated, self.run_id, status=status))
        self._sender.close()

    def _log_now(self, metrics: Mapping[str, float], step: int) -> None:
        """Send numbers from another thread than the stage's."""
        self._held.extend(metrics_of(metrics, step))
        self._sender.put(self._send_metrics)

    def _send_metrics(self) -> None:
        """Send all numbers that are held, those of a whole outage in few calls. What fails for now stays in flight."""
        while self._in_flight or self._held:
            while self._held and len(self._in_flight) < MAX_METRICS_PER_CALL:
                self._in_flight.append(self._held.popleft())
            self._send_in_flight()
            self._in_flight = []

    def _send_in_flight(self) -> None:
        """Send the numbers in flight, but not those of steps that the run had when it was opened again."""
        try:
            fresh = [metric for metric in self._in_flight if metric.step == 0 or metric.step > self._last_step(metric.key)]
            if fresh:
                self._client.log_batch(self.run_id, metrics=fresh)
        except Exception as error:
            if not may_pass(error):
                self._in_flight = []
            raise

    def _last_step(self, key: str) -> int:
        """The last step that the run had of a metric before it was opened again."""
        if not self._is_reopened:
            return _NOTHING_LOGGED
        if key not in self._last_steps:
            history = self._client.get_metric_history(self.run_id, key)
            self._last_steps[key] = max((metric.step for metric in history), default=_NOTHING_LOGGED)
        return self._last_steps[key]
