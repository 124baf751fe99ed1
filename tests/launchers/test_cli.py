"""The command line: help that teaches, and mistakes that cost one line and leave nothing behind."""

import io
import random
import re
import resource
import subprocess
import sys
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import click
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from jobs.defaults import ORDER
from jobs.stage import Context
from jobs.train import TrainStage
from launchers import cli, local
from pipeline.errors import StoppedError
from pipeline.recipe import ToyWorld
from pipeline.recipe_json import recipe_from_json
from pipeline.recipes import METHODS, RECIPES, load
from pipeline.recipes.printed_others import PAPERS
from pipeline.recipes.source import resolve
from tests.faults import BREAKS

COLUMNS = ("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path")

Run = Callable[..., tuple[int, str, str]]


@pytest.fixture
def crem(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Run:
    """Run the command in this process; returns exit code, stdout and stderr."""
    monkeypatch.delenv("RANK", raising=False)
    monkeypatch.setattr(cli, "end", sys.exit)  # a rank of several would end this process at once
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "nowhere://")  # no store has to be made for these tests
    monkeypatch.chdir(tmp_path)

    def run(*arguments: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["crem", *arguments])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        output = capsys.readouterr()
        return int(ended.value.code or 0), output.out, output.err

    return run


def commands(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name, command in group.commands.items():
        found.append(((*path, name), command))
        if isinstance(command, click.Group):
            found += commands(command, (*path, name))
    return found


@pytest.mark.parametrize(
    ("path", "command"), commands(cli.group), ids=lambda value: "-".join(value) if isinstance(value, tuple) else ""
)
def test_help_of_every_command_teaches(crem: Run, path: tuple[str, ...], command: click.Command) -> None:
    code, output, _ = crem(*path, "--help")
    assert code == 0
    assert "Example" in output
    assert f"crem {' '.join(path)}" in output.split("Example", 1)[1], "the example shows this very command"
    for parameter in command.params:
        if isinstance(parameter, click.Option):
            assert parameter.help, f"{parameter.name} has no help"


def test_group_help_names_every_stage_in_order(crem: Run) -> None:
    _, output, _ = crem("--help")
    places = [output.index(f"  {stage} ") for stage in ORDER]
    assert places == sorted(places)
    assert "crem run --recipe tiny" in output
    assert set(ORDER) <= set(cli.group.commands)


def one_line(error: str) -> str:
    assert error.count("\n") == 1, error
    assert "Traceback" not in error
    return error


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["run", "--recipe", "nope"], "no recipe 'nope'; crem recipes list"),
        (["run", "--recipe", "crem2b"], "did you mean crem_2b"),
        (["run", "--recipe", "my.py:fn"], "--recipe my.py: no such file"),
        (["run", "--set", "tokens.start=eso"], "'eso' is not one of eos, mean, random"),
        (["train", "--set", "phases.0.mixture.pair=3"], "did you mean pairs?"),
        (["convert", "--set", "phases.0.layout.hidden.0.queries=ANSWER"], "CONTEXT still reaches ANSWER without COMPRESSION"),
        (["evaluate", "--set", "pooling=LastToken", "--set", "pooling.role=ANSWER"], "pooling.role: LastToken pools CONTEXT or"),
        (["run", "--set", "tokens.count=0"], "tokens.count: 0; a layout with COMPRESSION needs at least 1"),
        (
            ["evaluate", "--set", "pooling.role=CONTEXT", "--set", "phases.0.layout.order=SYSTEM"],
            "layout.hidden: QUESTION is not in layout.order",
        ),
        (["run", "--data", "nowhere"], "--data nowhere: no such folder"),
        (["convert", "--data", "."], "no MMEB-train folder in it, nor ShareGPT4V or conversations"),
        (["convert", "--data", ".", "--work", "../w", "--corpus", "mine.py:f"], "corpus mine.py:f: no file mine.py"),
        (["evaluate", "--data", ".", "--work", "../w"], "run crem model first"),
        (["evaluate", "--checkpoint", "7"], "--checkpoint 7: no folder work/train/checkpoints/step-00000007"),
        (["run", "--recipe", "crem_2b"], "--model-folder: recipe crem_2b trains Qwen2-VL-2B-Instruct"),
        (["model", "--recipe", "crem_2b", "--model-folder", "nowhere"], "no config.json in it"),
        (["convert"], "run crem toy first"),
        (["train"], "run crem convert first"),
        (["evaluate"], "run crem "),
        (["report"], "run crem evaluate first"),
        (["export"], "give either --run-id or --model"),
        (["export", "--model", "nowhere", "--out", "x"], "nowhere: no such folder"),
        (["recipes", "show", "nope"], "no recipe 'nope'"),
        (["recipes", "show", "tiny", "--diff", "nope"], "no recipe 'nope'"),
        (["recipes", "show", "tiny", "--set", "seed"], "--set seed: write path.to.field=value"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_mistakes_are_one_line_and_leave_nothing(crem: Run, tmp_path: Path, arguments: list[str], words: str) -> None:
    code, output, error = crem(*arguments)
    assert code == 1
    assert words in one_line(error)
    assert error.startswith("error: ")
    assert output == ""
    left = [path for path in tmp_path.rglob("*") if path.is_file() and not path.name.endswith(".lock")]
    assert left == []


def test_wrong_command_lines_name_the_choices(crem: Run) -> None:
    code, _, error = crem("run", "--until", "nope")
    assert code == 2
    assert all(stage in error for stage in ORDER)
    assert crem("nope")[0] == 2


def data_folder(root: Path, *, columns: tuple[str, ...] = COLUMNS, has_image: bool = True) -> Path:
    """A data folder of one dataset with four rows, in the release layout."""
    folder = root / "MMEB-train" / "Tiny"
    folder.mkdir(parents=True)
    (root / "MMEB-train" / "images_zip").mkdir()
    rows = [("<|image_1|>\nWhat?", f"images/Tiny/Train/{n}.png", f"word {n}", "", "", "") for n in range(4)]
    table = pa.table({name: [row[COLUMNS.index(name)] for row in rows] for name in columns})
    pq.write_table(table, folder / "original-00000-of-00001.parquet")
    with zipfile.ZipFile(root / "MMEB-train" / "images_zip" / "Tiny.zip", "w") as archive:
        for n in range(4 if has_image else 0):
            file = io.BytesIO()
            Image.new("RGB", (30, 30), (n, 0, 0)).save(file, "PNG")
            archive.writestr(f"Tiny/Train/{n}.png", file.getvalue())
    return root


def parquet_of(data: Path) -> Path:
    return data / "MMEB-train" / "Tiny" / "original-00000-of-00001.parquet"


@pytest.mark.parametrize("how", ["truncated", "empty", "noise"])
def test_a_broken_parquet_is_one_line(crem: Run, tmp_path: Path, how: str) -> None:
    data = data_folder(tmp_path / "data")
    BREAKS[how](parquet_of(data), random.Random(0))
    code, _, error = crem("--quiet", "convert", "--data", str(data), "--work", "w")
    assert code == 1
    assert f"{parquet_of(data)}: not a readable parquet file" in last_line(error)
    assert not (tmp_path / "w" / "shards").exists()


def last_line(error: str) -> str:
    """The line of the mistake; the tracker's own warning may stand before it."""
    lines = [line for line in error.splitlines() if not line.startswith("tracking: ")]
    assert len(lines) == 1, error
    return lines[0]


def test_a_missing_column_and_missing_pictures_are_one_line(crem: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "columns", columns=tuple(name for name in COLUMNS if name != "pos_text"))
    code, _, error = crem("--quiet", "convert", "--data", str(data), "--work", "w")
    assert code == 1
    assert "column pos_text is missing" in last_line(error)
    data = data_folder(tmp_path / "pictures", has_image=False)
    code, _, error = crem("--quiet", "convert", "--data", str(data), "--work", "w")
    assert code == 1
    assert "Tiny.zip has no member images/Tiny/Train/0.png" in last_line(error)
    left = {path.name for path in (tmp_path / "w").iterdir() if not path.name.startswith(".")}
    assert left == {"recipe.json", "unsent"}, "no shards; what the unreachable tracker was told is kept"


def test_a_stage_says_what_it_did_and_then_that_it_is_done(crem: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data")
    code, output, _ = crem("--quiet", "convert", "--data", str(data), "--work", "w")
    assert code == 0
    assert output.startswith("convert: done in ")
    assert "converted 4" in output
    code, output, _ = crem("--quiet", "convert", "--data", str(data), "--work", "w")
    assert (code, output) == (0, "convert: already done (w/shards)\n")


def test_a_dataset_that_nobody_knows_is_one_line_before_a_model_loads(
    crem: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = data_folder(tmp_path / "data")
    monkeypatch.setattr("pipeline.train.loop.build_embedder", None)
    arguments = ["--until", "train", "--data", str(data), "--work", "w"]
    code, _, error = crem("--quiet", "run", *arguments, "--set", 'phases.0.mixture.weights=[["Tini", 2]]')
    assert code == 1
    assert last_line(error).startswith("error: phases.0.mixture.weights: 'Tini' not in the shards; there are Tiny; name those")


def test_work_inside_the_data_folder_is_refused(crem: Run, tmp_path: Path) -> None:
    data = data_folder(tmp_path / "data")
    code, _, error = crem("convert", "--data", str(data), "--work", str(data / "work"))
    assert code == 1
    assert "lies inside the data folder" in one_line(error)


def test_a_disk_that_refuses_is_one_line(crem: Run, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    code, _, error = crem("--quiet", "convert", "--data", str(data_folder(tmp_path / "data")), "--work", "file/work")
    assert code == 1
    assert "Not a directory" in one_line(error)


def test_interruption_is_one_line_and_its_own_exit_code(crem: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(**_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("launchers.options.make_context", interrupt)
    code, _, error = crem("toy")
    assert code == 130
    assert "the same command goes on from here" in error
    assert "Traceback" not in error


def test_a_training_stopped_by_a_signal_has_an_exit_code_of_its_own(crem: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def stop(**_: object) -> None:
        raise StoppedError("stopped by SIGUSR1 after step 3; the same command goes on from it")

    monkeypatch.setattr("launchers.options.make_context", stop)
    code, output, error = crem("train")
    assert (code, output) == (75, "")
    assert one_line(error).startswith("stopped by SIGUSR1")


def test_every_recipe_and_every_printed_row_is_listed(crem: Run) -> None:
    code, output, _ = crem("recipes", "list")
    assert code == 0
    by_method, *papers = output.split("Rows of ")
    assert re.findall(r"^  (\w+)  ", by_method, re.MULTILINE) == list(RECIPES)
    assert [line for line in by_method.splitlines() if line and line[0] != " "] == list(METHODS)
    for paper, (name, tables) in zip(papers, PAPERS.items(), strict=True):
        assert paper.startswith(name) and "published ones" in paper and "none was measured here" in paper
        for block, table in zip(paper.split("\nTable")[1:], tables, strict=True):
            title, header, *lines = [line for line in block.splitlines() if line]
            assert title.endswith(f": {table.title}")
            assert header.split()[-len(table.columns) :] == list(table.columns)
            for line, row in zip(lines, table.rows, strict=True):
                figures = ["-" if figure is None else f"{figure}" for figure in row.figures]
                assert line.split() == [*row.label.split(), row.recipe or "-", *figures]
    assert max(map(len, output.splitlines())) <= 100, "readable in a terminal"


def test_recipes_of_other_numbers_of_phases_are_told_apart(crem: Run) -> None:
    """Phases are matched in their order; one that the other recipe lacks is a line of its own, by name."""
    code, output, _ = crem("recipes", "show", "coma_3b", "--diff", "crem_2b")
    lines = dict(line.split(": ", 1) for line in output.splitlines())
    assert code == 0 and max(map(len, output.splitlines())) <= 300
    assert lines["phases.0.name"] == "joint -> compress"
    assert lines["phases.0.target"] == "OwnQuestions(bare=false, texts=true) -> Dialogue(bare=true, most=5)"
    assert lines["phases.1"] == "none -> match, 1500 steps"
    back = crem("recipes", "show", "crem_2b", "--diff", "coma_3b")[1]
    assert "phases.1: match, 1500 steps -> none" in back.splitlines()


def test_every_value_of_a_recipe_is_shown(crem: Run) -> None:
    code, output, _ = crem("recipes", "show", "crem_2b")
    assert code == 0
    assert recipe_from_json(output) == load("crem_2b")


def test_a_recipe_can_be_shown_by_what_differs(crem: Run, tmp_path: Path) -> None:
    (tmp_path / "my.py").write_text("from pipeline.recipes import load\n\ndef mine():\n    return load('crem_2b')\n")
    arguments = ("--set", "tokens.count=8", "--set", "phases.0.adapter=Full", "--diff", "crem_2b")
    code, output, _ = crem("recipes", "show", "my.py:mine", *arguments)
    assert code == 0
    assert output.splitlines() == [
        "phases.0.adapter: LoRA(alpha=64, dora=false, dropout=0.0, rank=16, targets=[q_proj, k_proj, v_proj, o_proj]) -> Full()",
        "tokens.count: 16 -> 8",
    ]
    assert crem("recipes", "show", "my.py:mine", "--diff", "crem_2b")[:2] == (0, "")


def test_settings_reach_the_stage_and_what_it_logs(crem: Run, tmp_path: Path) -> None:
    settings = ["seed=3", "train_rows=56", "eval_rows=16", "conversations=10", "mcq_rows=4"]
    given = [word for setting in settings for word in ("--set", f"toy.{setting}")]
    code, _, error = crem("--quiet", "toy", *given, "--work", "w")
    assert code == 0, error
    stored = resolve(str(tmp_path / "w" / "recipe.json"))
    assert stored == replace(load("tiny"), toy=ToyWorld(seed=3, train_rows=56, eval_rows=16, conversations=10, mcq_rows=4))
    assert "already done" in crem("--quiet", "toy", "--recipe", "w/recipe.json", "--work", "w")[1]


def test_processes_of_a_training_get_the_resolved_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither the name nor the user's file says what --set changed."""
    recipe = replace(load("tiny"), seed=3)
    context = Context(work=tmp_path, data=tmp_path / "toy", recipe=recipe, tracking="nowhere://")
    commands: list[list[str]] = []

    def start(command: list[str], **_: object) -> None:
        commands.append(command)
        raise KeyboardInterrupt

    monkeypatch.setattr("subprocess.Popen", start)
    with pytest.raises(KeyboardInterrupt):
        local.run_in_processes(TrainStage(context=context), context, processes=2)
    assert resolve(commands[0][commands[0].index("--recipe") + 1]) == recipe


def test_stages_that_one_process_does_refuse_to_be_started_as_several(crem: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    code, _, error = crem("convert")
    assert code == 1
    assert "started as 2 processes, but only crem train and crem mine work in parallel" in one_line(error)


def processor_seconds(*words: str) -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, *words], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


def test_help_costs_at_most_half_a_second_of_processor_time_more_than_python() -> None:
    help_seconds = min(processor_seconds("-m", "launchers.cli", "--help") for _ in range(3))
    assert help_seconds - processor_seconds("-c", "pass") <= 0.5


def test_help_waits_for_no_heavy_library() -> None:
    """Half a second is what help may cost; torch alone takes several."""
    heavy = {"torch", "transformers", "deepspeed", "mlflow", "pyarrow"}
    program = f"import sys, launchers.cli; print(*{heavy} & set(sys.modules))"
    said = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert said.stdout.split() == []


def test_templates_of_a_file_are_shown_and_a_wrong_file_is_one_line(crem: Run, tmp_path: Path) -> None:
    (tmp_path / "my.toml").write_text('[default]\nquery = "find it"\ncandidate = "be found"\n')
    code, out, _ = crem("recipes", "show", "tiny", "--set", "templates=my.toml", "--diff", "tiny")
    assert (code, out) == (0, "templates.instructions: [] -> [Instructions(candidate=be found, of=default, query=find it)]\n")
    (tmp_path / "my.toml").write_text("[default]\n")
    code, out, err = crem("recipes", "show", "tiny", "--set", "templates=my.toml")
    assert (code, out) == (1, "")
    assert err == 'error: --set templates: templates my.toml: [default] lacks query; write query = "" for none\n'
