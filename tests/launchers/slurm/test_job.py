"""The script of a job, word by word, and as bash reads it."""

import os
import subprocess
import sys
from pathlib import Path

from launchers.slurm.job import TRAIN_SCRIPT, Job
from launchers.slurm.site import Site

TOLD = {"CREM_PARENT_RUN": "abc"}


def text(job: Job, site: Site, folder: Path) -> str:
    return job.script(folder / "logs", site, cwd=folder, python="/env/bin/python", variables=TOLD)


def test_a_stage_of_one_process(tmp_path: Path) -> None:
    job = Job(name="measure", words=("measure", "--recipe", "my recipe.json", "--work", "w"))
    site = Site(cpu_partition="cpu", partition="gpu", cpus=6, setup=("module load cuda",))
    assert text(job, site, tmp_path) == (
        "#!/usr/bin/env bash\n"
        "# measure: made by crem run --on slurm; to submit it by hand: sbatch THIS_FILE\n"
        "#SBATCH --job-name=crem-measure\n"
        f'#SBATCH --output="{tmp_path}/logs/measure-%j.log"\n'
        "#SBATCH --open-mode=append\n"
        "#SBATCH --requeue\n"
        "#SBATCH --nodes=1\n"
        "#SBATCH --ntasks-per-node=1\n"
        "#SBATCH --cpus-per-task=6\n"
        "#SBATCH --partition=cpu\n"
        "set -euo pipefail\n"
        f"cd {tmp_path}\n"
        "module load cuda\n"
        "export CREM_PARENT_RUN=abc\n"
        "export CREM_PYTHON=/env/bin/python\n"
        "export OMP_NUM_THREADS=1\n"
        'exec "$CREM_PYTHON" -m launchers.cli measure \\\n'
        "  --recipe 'my recipe.json' \\\n"
        "  --work w\n"
    )


def test_training_has_a_rank_for_each_gpu_of_every_node_and_is_told_before_its_time_is_up(tmp_path: Path) -> None:
    job = Job(name="train", words=("--work", "w"), nodes=4, gpus=8, is_training=True)
    lines = text(job, Site(partition="gpu", cpus_per_gpu=10), tmp_path).splitlines()
    expected = ("--nodes=4", "--ntasks-per-node=8", "--cpus-per-task=10", "--gpus-per-node=8", "--signal=B:USR1@120", "--requeue")
    assert {f"#SBATCH {option}" for option in expected} <= set(lines) and "#SBATCH --partition=gpu" in lines
    assert lines[-2:] == [f"exec bash {TRAIN_SCRIPT} \\", "  --work w"]
    assert not any("OMP_NUM_THREADS" in line for line in lines), "slurm_train.sh knows what a rank was given"


def test_without_gpus_a_node_has_one_rank(tmp_path: Path) -> None:
    lines = text(Job(name="train", words=(), nodes=2, gpus=0, is_training=True), Site(), tmp_path).splitlines()
    assert "#SBATCH --ntasks-per-node=1" in lines and not any("gpus-per-node" in line for line in lines)


def test_an_array_has_a_slice_and_a_log_for_each_task(tmp_path: Path) -> None:
    said = text(Job(name="convert-slices", words=("convert", "--work", "w"), tasks=16), Site(), tmp_path)
    assert "#SBATCH --array=0-15\n" in said and "convert-slices-%A_%a.log" in said
    assert said.endswith('  --work w --shard-index "$SLURM_ARRAY_TASK_ID" --num-shards 16\n')


def test_a_process_with_a_gpu_uses_the_cores_it_was_given(tmp_path: Path) -> None:
    said = text(Job(name="evaluate", words=("evaluate",), gpus=1), Site(cpus_per_gpu=12), tmp_path)
    assert "--cpus-per-task=12\n" in said and "OMP_NUM_THREADS=$SLURM_CPUS_PER_TASK\n" in said


def test_words_reach_the_command_as_they_were(tmp_path: Path) -> None:
    """Blanks, quotes, dollars and backquotes: bash hands on what was given and runs nothing of it."""
    words = ("convert", "--data", "a b", "--corpus", 'it\'s $HOME `date` "x".py:fn', "--set", "a=b;c")
    script = tmp_path / "job.sh"
    show = tmp_path / "show.sh"
    show.write_text('#!/usr/bin/env bash\nprintf "%s\\n" "$@"\n')
    show.chmod(0o755)
    site = Site(setup=("export MARK=set",))
    script.write_text(Job(name="convert", words=words).script(tmp_path, site, cwd=tmp_path, python=str(show), variables={}))
    ended = subprocess.run(["bash", script], capture_output=True, text=True, check=True, env=dict(os.environ))
    assert ended.stdout.splitlines() == ["-m", "launchers.cli", *words]


def test_python_is_the_one_that_submits_unless_the_site_names_one() -> None:
    from launchers.slurm.submitted import scripts, stand_ins

    job = Job(name="toy", words=("toy",))
    (said,) = scripts([job], Path("work"), Site(), {}).values()
    assert f"export CREM_PYTHON={sys.executable}\n" in said
    inside = Site(container="apptainer exec --nv crem.sif", python="/opt/python")
    ((path, stand_in),) = stand_ins(Path("work"), inside).items()
    (said,) = scripts([job], Path("work"), inside, {}).values()
    assert f"export CREM_PYTHON={path}\n" in said
    assert stand_in == '#!/usr/bin/env bash\nexec apptainer exec --nv crem.sif /opt/python "$@"\n'
