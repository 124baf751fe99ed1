"""launchers/slurm_train.sh on a real Slurm: two nodes train under DeepSpeed, and whatever interrupts them changes no weight."""

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.slurm.cluster import PATIENCE, Cluster, wait_until
from tests.slurm.trained import assert_equal_weights, steps_done

pytestmark = pytest.mark.slurm
Submitted = Callable[..., tuple[str, Path]]


@pytest.mark.slow
def test_a_requeue_from_outside_changes_no_weight(cluster: Cluster, submitted: Submitted, work: Path, unbroken: Path) -> None:
    job, log = submitted()
    wait_until(lambda: steps_done(work) >= 3, "three steps are done", PATIENCE, cluster.logs)
    cluster.run("scontrol", "requeue", job)
    ended = cluster.wait(job, PATIENCE, log)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log.read_text()
    assert_equal_weights(work / "train", unbroken)


@pytest.mark.slow
def test_a_job_of_higher_priority_takes_the_nodes_and_gives_them_back(
    cluster: Cluster, submitted: Submitted, work: Path, unbroken: Path
) -> None:
    job, log = submitted()
    wait_until(lambda: steps_done(work) >= 3, "three steps are done", PATIENCE, cluster.logs)
    urgent = cluster.submit("--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null", "--wrap=sleep 1", cwd=work)
    ended = cluster.wait(job, PATIENCE, log)
    assert cluster.job(urgent)["JobState"] == "COMPLETED"
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log.read_text()
    assert_equal_weights(work / "train", unbroken)


@pytest.mark.slow
def test_a_node_lost_in_mid_training_costs_the_steps_since_the_last_checkpoint_alone(
    cluster: Cluster, submitted: Submitted, work: Path, unbroken: Path
) -> None:
    job, log = submitted()
    wait_until(lambda: steps_done(work) >= 10, "ten steps are done", PATIENCE, cluster.logs)
    cluster.lose("node2")
    try:
        wait_until(lambda: cluster.job(job)["JobState"] == "PENDING", "the job is put back", PATIENCE, cluster.logs)
    finally:
        cluster.bring_back("node2")
    ended = cluster.wait(job, PATIENCE, log)
    assert (ended["JobState"], ended["Restarts"]) == ("COMPLETED", "1"), log.read_text()
    assert_equal_weights(work / "train", unbroken)


@pytest.mark.slow
def test_a_training_that_fails_ends_the_job_with_its_own_code(cluster: Cluster, submitted: Submitted, work: Path) -> None:
    (work / "recipe.json").write_text("{}")
    job, log = submitted()
    ended = cluster.wait(job, PATIENCE, log)
    assert (ended["JobState"], ended["Restarts"]) == ("FAILED", "0"), log.read_text()
    assert "recipe.json" in log.read_text()
