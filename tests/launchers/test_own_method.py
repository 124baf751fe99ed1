"""The method of docs/own_method.md, written as a user would: its file runs as printed, from the toy world to the table of P@1."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from click.testing import CliRunner, Result

from jobs.stage import Context
from jobs.train import TrainStage
from launchers.cli import group
from launchers.local import command
from pipeline.components import shortcoming
from pipeline.errors import ConfigError
from pipeline.export import export
from pipeline.inference import load_model
from pipeline.manifest import canonical_json
from pipeline.recipes.source import resolve
from pipeline.sample import Side
from pipeline.tracking import default_uri
from tests.pages import ROOT, blocks, table

PAGE = (ROOT / "docs" / "own_method.md").read_text()
FILE, SECOND = blocks(PAGE, "python")

SMALL = (
    *("toy.train_rows=24", "toy.eval_rows=8", "toy.conversations=24", "toy.mcq_rows=8"),
    *("backbone.layers=1", "backbone.hidden=32", "backbone.tower_dim=32", "backbone.tower_layers=1", "backbone.feed_forward=64"),
    *(f"phases.{phase}.{field}" for phase in (0, 1) for field in ("steps=2", "held_out=0", "optimizer.warmup_steps=0")),
    *("phases.0.mixture.outside=4", "phases.1.mixture.pairs=4", "phases.1.mixture.sub_batch=4"),
)


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("own") / "my_voco.py"
    place.write_text(FILE)
    return place


def crem(*words: object) -> Result:
    return CliRunner().invoke(group, ["--quiet", *map(str, words)])


def test_the_file_is_short_and_says_the_method(file: Path) -> None:
    assert len(FILE.splitlines()) <= 60
    voco = resolve(f"{file}:voco").phase
    names = {role.name: sorted(seen.name for seen in voco.layout.visible(role, compressed=True)) for role in voco.layout.order}
    assert "CONTEXT" in names["COMPRESSION"] and "CONTEXT" not in names["QUESTION"] + names["ANSWER"]
    assert voco.layout.gate_probability == 1.0 and [role.name for role in voco.layout.scored] == ["ANSWER"]


@pytest.mark.parametrize("row", table(PAGE, "part"), ids=lambda row: row["part"])
def test_the_page_names_every_method_that_a_class_must_have(row: dict[str, str]) -> None:
    module, _, name = row["base"].strip("`").rpartition(".")
    base = getattr(importlib.import_module(module), name)
    methods = set(re.findall(r"`(\w+)`", row["methods to write"]))
    assert base.__abstractmethods__ == methods
    assert shortcoming(type("Empty", (base,), {})) == f"lacks {' and '.join(sorted(methods))}"


def test_the_loss_of_the_file_is_the_mean_of_both_directions(file: Path) -> None:
    loss = resolve(f"{file}:voco_search").phase.contrastive
    queries, candidates = torch.eye(2), torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0]])
    there = torch.log(torch.tensor([2 + torch.e**-20, 1 + 2 * torch.e**-20])).mean()  # e^(1 / 0.05) against the others
    back = torch.log(torch.tensor(1 + torch.e**-20))
    owners = torch.tensor([0, 1, 0])
    torch.testing.assert_close(loss(queries, candidates, torch.arange(3), owners), (there + back) / 2)


def test_a_method_of_ones_own_runs_end_to_end(file: Path, tmp_path: Path) -> None:
    which = ["--recipe", f"{file}:voco_search", *(word for setting in SMALL for word in ("--set", setting))]
    said = crem("run", *which, "--work", tmp_path)
    assert said.exit_code == 0, said.output
    assert "P@1" in said.output and (tmp_path / "report" / "report.html").is_file()
    recipe = json.loads((tmp_path / "recipe.json").read_text())
    assert (recipe["pooling"], recipe["phases"][1]["contrastive"]["type"]) == ({"type": "Largest"}, "BothWays")
    (checkpoint,) = tmp_path.glob("train/checkpoints/*2")
    vectors = load_model(checkpoint).embed([Side(text="a red square")])
    assert vectors.shape == (1, 32)
    with pytest.raises(ConfigError, match="pooling: Largest is of your own"):
        export(checkpoint, tmp_path / "out", form="merged")


def test_ranks_of_a_training_know_the_classes_of_the_file(file: Path, tmp_path: Path) -> None:
    """Their command line, read in a new process; without the file it says what is missing."""
    recipe = resolve(f"{file}:voco_search", [*SMALL, "pooling=MeanOver"])
    context = Context(work=tmp_path, data=tmp_path / "toy", recipe=recipe, tracking=default_uri(tmp_path))
    words = command(TrainStage(context=context), context)
    assert words[words.index("--components") + 1] == str(file.resolve())
    read = (
        "import sys; from launchers.cli import train\n"
        "given = train.make_context('train', sys.argv[1:]).params\n"
        "from pipeline.recipes.source import resolve; from pipeline.manifest import canonical_json\n"
        "print(canonical_json(resolve(given['recipe'], given['settings'])))"
    )
    own = words[words.index("train") + 1 :]
    place = own.index("--components")
    for arguments, code in ((own, 0), (own[:place] + own[place + 2 :], 1)):
        done = subprocess.run([sys.executable, "-c", read, *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
        assert done.returncode == code
        if not code:
            assert done.stdout.strip() == canonical_json(recipe)
        else:
            assert "phases.1.contrastive: type 'BothWays' is not InfoNCE" in done.stderr and "--recipe FILE.py:FN" in done.stderr
