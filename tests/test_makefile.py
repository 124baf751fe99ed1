"""How `make` starts the demos."""

import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HAS_GPU = Path("/dev/nvidiactl").exists()


@pytest.mark.parametrize("target", ["demo", "demo-full"])
@pytest.mark.parametrize(("cores", "ranks"), [(1, 1), (2, 2), (12, 2)])
def test_a_demo_trains_in_two_ranks_where_there_are_two_cores_and_no_gpu(target: str, cores: int, ranks: int) -> None:
    told = subprocess.run(["make", "--dry-run", target, f"CORES={cores}"], cwd=ROOT, capture_output=True, text=True, check=True)
    (started,) = [line for line in told.stdout.splitlines() if "launchers.cli run" in line]
    assert started.endswith(f"--processes {1 if HAS_GPU else ranks}")
