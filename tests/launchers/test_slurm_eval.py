"""The Slurm script of evaluation with stand-ins for srun and scontrol: what each task is told, and when the job goes back."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launchers" / "slurm_eval.sh"
SRUN = """#!/usr/bin/env bash
shift
trap 'echo ended >>"$LOG"; exit 143' TERM
export SLURM_LOCALID=1 SLURM_PROCID=3 SLURM_STEP_TASKS_PER_NODE='2(x2)'
"$@" >>"$LOG" &
wait $!
echo ready >>"$LOG"
for i in $(seq 200); do sleep 0.05; [ ! -e "$LOG.end" ] || exit "$(cat "$LOG.end")"; done
"""
CONTROL = """#!/usr/bin/env bash
case $* in 'show hostnames '*) echo localhost ;; *) echo "scontrol $*" >>"$LOG" ;; esac
"""
PYTHON = """#!/usr/bin/env bash
echo "$* of $RANK/$WORLD_SIZE, here $LOCAL_RANK/$LOCAL_WORLD_SIZE at $MASTER_ADDR:$MASTER_PORT"
"""


def run(folder: Path, end: signal.Signals | int, **settings: str) -> tuple[int, list[str]]:
    """Run the script until its tasks are at work, then end it by a signal or them by a code; its code and what was done."""
    for name, text in (("srun", SRUN), ("scontrol", CONTROL), ("python", PYTHON)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    log = folder / "log"
    names = {
        "SLURM_JOB_ID": "7",
        "SLURM_JOB_NODELIST": "n[1-2]",
        "SLURM_JOB_NUM_NODES": "2",
        "SLURM_NTASKS": "4",
        "LOG": str(log),
    }
    names |= {"PATH": f"{folder}:{os.environ['PATH']}", "CREM_PYTHON": str(folder / "python"), **settings}
    with subprocess.Popen(["bash", SCRIPT, "--work", "w w"], cwd=folder, env=names, stdout=subprocess.DEVNULL) as script:
        while "ready" not in (log.read_text() if log.exists() else ""):
            time.sleep(0.02)
        if isinstance(end, signal.Signals):
            script.send_signal(end)
        else:
            (folder / "log.end").write_text(str(end))
        code = script.wait(timeout=30)
    return code, log.read_text().splitlines()


@pytest.mark.parametrize(
    ("end", "expected"),
    [
        (signal.SIGUSR1, (0, ["ended", "scontrol requeue 7"])),
        (signal.SIGTERM, (143, ["ended"])),
        (0, (0, [])),
        (1, (1, [])),
    ],
    ids=["time", "scancel", "done", "failed"],
)
def test_the_job_goes_back_where_its_time_is_up_alone(
    tmp_path: Path, end: signal.Signals | int, expected: tuple[int, list[str]]
) -> None:
    code, (told, _, *rest) = run(tmp_path, end)
    assert (code, rest) == expected
    assert told == "-m eval.mmeb --work w w of 3/4, here 1/2 at 127.0.0.1:20007"


def test_a_task_with_cores_of_its_own_shares_them_with_none(tmp_path: Path) -> None:
    _, (told, *_) = run(tmp_path, 0, SLURM_CPUS_PER_TASK="4")
    assert " here 1/1 " in told


@pytest.mark.parametrize(("seen", "number"), [("0,1", 1), ("3", 0)])
def test_a_task_takes_its_own_gpu_among_those_it_sees(tmp_path: Path, seen: str, number: int) -> None:
    _, (told, *_) = run(tmp_path, 0, CUDA_VISIBLE_DEVICES=seen)
    assert f" here {number}/2 " in told


def test_a_missing_python_is_one_line(tmp_path: Path) -> None:
    names = {"PATH": os.environ["PATH"], "CREM_PYTHON": f"{sys.executable}-none"}
    done = subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=names, capture_output=True, text=True, check=False)
    assert done.returncode == 1 and "not there; run make setup" in done.stderr and len(done.stderr.splitlines()) == 1
