"""One cluster for all tests of a session, a small corpus ready to be trained on, and what an unbroken run makes of it."""

import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.run import Machine, run_chain, stages
from jobs.stage import Context
from pipeline.recipe import ToyWorld
from pipeline.tracking import default_uri
from tests.conftest import ROOT
from tests.pipeline.corpus import small_recipe
from tests.slurm.cluster import Cluster, running

STEPS = 24


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    with running() as cluster:
        yield cluster


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A work folder with everything that training reads: shards, questions, model and lengths."""
    work = tmp_path_factory.mktemp("prepared") / "work"
    toy = ToyWorld(seed=1, train_rows=56, eval_rows=60, conversations=60, mcq_rows=64)
    recipe = replace(small_recipe(steps=STEPS, checkpoint_every=8, evaluate_every=STEPS), toy=toy)
    context = Context(work=work, data=work / "toy", recipe=recipe, tracking=default_uri(work))
    list(run_chain(stages(context, Machine()), context, until="measure"))
    return work


@pytest.fixture
def work(prepared: Path, tmp_path: Path) -> Path:
    """A copy of the prepared folder for one test to train in."""
    return Path(shutil.copytree(prepared, tmp_path / "work"))


def train_command(work: Path) -> list[str]:
    """What follows `crem train`, whoever starts it."""
    return ["--recipe", str(work / "recipe.json"), "--work", str(work)]


@pytest.fixture(scope="session")
def unbroken(prepared: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training of two ranks on this machine, without Slurm and without interruption."""
    work = Path(shutil.copytree(prepared, tmp_path_factory.mktemp("unbroken") / "work"))
    command = [sys.executable, "-m", "launchers.cli", "train", *train_command(work), "--processes", "2"]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    return work / "train"


@pytest.fixture
def submitted(cluster: Cluster, work: Path) -> Callable[..., tuple[str, Path]]:
    """Submits launchers/slurm_train.sh on two nodes, one rank each; returns the job's number and its log."""

    def submit(*options: str) -> tuple[str, Path]:
        log = work.parent / "job.log"
        where = ["--nodes=2", "--ntasks-per-node=1", "--cpus-per-task=2", f"--output={log}", *options]
        names = {"CREM_PYTHON": sys.executable, "DS_ACCELERATOR": "cpu", "OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)}
        return cluster.submit(*where, ROOT / "launchers" / "slurm_train.sh", *train_command(work), cwd=ROOT, **names), log

    return submit
