"""What Slurm says of a job, in the words of a real 22.05."""

import pytest

from launchers.slurm import queue
from launchers.slurm.queue import QueuedJob, SlurmError
from tests.launchers.slurm.stand_ins import StandIns

FIELDS = "JobState={} Reason={} Dependency=(null) Restarts={} ExitCode={} Command=/a/b=c.sh"


@pytest.mark.parametrize(
    ("fields", "expected", "is_over"),
    [
        (("PENDING", "Dependency", 0, "0:0"), QueuedJob(state="PENDING", reason="Dependency"), False),
        (("RUNNING", "None", 2, "0:0"), QueuedJob(state="RUNNING", restarts=2), False),
        (("REQUEUED", "BeginTime", 1, "0:0"), QueuedJob(state="REQUEUED", reason="BeginTime", restarts=1), False),
        (("COMPLETED", "None", 1, "0:0"), QueuedJob(state="COMPLETED", restarts=1), True),
        (("FAILED", "NonZeroExitCode", 0, "3:0"), QueuedJob(state="FAILED", reason="exit code 3"), True),
        (("FAILED", "RaisedSignal", 0, "0:9"), QueuedJob(state="FAILED", reason="signal 9"), True),
        (
            ("CANCELLED", "DependencyNeverSatisfied", 0, "0:0"),
            QueuedJob(state="CANCELLED", reason="DependencyNeverSatisfied"),
            True,
        ),
    ],
)
def test_a_job_is_told(slurm: StandIns, fields: tuple[object, ...], expected: QueuedJob, is_over: bool) -> None:
    slurm.job("11", FIELDS.format(*fields))
    assert queue.look_up("11") == expected and expected.is_over == is_over


@pytest.mark.parametrize(
    ("states", "state"),
    [
        (("COMPLETED", "FAILED", "RUNNING"), "FAILED"),
        (("COMPLETED", "RUNNING", "PENDING"), "RUNNING"),
        (("COMPLETED", "PENDING"), "PENDING"),
        (("COMPLETED", "COMPLETED"), "COMPLETED"),
    ],
)
def test_of_an_array_the_task_that_matters_most(slurm: StandIns, states: tuple[str, ...], state: str) -> None:
    slurm.job("11", *(FIELDS.format(each, "None", 0, "0:0") for each in states))
    assert queue.look_up("11").state == state


def test_a_forgotten_job_is_looked_up_in_the_accounts_if_there_are_any(slurm: StandIns) -> None:
    assert queue.look_up("11") == queue.GONE and queue.GONE.is_over
    slurm.accounted("11", "CANCELLED by 0")
    assert queue.look_up("11") == QueuedJob(state="CANCELLED")


def test_submission_names_the_job_to_wait_for(slurm: StandIns, tmp_path) -> None:
    assert queue.submit(tmp_path / "a.sh") == "11"
    assert queue.submit(tmp_path / "b.sh", after="11") == "12"
    assert slurm.asked[1] == f"sbatch --parsable --dependency=afterok:11 --kill-on-invalid-dep=yes {tmp_path}/b.sh"


def test_without_slurm_one_line_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(SlurmError, match=r"sbatch: not on PATH; .*--on local"):
        queue.submit(tmp_path / "a.sh")
