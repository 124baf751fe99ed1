"""What tests need that a machine may lack: shared real data, a GPU, Slurm. A skip always says what is missing.

Names in the environment variable REQUIRE (separated by commas or spaces) turn their skips into failures.
"""

import logging
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

# One thread suits models this small, and leaves the other cores to what runs beside the tests; torch reads it when imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest

from launchers.cli import PACKAGES
from tests.slurm.cluster import missing

# Whoever started the tests in the background may have had Ctrl-C ignored, which processes inherit.
signal.signal(signal.SIGINT, signal.default_int_handler)

ROOT = Path(__file__).resolve().parent.parent
REAL_MINI = ROOT.parent / "shared" / "real-mini"


def require(name: str, reason: str) -> NoReturn:
    """Skip the test because `name` is missing, or fail it when REQUIRE says that `name` must be there."""
    if name in re.split(r"[,\s]+", os.environ.get("REQUIRE", "")):
        pytest.fail(f"REQUIRE={name}, but {reason}", pytrace=False)
    pytest.skip(reason)


@pytest.fixture(autouse=True)
def log_levels() -> Iterator[None]:
    """The command sets log levels of the whole process; a test must not leave them to the tests after it."""
    before = {name: logging.getLogger(name).level for name in PACKAGES}
    yield
    for name, level in before.items():
        logging.getLogger(name).setLevel(level)


@pytest.fixture(scope="session")
def real_mini() -> Path:
    """The folder of small real data beside the repository."""
    if not (REAL_MINI / "MMEB-train").is_dir():
        require("real-mini", f"real-mini is not at {REAL_MINI}")
    return REAL_MINI


@pytest.fixture(scope="session")
def failing_inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Small data folders, each with what went wrong in public reports; the maker of them lies beside the repository."""
    maker = ROOT.parent / "shared" / "failing-inputs" / "make_inputs.py"
    if not maker.is_file():
        require("failing-inputs", f"the maker of failing inputs is not at {maker}")
    out = tmp_path_factory.mktemp("failing-inputs")
    subprocess.run([sys.executable, str(maker), str(out)], check=True, capture_output=True)
    return out


def pytest_runtest_setup(item: pytest.Item) -> None:
    if item.get_closest_marker("gpu") and not _has_gpu():
        require("gpu", "this machine has no CUDA device")
    if item.get_closest_marker("slurm") and (lack := missing()):
        require("slurm", lack)


def _has_gpu() -> bool:
    import torch

    return torch.cuda.is_available()
