"""CPU, memory, disk, network and GPU of the machine while a stage runs, by MLflow's own monitors.

MLflow's thread around them is not used: it asks the store for the run at every sample, and stops for good when that fails.
"""

import contextlib
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

SAMPLE_SECONDS = 30.0
_PREFIX = "system/"
_OFF = ("0", "false")

Log = Callable[[Mapping[str, float], int], None]


class SystemMetrics:
    """Samples every half minute until closed; a sample costs a third of a millisecond.

    The step is the number of samples since the run's beginning (`began`, seconds since 1970), so a run that is opened again
    goes on behind its last one. `MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING=false` turns it off.
    """

    def __init__(self, log: Log, began: float) -> None:
        self._log, self._began = log, began
        self._closed = threading.Event()
        if os.environ.get("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "").lower() not in _OFF:
            monitors = list(
                _monitors()
            )  # imported before the thread runs: two that import parts of MLflow get in each other's way
            threading.Thread(target=self._sample_all, args=(monitors,), daemon=True, name="system metrics").start()

    def close(self) -> None:
        """Take no more samples."""
        self._closed.set()

    def _sample_all(self, monitors: list[Any]) -> None:
        while not self._closed.wait(SAMPLE_SECONDS):
            step = round((time.time() - self._began) / SAMPLE_SECONDS)
            monitors = [monitor for monitor in monitors if self._is_sampled(monitor, step)]

    def _is_sampled(self, monitor: Any, step: int) -> bool:
        """Take one monitor's sample. False where it cannot give one, as of a GPU that has gone: it is not asked again."""
        try:
            monitor.collect_metrics()
            self._log({_PREFIX + name: value for name, value in monitor.aggregate_metrics().items()}, step)
            monitor.clear_metrics()
        except Exception:  # noqa: BLE001 (what libraries of drivers raise is theirs)
            return False
        return True


def _monitors() -> Iterator[Any]:
    """MLflow's monitors, as far as what they need is there: psutil for all, nvidia-ml-py and a driver for GPUs."""
    try:
        from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor
        from mlflow.system_metrics.metrics.disk_monitor import DiskMonitor
        from mlflow.system_metrics.metrics.gpu_monitor import GPUMonitor
        from mlflow.system_metrics.metrics.network_monitor import NetworkMonitor
    except ImportError:
        return
    for kind in (CPUMonitor, DiskMonitor, NetworkMonitor, GPUMonitor):
        with contextlib.suppress(Exception):  # no GPU, or no library that reads it
            yield kind()
