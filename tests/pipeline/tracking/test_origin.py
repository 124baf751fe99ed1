"""What a run says of the code, the person, the machine and the job that it comes from, and what it must not say."""

import getpass
import platform
import socket
import subprocess
from pathlib import Path

import pytest
import torch

from pipeline.tracking import origin, start_run
from pipeline.tracking import store as stores
from pipeline.tracking.origin import origin_tags


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(["git", "-C", str(folder), *identity, *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    folder = (tmp_path / "checkout").resolve()
    folder.mkdir()
    git(folder, "init", "-q")
    (folder / "code.py").write_text("1\n")
    git(folder, "add", ".")
    git(folder, "commit", "-qm", "first")
    return folder


def test_the_commit_and_whether_its_files_were_changed(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(origin, "ROOT", checkout)
    commit = git(checkout, "rev-parse", "HEAD")
    monkeypatch.setenv("GIT_DIR", "/nowhere")  # as in a hook of another repository
    (checkout / "results.txt").write_text("not kept by git")
    clean = origin_tags("train")
    assert (clean["mlflow.source.git.commit"], clean["mlflow.source.git.dirty"]) == (commit, "false")
    (checkout / "code.py").write_text("2\n")
    changed = origin_tags("train")
    assert (changed["mlflow.source.git.commit"], changed["mlflow.source.git.dirty"]) == (commit, "true")


def test_code_installed_below_another_repository_has_no_commit(checkout: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (checkout / "site-packages").mkdir()
    monkeypatch.setattr(origin, "ROOT", checkout / "site-packages")
    assert not [name for name in origin_tags("train") if "git" in name]


def test_a_machine_without_git_and_a_user_without_a_name(monkeypatch: pytest.MonkeyPatch) -> None:
    def nameless() -> str:
        raise KeyError("getpwuid(): uid not found: 4711")

    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr(getpass, "getuser", nameless)
    tags = origin_tags("train")
    assert "mlflow.source.git.commit" not in tags and "mlflow.user" not in tags
    assert tags["crem.host"] == socket.gethostname()


def test_a_run_holds_person_job_and_versions_and_no_secret(store: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CREM_API_KEY", "sk-secret")
    monkeypatch.setenv("SLURM_JOB_ID", "4711")
    monkeypatch.setenv("SLURM_JOB_NODELIST", "gpu[01-02]")
    monkeypatch.setattr(getpass, "getuser", lambda: "ada")
    with start_run(uri=store, stage="train") as tracker:
        tracker.log_params({"url": "https://ada:pw-secret@host/v1?token=t-secret"})
    run = stores.open_store(store).get_run(tracker.run_id)
    tags = run.data.tags
    assert (tags["crem.job.slurm_job_id"], tags["crem.job.slurm_job_nodelist"]) == ("4711", "gpu[01-02]")
    assert (tags["mlflow.user"], tags["mlflow.source.name"], tags["crem.stage"]) == ("ada", "crem train", "train")
    assert tags["crem.version.python"] == platform.python_version()
    assert tags["crem.version.torch"] == torch.__version__
    assert {"crem.version.crem-pipeline", "crem.version.transformers", "crem.version.deepspeed"} <= set(tags)
    assert "secret" not in f"{tags} {run.data.params}"
