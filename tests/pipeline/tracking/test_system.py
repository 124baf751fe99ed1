"""Samples of the machine beside a run's own metrics."""

import time
from collections.abc import Mapping

import psutil
import pytest

from pipeline.tracking import system
from pipeline.tracking.system import SystemMetrics

Samples = list[tuple[Mapping[str, float], int]]


def sampled(monkeypatch: pytest.MonkeyPatch, *, seconds_ago: float = 0.0) -> Samples:
    """What is logged until the first samples are there, or two seconds have passed."""
    monkeypatch.setattr(system, "SAMPLE_SECONDS", 0.05)
    samples: Samples = []
    metrics = SystemMetrics(lambda values, step: samples.append((values, step)), began=time.time() - seconds_ago)
    end = time.monotonic() + 2
    while len(samples) < 4 and time.monotonic() < end:
        time.sleep(0.01)
    metrics.close()
    return samples


def test_the_machine_is_sampled_at_steps_that_go_on_when_the_run_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    samples = sampled(monkeypatch, seconds_ago=50)
    values = {name: value for sample, _ in samples for name, value in sample.items()}
    share = values["system/system_memory_usage_percentage"]
    assert share == pytest.approx(psutil.virtual_memory().percent, abs=30)
    assert "system/cpu_utilization_percentage" in values
    assert all(step >= 1000 for _, step in samples), "behind the 1000 samples of 50 seconds"


def test_it_can_be_turned_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
    assert sampled(monkeypatch) == []


def test_a_monitor_that_fails_is_left_out(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    class Gone:
        def collect_metrics(self) -> None:
            raise RuntimeError("GPU is lost")

    class Sound:
        def collect_metrics(self) -> None: ...

        def aggregate_metrics(self) -> dict[str, float]:
            return {"load": 1.0}

        def clear_metrics(self) -> None: ...

    monkeypatch.delenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", raising=False)
    monkeypatch.setattr(system, "_monitors", lambda: iter([Gone(), Sound()]))
    assert [values for values, _ in sampled(monkeypatch)] == [{"system/load": 1.0}] * 4
    assert capsys.readouterr().err == ""
