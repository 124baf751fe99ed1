"""`crem run --on slurm` on a real Slurm: all stages as jobs, training on two nodes, a job that goes back, a stage that fails."""

import json
import os
import sys
from pathlib import Path

import pytest

from pipeline.tracking import default_uri, find_run
from tests.conftest import ROOT
from tests.slurm.cluster import PATIENCE, Cluster, wait_until
from tests.slurm.trained import assert_equal_weights, steps_done

pytestmark = pytest.mark.slurm
SITE = 'partition = "usual"\ncpus = 2\ncpus_per_gpu = 2\nsetup = ["export DS_ACCELERATOR=cpu"]\n'


def crem(cluster: Cluster, *words: str | Path) -> str:
    names = {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1", "PATH": os.environ["PATH"]}
    return cluster.run(sys.executable, "-m", "launchers.cli", *words, cwd=ROOT, **names)


def submit(cluster: Cluster, work: Path, *words: str) -> dict[str, str]:
    """Submit the chain of a work folder's recipe; returns the jobs' numbers by name."""
    site = work.parent / "site.toml"
    site.write_text(SITE)
    on_slurm = ("--on", "slurm", "--site", site, "--nodes", "2", "--gpus-per-node", "0")
    said = crem(cluster, "run", "--recipe", work / "recipe.json", "--work", work, *on_slurm, *words)
    return {words[1]: words[0] for words in map(str.split, said.splitlines()[:-1])}


def status(cluster: Cluster, work: Path) -> dict[str, str]:
    """The state of each stage by name, as `crem status` prints it."""
    lines = crem(cluster, "status", "--work", work).splitlines()
    return {line.split()[0]: line.split()[1] for line in lines if not line.startswith(" ")}


def chain_runs(work: Path) -> set[str]:
    """The tracked runs of the chains of a folder; that of the folder it was copied from is among them."""
    return set(json.loads((work / "chain.json").read_text()).values())


def test_one_line_trains_on_two_nodes_goes_back_when_told_and_ends_with_the_weights_of_the_unbroken_run(
    cluster: Cluster, work: Path, unbroken: Path
) -> None:
    before = chain_runs(work)
    jobs = submit(cluster, work, "--until", "train")
    assert list(jobs) == ["train"], "what is done is not submitted"
    log = work / "slurm" / f"train-{jobs['train']}.log"
    wait_until(lambda: steps_done(work) >= 3, "three steps are done", PATIENCE, lambda: log.read_text() if log.exists() else "")
    cluster.run("scancel", "--batch", "--signal=USR1", jobs["train"])
    assert status(cluster, work)["train"] in ("running", "pending")
    ended = cluster.wait(jobs["train"], PATIENCE, log)
    assert (ended["JobState"], ended["ExitCode"], ended["Restarts"]) == ("COMPLETED", "0:0", "1"), log.read_text()
    said = log.read_text()
    assert "on 2 nodes, 2 ranks, start 0, meeting at node1 (10.9.0.11:" in said and "start 1" in said
    assert "stopped by SIGUSR1 after step" in said and "putting the job back into the queue" in said
    assert_equal_weights(work / "train", unbroken)
    assert status(cluster, work)["train"] == "done"
    (chain,) = chain_runs(work) - before
    run = json.loads((work / "train" / "manifest.json").read_text())["run_id"]
    assert find_run(default_uri(work), run)["mlflow.parentRunId"] == chain


def test_a_stage_that_fails_is_shown_with_the_end_of_its_log_and_what_waits_for_it_is_cancelled(
    cluster: Cluster, work: Path
) -> None:
    (work / "model" / "model.safetensors").unlink()
    (work / "model" / "manifest.json").unlink()
    jobs = submit(cluster, work, "--until", "train", "--data", str(broken_corpus(work)))
    assert list(jobs) == ["convert", "synthesize", "model", "measure", "train"]
    cluster.wait(jobs["train"], PATIENCE, work / "slurm" / f"convert-{jobs['convert']}.log")
    told = status(cluster, work)
    assert told["convert"] == told["train"] == "failed"
    said = crem(cluster, "status", "--work", work)
    assert f"convert-{jobs['convert']}.log" in said and "    error: " in said
    assert crem(cluster, "logs", "convert", "--work", work, "-n", "1").startswith("error: ")


def broken_corpus(work: Path) -> Path:
    """A data folder whose one corpus is no parquet file."""
    folder = work.parent / "data"
    (folder / "MMEB-train" / "MSCOCO").mkdir(parents=True)
    (folder / "MMEB-train" / "MSCOCO" / "original-00000-of-00001.parquet").write_text("nothing of the kind")
    return folder


@pytest.mark.slow
def test_the_whole_toy_chain_from_nothing_with_a_conversion_in_slices(cluster: Cluster, prepared: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "recipe.json").write_bytes((prepared / "recipe.json").read_bytes())
    jobs = submit(cluster, work, "--convert-tasks", "3")
    assert list(jobs)[:3] == ["toy", "convert-slices", "convert"] and list(jobs)[-1] == "report"
    ended = cluster.wait(jobs["report"], 3 * PATIENCE, work / "slurm" / f"report-{jobs['report']}.log")
    assert ended["JobState"] == "COMPLETED", crem(cluster, "status", "--work", work)
    assert set(status(cluster, work).values()) == {"done"} and (work / "report" / "report.html").is_file()


@pytest.mark.slow
def test_a_slice_whose_task_was_killed_is_made_again(cluster: Cluster, prepared: Path, tmp_path: Path) -> None:
    work = tmp_path / "work"
    work.mkdir()
    (work / "recipe.json").write_bytes((prepared / "recipe.json").read_bytes())
    jobs = submit(cluster, work, "--convert-tasks", "3", "--until", "convert")
    task = f"{jobs['convert-slices']}_1"

    def runs() -> bool:
        return cluster.job(task)["JobState"] == "RUNNING"

    wait_until(runs, "slice 1 runs", PATIENCE, cluster.logs)
    cluster.run("scontrol", "requeue", task)
    ended = cluster.wait(jobs["convert"], PATIENCE, work / "slurm" / f"convert-{jobs['convert']}.log")
    assert ended["JobState"] == "COMPLETED", crem(cluster, "status", "--work", work)
    assert cluster.job(task)["Restarts"] == "1"
    whole, sliced = ({path.name: path.read_bytes() for path in (folder / "shards").rglob("*.tar")} for folder in (prepared, work))
    assert whole == sliced and whole
