"""What a run is told, against a store that keeps what it is given in a list."""

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from pipeline.tracking.delivery import Delivery
from pipeline.tracking.notes import Note
from pipeline.tracking.store import load_library


class Store:
    """Takes calls as MLflow's client does."""

    def __init__(self) -> None:
        self.metrics, self.params, self.tags = list[tuple[str, int]](), dict[str, str](), dict[str, str]()

    def log_batch(self, run_id: str, metrics: Sequence[Any] = (), params: Sequence[Any] = (), tags: Sequence[Any] = ()) -> None:
        assert len(metrics) <= 1000 and len(params) <= 100 and len(tags) <= 100
        assert not {param.key for param in params} & set(self.params), "a store refuses a whole batch for one that it has"
        self.metrics += [(metric.key, metric.step) for metric in metrics]
        self.params |= {param.key: param.value for param in params}
        self.tags |= {tag.key: tag.value for tag in tags}

    def get_metric_history(self, run_id: str, key: str) -> list[Any]:
        return [SimpleNamespace(step=step) for name, step in self.metrics if name == key]


@pytest.fixture
def run() -> Any:
    load_library()
    return SimpleNamespace(info=SimpleNamespace(run_id="1"), data=SimpleNamespace(params={}))


def numbers(*steps: int) -> Note:
    return Note(metrics=[("loss", 1.0, 0, step) for step in steps])


def test_what_is_told_twice_is_there_once(run: Any) -> None:
    """Steps 1 to 6, then 5 to 8 of a training that went on from step 4; numbers without a step are always told."""
    store = Store()
    store.log_batch("1", [SimpleNamespace(key="loss", step=step) for step in (1, 2)])
    deliver = Delivery(store, run, is_reopened=True)  # type: ignore[arg-type]
    for note in (numbers(1, 2, 3), numbers(4, 5, 6), numbers(5, 6, 7, 8), numbers(0), numbers(0)):
        deliver(note)
    assert [step for _, step in store.metrics] == [1, 2, 3, 4, 5, 6, 7, 8, 0, 0]


def test_settings_go_in_batches_and_changed_ones_become_tags(run: Any) -> None:
    store = Store()
    deliver = Delivery(store, run)  # type: ignore[arg-type]
    many = {f"p{number}": "1" for number in range(250)}
    deliver(Note(params=many))
    deliver(Note(params={**many, "p7": "2", "new": "3"}, tags={"a": "b"}))
    assert store.params == {**many, "new": "3"}
    assert store.tags == {"crem.changed.p7": "2", "a": "b"}
