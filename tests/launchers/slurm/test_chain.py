"""`crem run --on slurm`: which jobs are submitted with which words, and what `status`, `logs` and `cancel` make of them."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from launchers.cli import group
from pipeline.manifest import Manifest
from tests.launchers.slurm.stand_ins import StandIns

RUNS = "JobState=RUNNING Reason=None Restarts=1 ExitCode=0:0"
WAITS = "JobState=PENDING Reason=Dependency Restarts=0 ExitCode=0:0"
FAILED = "JobState=FAILED Reason=NonZeroExitCode Restarts=0 ExitCode=1:0"
CANCELLED = "JobState=CANCELLED Reason=Dependency Restarts=0 ExitCode=0:0"


@pytest.fixture(autouse=True)
def untracked(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("launchers.slurm.run._parent", lambda context: {})
    monkeypatch.chdir(tmp_path)


def crem(*words: str) -> Result:
    return CliRunner().invoke(group, words, catch_exceptions=False)


def submit(*words: str) -> Result:
    return crem("run", "--recipe", "tiny", "--work", "w", "--on", "slurm", "--gpus-per-node", "0", *words)


def test_each_stage_is_a_job_behind_the_one_before(slurm: StandIns, tmp_path: Path) -> None:
    said = submit("--nodes", "2")
    assert said.exit_code == 0, said.output
    names = ["toy", "convert", "synthesize", "model", "measure", "train", "evaluate", "report"]
    assert [line.split()[:2] for line in said.output.splitlines()[:8]] == [[str(11 + i), name] for i, name in enumerate(names)]
    scripts = sorted((tmp_path / "w" / "slurm").glob("*.sh"))
    assert [script.name for script in scripts] == [f"{i:02d}-{name}.sh" for i, name in enumerate(names, 1)]
    waits = ["", *(f"--dependency=afterok:{number} --kill-on-invalid-dep=yes " for number in range(11, 18))]
    assert slurm.asked == [f"sbatch --parsable {wait}{script}" for wait, script in zip(waits, scripts, strict=True)]


def test_words_of_the_user_reach_the_stages_that_know_them(slurm: StandIns, tmp_path: Path) -> None:
    data = tmp_path / "data" / "MMEB-train"
    data.mkdir(parents=True)
    more = (
        "--data",
        "data",
        "--url",
        "http://x/v1",
        "--convert-workers",
        "3",
        "--no-verify",
        "--step-timeout",
        "60",
        "--workers",
        "2",
    )
    assert submit("--convert-tasks", "4", "--start", "from/here", *more).exit_code == 0
    folder = tmp_path / "w" / "slurm"
    text = {path.name[3:-3]: path.read_text().replace(" \\\n ", "") for path in folder.glob("*.sh")}
    assert list(folder.glob("*.sh")) and set(text) >= {"convert-slices", "convert", "train", "synthesize"} and "toy" not in text
    (recipe,) = folder.glob("recipe-*.json")
    shared = f"--recipe {recipe} --work {tmp_path}/w --data {tmp_path}/data"
    assert (
        f'convert {shared} --no-verify --workers 3 --shard-index "$SLURM_ARRAY_TASK_ID" --num-shards 4\n'
        in text["convert-slices"]
    )
    assert f"data merge {shared} --no-verify --num-shards 4\n" in text["convert"]
    assert f"synthesize {shared} --url http://x/v1\n" in text["synthesize"]
    assert f"{shared} --start {tmp_path}/from/here --workers 2 --step-timeout 60.0 --phase joint\n" in text["train"]
    assert text["measure"].endswith(f"measure {shared}\n")


def test_phases_and_their_negatives_are_jobs_of_their_own(slurm: StandIns, tmp_path: Path) -> None:
    words = ("--recipe", "tiny_coma", "--set", "phases.1.negatives=Mined", "--until", "train")
    said = crem("run", *words, "--work", "w", "--on", "slurm", "--gpus-per-node", "2")
    assert said.exit_code == 0, said.output
    names = [line.split()[1] for line in said.output.splitlines()[:-1]]
    assert names[-3:] == ["train-compress", "mine-match", "train"]
    text = next((tmp_path / "w" / "slurm").glob("*-train-compress.sh")).read_text()
    assert "--phase compress" in text and "#SBATCH --gpus-per-node=2" in text and "#SBATCH --ntasks-per-node=2" in text


def test_the_judge_of_negatives_is_not_the_judge_of_answers(slurm: StandIns, tmp_path: Path) -> None:
    words = ("--recipe", "tiny_coma", "--set", "phases.1.negatives=Judged", "--judge", "m", "--judge-url", "http://x/v1")
    assert crem("run", *words, "--work", "w", "--on", "slurm").exit_code == 0
    text = {path.name[3:-3]: path.read_text().replace(" \\\n ", "") for path in (tmp_path / "w" / "slurm").glob("*.sh")}
    assert "--judge-url http://x/v1 --judge m" in text["judge-match"]
    assert "--judge" not in text["evaluate"] and "--judge" not in text["train"]


def test_what_is_done_is_not_submitted(slurm: StandIns, tmp_path: Path) -> None:
    assert crem("toy", "--recipe", "tiny", "--set", "toy.train_rows=8", "--set", "toy.eval_rows=4", "--work", "w").exit_code == 0
    said = submit("--set", "toy.train_rows=8", "--set", "toy.eval_rows=4", "--until", "convert")
    assert [line.split()[1] for line in said.output.splitlines()[:-1]] == ["convert"]


def test_a_dry_run_prints_and_writes_nothing(slurm: StandIns, tmp_path: Path) -> None:
    said = submit("--dry-run")
    assert said.exit_code == 0 and "#SBATCH --job-name=crem-train" in said.output and "exec bash " in said.output
    assert slurm.asked == [] and not (tmp_path / "w" / "slurm").exists()


def test_a_second_submission_waits_for_the_first(slurm: StandIns, tmp_path: Path) -> None:
    submit("--until", "convert")
    slurm.job("12", RUNS)
    with pytest.raises(Exception, match=r"still queued or running \(convert 12\)"):
        submit("--until", "convert")
    assert len(slurm.asked) == 2


def test_a_refused_submission_leaves_no_job_behind(slurm: StandIns, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REFUSE_FROM", "3")
    with pytest.raises(Exception, match="Invalid account"):
        submit()
    assert slurm.asked[-1] == "scancel 11 12"


def test_force_would_begin_anew_with_every_requeue(slurm: StandIns) -> None:
    said = submit("--force")
    assert said.exit_code == 2 and "whenever a job is put back" in said.output and not slurm.asked


@pytest.fixture
def failed(slurm: StandIns, tmp_path: Path) -> Path:
    """A chain of which conversion is done, synthesis failed, and the rest was cancelled."""
    submit("--until", "measure")
    work = tmp_path / "w"
    (work / "shards").mkdir()
    Manifest(stage="convert", fingerprint="f", counts={"read": 7}).write(work / "shards")
    slurm.job("12", "JobState=COMPLETED Reason=None Restarts=0 ExitCode=0:0")
    slurm.job("13", FAILED)
    slurm.job("14", CANCELLED)
    (work / "slurm" / "synthesize-13.log").write_text("\n".join(f"line {i}" for i in range(9)) + "\nerror: no teacher\n")
    return work


def test_status_says_what_failed_and_why(failed: Path) -> None:
    lines = crem("status", "--work", str(failed)).output.splitlines()
    told = {line.split()[0]: " ".join(line.split()[1:]) for line in lines if not line.startswith(" ")}
    assert told["convert"] == "done job 12 completed; read 7"
    assert told["synthesize"] == "failed job 13 failed (exit code 1)"
    assert told["model"] == "failed job 14 cancelled (Dependency)"
    assert told["measure"] == "unknown job 15 gone (Slurm does not know the job any more)"
    assert told["train"] == told["report"] == "-"
    at = lines.index(f"  {failed}/slurm/synthesize-13.log")
    assert lines[at + 1 : at + 6] == [f"    line {i}" for i in range(5, 9)] + ["    error: no teacher"]


def test_status_of_a_training_has_step_rate_time_left_and_loss(slurm: StandIns, tmp_path: Path) -> None:
    work = tmp_path / "w"
    (work / "train").mkdir(parents=True)
    (work / "recipe.json").write_text(json.dumps({"phases": [{"name": "joint", "steps": 7210}]}))
    (work / "train" / "started.json").write_text("{}")
    lines = [json.dumps({"step": step, "seconds": 0.5, "contrastive": 2.0}) for step in range(1, 11)]
    (work / "train" / "metrics.jsonl").write_text("\n".join(lines) + '\n{"step": 11, "sec')
    (line,) = [line for line in crem("status", "--work", str(work)).output.splitlines() if line.startswith("train")]
    assert "unfinished  step 10 of 7210, wrote last 0 s ago, 1.0 hours left at 2.00 steps/s; contrastive 2.000" in line


def test_status_names_the_rank_that_the_others_waited_for_most_often(slurm: StandIns, tmp_path: Path) -> None:
    """Rank 3 in three of four steps; 1 + 3 + 3 + 3 seconds where the median ranks take 4 x 1."""
    work = tmp_path / "w"
    (work / "train").mkdir(parents=True)
    (work / "train" / "started.json").write_text("{}")
    seen = [(0, 1.0), (3, 3.0), (3, 3.0), (3, 3.0)]
    named = [{"slowest_rank": float(rank), "slowest_rank_seconds": s, "median_rank_seconds": 1.0} for rank, s in seen]
    lines = [json.dumps({"step": step, "seconds": 3.0, "contrastive": 2.0, **each}) for step, each in enumerate(named, 1)]
    (work / "train" / "metrics.jsonl").write_text("\n".join(lines) + "\n")
    said = crem("status", "--work", str(work)).output
    assert "contrastive 2.000; slowest rank 3 in 3 of the last 4 steps, 2.50 times the median\n" in said


def test_logs_are_those_of_the_job(failed: Path) -> None:
    assert crem("logs", "synthesize", "--work", str(failed), "-n", "2").output == "line 8\nerror: no teacher\n"
    with pytest.raises(Exception, match=r"training: no job of that name .* there are: toy, convert"):
        crem("logs", "training", "--work", str(failed))
    with pytest.raises(Exception, match="measure: job 15 has written nothing yet"):
        crem("logs", "measure", "--work", str(failed))


def test_cancel_leaves_alone_what_is_over(failed: Path, slurm: StandIns) -> None:
    slurm.job("14", WAITS)
    assert crem("cancel", "--work", str(failed)).output == "cancelled: model 14\n"
    assert slurm.asked[-1] == "scancel 14"
