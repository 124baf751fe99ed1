"""Notes told to a run in a store, so that telling one twice, or after the run was cut off, does no harm."""

from typing import TYPE_CHECKING

from pipeline.tracking.entries import MAX_METRICS_PER_CALL, MAX_PARAMS_PER_CALL, Number, batches
from pipeline.tracking.notes import Note

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run

CHANGED_TAG = "crem.changed."
_NOTHING_LOGGED = -1


class Delivery:
    """Tells one run what is noted. It raises what MLflow raises.

    A store never changes a parameter: one with another value than before becomes the tag `crem.changed.<name>`. Where the run
    had numbers before (`is_reopened`), of each metric only steps behind its last one are told.
    """

    def __init__(self, client: "MlflowClient", run: "Run", *, is_reopened: bool = False) -> None:
        self._client = client
        self.run_id = str(run.info.run_id)
        self._params: dict[str, str] = dict(run.data.params)
        self._is_reopened = is_reopened
        self._last_steps: dict[str, int] = {}

    def __call__(self, note: Note) -> None:
        """Tell the run a note."""
        self._tell_params(note)
        self._tell_tags(dict(note.tags))
        self._tell_metrics(note)
        if note.file:
            self._client.log_artifact(self.run_id, note.file)
        if note.status:
            self._client.set_terminated(self.run_id, status=note.status, end_time=note.ended)

    def _tell_params(self, note: Note) -> None:
        from mlflow.entities import Param

        fresh = [Param(name, value) for name, value in note.params.items() if name not in self._params]
        changed = {name: value for name, value in note.params.items() if self._params.get(name, value) != value}
        for part in batches(fresh, MAX_PARAMS_PER_CALL):
            self._client.log_batch(self.run_id, params=part)
            self._params |= {param.key: param.value for param in part}
        self._tell_tags({CHANGED_TAG + name: value for name, value in changed.items()})

    def _tell_tags(self, tags: dict[str, str]) -> None:
        from mlflow.entities import RunTag

        for part in batches([RunTag(name, value) for name, value in tags.items()], MAX_PARAMS_PER_CALL):
            self._client.log_batch(self.run_id, tags=part)

    def _tell_metrics(self, note: Note) -> None:
        from mlflow.entities import Metric

        fresh = [Metric(*number) for number in note.metrics if self._is_fresh(number)]
        for part in batches(fresh, MAX_METRICS_PER_CALL):
            self._client.log_batch(self.run_id, metrics=part)
        if self._is_reopened:
            for metric in fresh:
                self._last_steps[metric.key] = max(metric.step, self._last_step(metric.key))

    def _is_fresh(self, number: Number) -> bool:
        """Whether the run does not have it yet; numbers without a step are always told."""
        name, _, _, step = number
        return step == 0 or step > self._last_step(name)

    def _last_step(self, key: str) -> int:
        """The last step that the run has of a metric, if it was opened again."""
        if not self._is_reopened:
            return _NOTHING_LOGGED
        if key not in self._last_steps:
            history = self._client.get_metric_history(self.run_id, key)
            self._last_steps[key] = max((metric.step for metric in history), default=_NOTHING_LOGGED)
        return self._last_steps[key]
