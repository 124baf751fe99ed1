"""The Slurm script with stand-ins for srun and scontrol: which signal reaches the tasks, and when the job is put back.

The stand-in for srun does what the real one was seen to do (22.05): it passes USR1 on, and TERM kills its tasks unsaved.
"""

import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "launchers" / "slurm_train.sh"
STEP = """#!/usr/bin/env bash
trap 'sleep 0.3; [ -e "$LOG.stuck" ] || echo saved >>"$LOG"; exit 75' USR1
trap 'echo killed >>"$LOG"; exit 137' TERM
echo "srun ${*: -2}" >>"$LOG"
for i in $(seq 200); do
  sleep 0.05
  if [ -e "$LOG.end" ]; then [ ! -e "$LOG.hang" ] || touch "$CREM_HUNG_NOTE"; exit "$(cat "$LOG.end")"; fi
done
"""
CONTROL = """#!/usr/bin/env bash
case $* in
  'show hostnames '*) echo localhost ;;
  'show job '*) cat "$LOG.job" ;;
  *) echo "scontrol $*" >>"$LOG" ;;
esac
"""
CALM = "JobId=7\n   JobState=RUNNING Reason=None Dependency=(null)\n   PreemptEligibleTime=2026-01-01 PreemptTime=None\n"
LIMIT = CALM.replace("Reason=None", "Reason=TimeLimit")
PREEMPTED = CALM.replace("PreemptTime=None", "PreemptTime=2026-01-01T00:00:00")


def run(folder: Path, job: str, signals: tuple[signal.Signals, ...], code: int | None) -> tuple[int, list[str]]:
    """Run the script; once srun runs, send the signals to it, or let srun end with a code. Returns its code and what was done."""
    for name, text in (("srun", STEP), ("scontrol", CONTROL)):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    log = folder / "log"
    (folder / "log.job").write_text(job)
    settings = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "2"}
    names = {"PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(log), "CREM_PYTHON": sys.executable, **settings}
    names |= {name: os.environ[name] for name in ("SLURM_CPUS_PER_TASK", "CREM_MAX_HANGS") if name in os.environ}
    with subprocess.Popen(["bash", SCRIPT, "--recipe", "tiny"], cwd=folder, env=names, stdout=subprocess.DEVNULL) as script:
        while not log.exists():
            time.sleep(0.02)
        time.sleep(0.2)  # the script sets its traps right after it has started srun
        if code is not None:
            (folder / "log.end").write_text(str(code))
        for number in signals:
            script.send_signal(number)
            time.sleep(0.1)
        ended = script.wait(timeout=30)
    first, *rest = log.read_text().splitlines()
    assert first == "srun --recipe tiny"
    return ended, rest


PUT_BACK = "scontrol requeue 7"


@pytest.mark.parametrize(
    ("job", "signals", "code", "expected"),
    [
        (CALM, (signal.SIGUSR1,), None, (0, ["saved", PUT_BACK])),
        (LIMIT, (signal.SIGUSR1, signal.SIGTERM), None, (0, ["saved", PUT_BACK])),  # it comes while they still write
        (CALM, (signal.SIGUSR1, signal.SIGTERM), None, (75, ["saved"])),  # scancel after USR1
        (CALM, (signal.SIGTERM,), None, (75, ["saved"])),  # scancel, or a requeue from outside
        (LIMIT, (signal.SIGTERM,), None, (75, ["saved"])),
        (PREEMPTED, (), 143, (0, [PUT_BACK])),  # Slurm told the tasks alone
        (PREEMPTED, (signal.SIGTERM,), None, (75, ["saved"])),
        (CALM, (), 1, (1, [])),
        (CALM, (), 0, (0, [])),
    ],
    ids=["time", "limit", "time, scancel", "scancel", "limit alone", "preempted", "preempted, told", "crash", "done"],
)
def test_the_ranks_save_and_the_job_is_put_back_when_it_should_be(
    tmp_path: Path, job: str, signals: tuple[signal.Signals, ...], code: int | None, expected: tuple[int, list[str]]
) -> None:
    assert run(tmp_path, job, signals, code) == expected


def test_ranks_that_could_not_save_in_time_are_put_back_too(tmp_path: Path) -> None:
    """One whose loader hangs is ended by its watch with the code of those that saved: decision 035."""
    (tmp_path / "log.stuck").touch()
    assert run(tmp_path, CALM, (signal.SIGUSR1,), None) == (0, [PUT_BACK])


def test_a_job_that_hung_goes_back_a_few_times_and_then_ends(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """srun's code is that of the ranks it killed, so a hung rank leaves a note."""
    monkeypatch.setenv("CREM_MAX_HANGS", "2")
    (tmp_path / "log.hang").touch()
    for expected in ((0, [PUT_BACK]), (0, [PUT_BACK]), (137, []), (0, [PUT_BACK])):
        assert run(tmp_path, CALM, (), 137) == expected, "the count begins anew after the job has ended"
        (tmp_path / "log").unlink()
        (tmp_path / "log.end").unlink()
    (tmp_path / "log.hang").unlink()
    assert run(tmp_path, CALM, (), 0) == (0, [])
    assert not list(tmp_path.glob(".crem*"))


@pytest.mark.parametrize(("cores", "is_warned"), [(None, True), ("1", True), ("4", False)])
def test_ranks_that_share_a_core_with_their_loader_are_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], cores: str | None, is_warned: bool
) -> None:
    monkeypatch.delenv("SLURM_CPUS_PER_TASK", raising=False)
    if cores:
        monkeypatch.setenv("SLURM_CPUS_PER_TASK", cores)
    assert run(tmp_path, CALM, (), 0) == (0, [])
    assert ("warning: one core a task: each rank shares it with its loader" in capfd.readouterr().err) == is_warned


def test_a_missing_python_is_one_line(tmp_path: Path) -> None:
    names = {**os.environ, "CREM_PYTHON": str(tmp_path / "python")}
    told = subprocess.run(["bash", SCRIPT], cwd=tmp_path, env=names, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout) == (1, "")
    assert told.stderr == f"error: {tmp_path}/python: not there; run make setup in {tmp_path}, or set CREM_PYTHON\n"


@pytest.mark.parametrize("chosen", ["", "PYTORCH_ALLOC_CONF", "PYTORCH_CUDA_ALLOC_CONF"])
def test_a_gpu_s_segments_grow_unless_the_user_chose(tmp_path: Path, chosen: str) -> None:
    """By the script's own lines: the name that torch reads today, and nothing beside the older one."""
    (line,) = (line for line in SCRIPT.read_text().splitlines() if "expandable_segments" in line)
    names = {chosen: "max_split_size_mb:512"} if chosen else {}
    command = f"{line}\nenv"
    told = subprocess.run(
        ["bash", "-c", command], env={"PATH": os.environ["PATH"], **names}, capture_output=True, text=True, check=True
    )
    expected = names or {"PYTORCH_ALLOC_CONF": "expandable_segments:True"}
    assert {line for line in told.stdout.splitlines() if "ALLOC_CONF" in line} == {f"{n}={v}" for n, v in expected.items()}


MEET = """#!/usr/bin/env bash
echo "$MASTER_ADDR $MASTER_PORT" >"$LOG"
"""


def meeting(folder: Path, getent: str, control: str = "") -> tuple[int, str]:
    """Where the script tells the ranks to meet, with stand-ins for what looks names up; its exit code, and that or its error."""
    control = f'#!/usr/bin/env bash\ncase $* in "show hostnames "*) echo n1 ;; "show node "*) echo " {control} Port=1" ;; esac\n'
    for name, text in (("srun", MEET), ("scontrol", control), ("getent", f"#!/usr/bin/env bash\n{getent}\n")):
        (folder / name).write_text(text)
        (folder / name).chmod(0o755)
    settings = {"SLURM_JOB_ID": "7", "SLURM_JOB_NODELIST": "n1", "SLURM_JOB_NUM_NODES": "1", "SLURM_NTASKS": "2"}
    names = {"PATH": f"{folder}:{os.environ['PATH']}", "LOG": str(folder / "log"), "CREM_PYTHON": sys.executable, **settings}
    done = subprocess.run(["bash", SCRIPT], cwd=folder, env=names, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, (folder / "log").read_text().strip() if done.returncode == 0 else done.stderr


@pytest.mark.parametrize(
    ("getent", "control", "expected"),
    [
        ("[ $1 = ahostsv4 ] && echo 10.0.0.7 STREAM n1; [ $1 = ahosts ] && echo fd00::7 STREAM n1", "", "10.0.0.7"),
        ("[ $1 = ahosts ] && echo fd00::7 STREAM n1", "", "fd00::7"),
        ("[ $2 = 10.0.0.9 ] && echo 10.0.0.9 STREAM", "NodeAddr=10.0.0.9", "10.0.0.9"),
    ],
    ids=["both families", "IPv6 alone", "no names"],
)
def test_ranks_meet_at_an_address_of_the_first_node(tmp_path: Path, getent: str, control: str, expected: str) -> None:
    assert meeting(tmp_path, getent, control) == (0, f"{expected} 20007")


def test_a_node_without_any_address_is_one_line_at_once(tmp_path: Path) -> None:
    code, said = meeting(tmp_path, "exit 2", "NodeAddr=n1")
    assert (code, said.strip().splitlines()[-1]) == (1, "error: node name n1 does not resolve here; ask your administrators")


def test_a_port_that_another_job_listens_on_is_passed_over(tmp_path: Path) -> None:
    with socket.socket() as other:
        other.bind(("127.0.0.1", 20007))
        other.listen()
        assert meeting(tmp_path, "[ $1 = ahostsv4 ] && echo 127.0.0.1 STREAM n1") == (0, "127.0.0.1 20008")
