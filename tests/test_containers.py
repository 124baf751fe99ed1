"""The definitions of images and of the conda environment: what can be known of them without building one."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
import yaml

from tests.pages import ROOT

CONTAINERS = ROOT / "containers"
PINS = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split() if "==" in line)
SETUP = (ROOT / "setup.cfg").read_text()


def test_the_conda_environment_has_the_pins_of_all_others() -> None:
    environment = yaml.safe_load((CONTAINERS / "environment.yml").read_text())
    *names, last = environment["dependencies"]
    pinned = dict(pin.split("==") for pin in last["pip"])
    assert {"torch", "setuptools", "numpy"} == set(pinned) and pinned == {name: PINS[name] for name in pinned}
    python = next(name.partition("=")[2] for name in names if name.startswith("python="))
    assert f"Programming Language :: Python :: {python}" in SETUP


def test_torch_goes_before_what_looks_for_it_and_every_step_is_pinned(tmp_path: Path) -> None:
    """The script with a stand-in for Python, which notes what it is told to install."""
    said = tmp_path / "said"
    stand_in = f'#!/usr/bin/env bash\necho "$@" >>{said}\n[ "$2" != venv ] || {{ mkdir -p "$3/bin"; cp "$0" "$3/bin/python"; }}\n'
    (tmp_path / "python3").write_text(stand_in + '[ "$2" != venv ] || cp "$0" "$3/bin/crem"\n')
    (tmp_path / "python3").chmod(0o755)
    environment = {**os.environ, "PATH": f"{tmp_path}:{os.environ['PATH']}"}
    subprocess.run([CONTAINERS / "install.sh", ROOT, tmp_path / "prefix"], env=environment, check=True, capture_output=True)
    _, *steps, last = said.read_text().splitlines()
    assert [re.sub(r" --no-cache-dir -c \S+/constraints\.txt$", "", step) for step in steps] == [
        "-m pip install setuptools numpy",
        f"-m pip install torch=={PINS['torch']}",
        f"-m pip install --no-build-isolation {ROOT}[st]",
    ]
    assert all(step.endswith(f"-c {ROOT}/constraints.txt") for step in steps) and last == "--help"


@pytest.mark.parametrize("name", ["Dockerfile", "crem.def"])
def test_both_images_install_by_the_script_from_the_same_base(name: str) -> None:
    text = (CONTAINERS / name).read_text()
    assert "bash /opt/crem/source/containers/install.sh /opt/crem/source /opt/crem\n" in text
    assert "nvidia/cuda:12.8.1-devel-ubuntu24.04" in text
    assert "build-essential git python3 python3-dev python3-venv" in text
    for name in ("HF_HUB_OFFLINE=1", "TRANSFORMERS_OFFLINE=1", "MLFLOW_DISABLE_TELEMETRY=true", "DO_NOT_TRACK=true"):
        assert name in text


def test_the_apptainer_image_takes_all_that_the_package_is_built_from() -> None:
    files = (CONTAINERS / "crem.def").read_text().partition("%files\n")[2].partition("\n\n")[0]
    copied = dict(shlex.split(line) for line in files.splitlines())
    assert all((ROOT / name).exists() and place == f"/opt/crem/source/{name}" for name, place in copied.items())
    packages = re.findall(r"^ {4}(\w+)\*$", SETUP, re.MULTILINE)
    assert {*packages, "setup.cfg", "pyproject.toml", "README.md", "constraints.txt", "containers"} == set(copied)


@pytest.mark.parametrize("section", ["post", "environment", "runscript", "test"])
def test_the_scripts_of_the_apptainer_image_can_be_read(section: str) -> None:
    text = (CONTAINERS / "crem.def").read_text().partition(f"%{section}\n")[2].partition("\n\n")[0]
    assert text.strip()
    subprocess.run(["bash", "-n"], input=text, text=True, check=True)


def test_what_is_left_out_of_the_docker_image_is_nothing_that_the_package_needs() -> None:
    left_out = (CONTAINERS / "Dockerfile.dockerignore").read_text().split()
    assert ".git" in left_out and not {"pipeline", "launchers", "setup.cfg", "constraints.txt"} & set(left_out)
