"""What of a user's data folder makes a stage run again: what it reads, and nothing else."""

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from jobs.convert import ConvertStage
from jobs.evaluate import EvaluateStage
from jobs.runner import _input_state, _Plan
from jobs.stage import Context
from tests.eval.fakes import png, write_eval, write_pictures
from tests.pipeline.corpus import small_recipe

Change = Callable[[Path], object]


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """A set of MMEB-train with unpacked pictures, one of MMEB-eval, a question file, and a corpus of the user's own beside it."""
    data = tmp_path / "data"
    for name in ("MMEB-train/NIGHTS", "MMEB-train/images/NIGHTS", "conversations", "mcq"):
        (data / name).mkdir(parents=True)
    for name in ("MMEB-train/NIGHTS/original-00000-of-00001.parquet", "MMEB-train/images/NIGHTS/1.jpg", "mcq/Birds.tsv"):
        (data / name).write_bytes(b"rows")
    write_pictures(data, {"n/a.png": png((1, 1, 1))})
    write_eval(data, "n", [("name", "n/a.png", ["x", "y"], ["", ""])])
    (tmp_path / "mine.py").write_text("def mine():\n    yield from ()\n")
    return Context(work=tmp_path / "work", data=data, recipe=small_recipe(), tracking="nowhere://")


def write(name: str) -> Change:
    return lambda data: (data / name).write_bytes(b"changed")


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (write("NOTES.txt"), False),
        (write("MMEB-train/NOTES.txt"), False),
        (write("MMEB-eval/images.zip"), False),
        (write("mcq/Birds.tsv"), False),
        (write("MMEB-train/NIGHTS/original-00000-of-00001.parquet"), True),
        (write("MMEB-train/images/NIGHTS/2.jpg"), True),
        (write("conversations/train.json"), True),
        (write("../mine.py"), True),
    ],
)
def test_what_conversion_reads(context: Context, change: Change, counts: bool) -> None:
    stage = ConvertStage(context=context, corpora=(f"{context.data.parent}/mine.py:mine",))
    before = _Plan.of(stage).fingerprint
    change(context.data)
    assert (_Plan.of(stage).fingerprint != before) is counts


@pytest.mark.parametrize(
    ("change", "counts"),
    [
        (write("NOTES.txt"), False),
        (write("MMEB-eval/NOTES.txt"), False),
        (write("MMEB-train/NIGHTS/original-00000-of-00001.parquet"), False),
        (write("MMEB-train/images_zip.zip"), False),
        (write("MMEB-eval/images.zip"), True),
        (write("MMEB-eval/n/test-00000-of-00001.parquet"), True),
        (write("mcq/Birds.tsv"), True),
    ],
)
def test_what_evaluation_reads(context: Context, change: Change, counts: bool) -> None:
    before = read_state(context)
    change(context.data)
    assert (read_state(context) != before) is counts


def read_state(context: Context) -> str:
    """What evaluation sees of the data folder."""
    return _input_state(EvaluateStage(context=context).inputs()["benchmarks"])[0]


def test_a_command_that_finds_all_done_imports_no_model_library() -> None:
    """PEFT and transformers take six seconds to import; what is done is said in less."""
    modules = "launchers.cli, jobs.run, jobs.runner, jobs.summary, pipeline.recipes.source"
    program = f"import sys, {modules}; print(sorted({{'peft', 'transformers', 'deepspeed', 'mlflow'}} & set(sys.modules)))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout == "[]\n"
