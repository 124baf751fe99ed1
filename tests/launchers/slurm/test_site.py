"""What a site's file may say, and what is refused in one line."""

from pathlib import Path

import pytest

from launchers.slurm.site import Site, read_site
from pipeline.errors import ConfigError

EXAMPLE = Path(__file__).parents[3] / "launchers" / "slurm" / "site.example.toml"


def test_the_example_is_a_site() -> None:
    site = read_site(EXAMPLE)
    assert site.container.startswith("apptainer") and "module load cuda/12.6" in site.setup
    assert site.sbatch_options(has_gpus=True) == [
        "--partition=gpu", "--account=vision-lab", "--qos=normal", "--time=24:00:00", "--constraint=a800", "--mem=0"
    ]  # fmt: skip
    assert site.sbatch_options(has_gpus=False)[0] == "--partition=cpu"


def test_without_a_file_everything_is_left_to_slurm() -> None:
    assert read_site(None) == Site() and Site().sbatch_options(has_gpus=True) == []


def test_jobs_without_gpus_go_where_the_others_go_unless_told() -> None:
    assert Site(partition="all").sbatch_options(has_gpus=False) == ["--partition=all"]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("partition = ", "not TOML"),
        ("partitoin = 'gpu'", "partitoin"),
        ("cpus = 0", "must be 1 at least"),
        ("cpus = 'many'", "cpus"),
        ('partition = "a\\nb"', "one line"),
        ('options = ["--mem=0\\n#SBATCH --qos=high"]', "one line"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(tmp_path: Path, text: str, said: str) -> None:
    file = tmp_path / "site.toml"
    file.write_text(text)
    with pytest.raises(ConfigError, match=said) as caught:
        read_site(file)
    assert "\n" not in str(caught.value) and str(file) in str(caught.value)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: No such file"):
        read_site(tmp_path / "nowhere.toml")
