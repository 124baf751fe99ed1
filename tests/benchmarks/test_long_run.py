"""The benchmark of long runs looks at a training from outside, and its table says when something grows."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks.long_run import Use, look, measure, table, watch

GROWS = """
import sys, time, subprocess
child = subprocess.Popen([sys.executable, "-c", "import time; held = bytearray(30 * 2**20); time.sleep(60)"])
log, held, opened = open(sys.argv[1] + "/metrics.jsonl", "w"), [], []
for step in range(4):
    time.sleep(0.5)
    held.append(bytearray(50 * 2**20)), opened.append(open("/dev/null"))
    print("{}", file=log, flush=True)
    time.sleep(0.5)
child.kill()
child.wait()
"""


def test_a_process_that_grows_is_seen_to_grow(tmp_path: Path) -> None:
    """50 MiB and a file more at each step, and a child of 30 MiB and an interpreter's few."""
    seen = list(watch([sys.executable, "-c", GROWS, str(tmp_path)], tmp_path, 1))
    assert [step for step, _ in seen] == [1, 2, 3, 4]
    first, last = seen[0][1], seen[-1][1]
    assert last.rank_mib - first.rank_mib == pytest.approx(150, abs=10) and last.open_files - first.open_files == 3
    assert 30 < last.loader_mib < 60 and last.threads == 2 and last.files == 1


def test_a_training_that_fails_is_not_a_measurement(tmp_path: Path) -> None:
    with pytest.raises(subprocess.CalledProcessError):
        list(watch([sys.executable, "-c", "raise SystemExit(3)"], tmp_path, 1))


def test_the_table_has_medians_times_and_ratios() -> None:
    def use(step: int, processor: float) -> Use:
        grown = 100.0 + step // 6
        return Use(rank_mib=grown, loader_mib=50, shared_mib=1, threads=3, open_files=20, files=4, processor=processor)

    seen = [(step, use(step, 0.1 * step if step <= 6 else 0.6 + 0.2 * (step - 6))) for step in (2, 4, 6, 8, 10, 12)]
    lines = list(table(seen, 6))
    assert lines[2:] == [
        "| 1 to 6 | 100.0 | 50.0 | 1.0 | 3.0 | 20.0 | 4.0 | 100.0 |",
        "| 7 to 12 | 101.0 | 50.0 | 1.0 | 3.0 | 20.0 | 4.0 | 200.0 |",
        "| last to first | 1.010 | 1.000 | 1.000 | 1.000 | 1.000 | 1.000 | 2.000 |",
    ]


@pytest.mark.slow
def test_a_short_training_is_looked_at(tmp_path: Path) -> None:
    """At the last step its loader may have ended."""
    seen = [use for _, use in measure(tmp_path, 30, 10)]
    assert seen and seen[0].loader_mib > 50 and all(use.rank_mib > 100 for use in seen)


def test_an_ended_process_that_nobody_waited_for_has_nothing_to_look_at(tmp_path: Path) -> None:
    """The system keeps it until its parent asks, without memory."""
    with subprocess.Popen([sys.executable, "-c", ""]) as ended:
        os.waitid(os.P_PID, ended.pid, os.WEXITED | os.WNOWAIT)
        with pytest.raises(ProcessLookupError, match="has ended"):
            look(ended.pid, tmp_path)
