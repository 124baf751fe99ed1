"""Which model a command is about, and how the commands fail: one line, exit code 1, nothing written."""

import inspect
import re
from dataclasses import replace
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from eval import mmeb, reconstruct, vlm
from eval.model_protocol import Model
from eval.subject import Subject, find_subject, newest_checkpoint
from pipeline.errors import CheckpointError, ConfigError
from pipeline.manifest import Manifest
from pipeline.recipe_json import recipe_fingerprint
from pipeline.recipes import load
from pipeline.stage_folder import give_place, mark_begun
from pipeline.train import checkpoint
from tests.eval.fakes import FakeModel, png, write_eval, write_pictures
from tests.eval.test_tsv import row, write

MAINS = {"mmeb": mmeb.main, "vlm": vlm.main, "reconstruct": reconstruct.main}


class FakeSubject(Subject):
    """Loads no real model."""

    def load(self) -> Model:
        return FakeModel()


def save(folder: Path) -> None:
    state = checkpoint.State(step=1, recipe="tiny", recipe_fingerprint="r", data_fingerprint="d", model_folder="m", digests={})
    checkpoint.save(folder, {}, {}, state, "{}")


def test_newest_whole_checkpoint_is_taken(tmp_path: Path) -> None:
    for step in (100, 200, 300):
        save(tmp_path / f"step-{step:07d}")
    (tmp_path / "step-0000300" / checkpoint.WEIGHTS).write_bytes(b"cut")
    assert newest_checkpoint(tmp_path) == tmp_path / "step-0000200"
    assert newest_checkpoint(tmp_path / "step-0000100") == tmp_path / "step-0000100"


def test_a_model_folder_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    assert newest_checkpoint(tmp_path) == tmp_path


def test_folders_without_a_model_are_refused(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="train first"):
        newest_checkpoint(tmp_path)
    with pytest.raises(CheckpointError, match="no such folder"):
        newest_checkpoint(tmp_path / "none")


@pytest.mark.parametrize(("run_id", "model"), [(None, None), ("abc", Path("m"))])
def test_exactly_one_model_must_be_named(run_id: str | None, model: Path | None, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="either --run-id or --model"):
        find_subject(run_id=run_id, model=model, recipe=None, work=tmp_path)


@pytest.mark.parametrize("name", MAINS)
def test_wrong_use_is_one_line_and_writes_nothing(name: str, tmp_path: Path) -> None:
    for arguments in ([], ["--model", str(tmp_path / "none")], ["--run-id", "0" * 32]):
        result = CliRunner().invoke(MAINS[name], [*arguments, "--work", str(tmp_path / "work")])
        assert result.exit_code == 1
        assert str(result.exception or result.output).count("\n") <= 1
        assert isinstance(result.exception, SystemExit)
    assert not (tmp_path / "work").exists()


@pytest.mark.parametrize("name", MAINS)
def test_every_option_has_help(name: str) -> None:
    assert CliRunner().invoke(MAINS[name], ["--help"]).exit_code == 0
    assert all(option.help for option in MAINS[name].params if isinstance(option, click.Option))


def test_without_data_the_user_is_asked_for_it(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="--data"):
        Subject(folder=tmp_path, recipe=None, data=None, out=tmp_path).data_folder(None)


def test_commands_print_and_write_their_results(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(tmp_path, {"n/a.png": png((1, 1, 1))})
    write_eval(tmp_path, "n", [("<|image_1|>\nname\n", "n/a.png", ["x", "y"], ["", ""])])
    (tmp_path / "mcq").mkdir()
    write(tmp_path / "mcq" / "Q.tsv", [row("0"), row("1")])
    subject = FakeSubject(folder=tmp_path, recipe=None, data=tmp_path, out=tmp_path / "out")
    for module in (mmeb, vlm):
        monkeypatch.setattr(module, "find_subject", lambda **_: subject)
    given = ["--model", "m", "--cache", str(tmp_path / "kept")]
    shown = CliRunner().invoke(mmeb.main, given)
    assert shown.exit_code == 0, shown.output
    assert "mean: overall" in shown.output
    CliRunner().invoke(mmeb.main, [*given, "--blank"])
    asked = CliRunner().invoke(vlm.main, ["--model", "m", "--mode", "compressed", "--matcher", "vlmevalkit-2026-06"])
    assert asked.exit_code == 0, asked.output
    assert "vlmevalkit-2026-06" in asked.output
    whole = (tmp_path / "out" / "mmeb.json").read_bytes()
    CliRunner().invoke(mmeb.main, [*given, "--dataset", "n"])
    assert (tmp_path / "out" / "mmeb.json").read_bytes() == whole
    written = {path.relative_to(tmp_path / "out").as_posix() for path in (tmp_path / "out").rglob("*") if path.is_file()}
    sets = {"mmeb.json", "mmeb.parquet", "mmeb/n.json", "mmeb-blank.json", "mmeb-blank.parquet", "mmeb-blank/n.json"}
    assert list((tmp_path / "kept").glob("*/*.block"))
    (answers,) = (name for name in written if name.endswith(".jsonl"))
    assert re.fullmatch(r"Q-compressed\.[0-9a-f]{12}\.jsonl", answers)
    assert written == sets | {"Q-compressed.json", answers, "data_states.json", ".data_states.lock"}


@pytest.mark.parametrize("name", MAINS)
def test_a_folder_that_cannot_be_is_told_before_a_model_loads(name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_eval(tmp_path, "n", [("name", "", ["x", "y"], ["", ""])])
    (tmp_path / "mcq").mkdir()
    write(tmp_path / "mcq" / "Q.tsv", [row("0"), row("1")])
    (tmp_path / "out").touch()
    subject = Subject(folder=tmp_path / "no model", recipe=None, data=tmp_path, out=tmp_path / "out")
    monkeypatch.setattr(inspect.getmodule(MAINS[name].callback), "find_subject", lambda **_: subject)
    result = CliRunner().invoke(MAINS[name], ["--model", "m"])
    assert result.exception and result.exception.args == (f"error: {tmp_path / 'out'}: File exists",)


def test_a_run_leads_to_its_checkpoint_data_and_recipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "train" / "step-0000100")
    mark_begun(tmp_path / "train", "f" * 64, "abc")
    tags = {"crem.output": str(tmp_path / "train"), "crem.data": str(tmp_path / "data"), "crem.recipe": "tiny"}
    monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep: tags)
    found = find_subject(run_id="abc", model=None, recipe=None, work=tmp_path)
    assert found.folder == tmp_path / "train" / "step-0000100"
    assert found.recipe is None, "a checkpoint brings its own"
    with pytest.raises(ConfigError, match=r"the data that its run read, .*data, is not on this machine"):
        found.data_folder(None)
    (tmp_path / "data").mkdir()
    assert found.data_folder(None) == tmp_path / "data"
    assert found.data_folder(tmp_path) == tmp_path
    assert found.out == tmp_path / "eval" / "abc"


def test_a_run_leads_to_its_own_checkpoint_after_a_training_with_other_settings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    train = tmp_path / "train"
    mark_begun(train, "a" * 64, "first")
    save(train / "step-0000100")
    give_place(train, "b" * 64)
    mark_begun(train, "b" * 64, "second")
    save(train / "step-0000200")
    monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep: {"crem.output": str(train)})
    first, second = (find_subject(run_id=run, model=None, work=tmp_path).folder for run in ("first", "second"))
    assert first == tmp_path / "train.aaaaaaaaaaaa" / "step-0000100"
    assert second == train / "step-0000200"
    with pytest.raises(CheckpointError, match=r"what it wrote on an unknown machine is no longer in .*train, .*--model"):
        find_subject(run_id="third", model=None, work=tmp_path)


@pytest.mark.parametrize("run_id", ["abc", "kept"])
def test_a_run_of_another_machine_is_found_where_its_work_folder_lies_here(
    run_id: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the id of the store, and by the one under which it waited for the store."""
    save(tmp_path / "here" / "train" / "step-0000100")
    mark_begun(tmp_path / "here" / "train", "f" * 64, "kept")
    (tmp_path / "here" / "toy").mkdir()
    tags = {"crem.work": "/there/work", "crem.output": "/there/work/train", "crem.data": "/there/work/toy", "crem.host": "node7"}
    monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep: {**tags, "crem.kept_as": "kept"})
    found = find_subject(run_id=run_id, model=None, work=tmp_path / "here")
    assert found.folder == tmp_path / "here" / "train" / "step-0000100"
    assert found.data_folder(None) == tmp_path / "here" / "toy"
    with pytest.raises(
        CheckpointError, match=r"wrote on node7 is no longer in /there/work/train, and not below --work .*/away; mount"
    ):
        find_subject(run_id=run_id, model=None, work=tmp_path / "away")


def test_the_run_of_a_bare_model_folder_names_its_recipe_if_that_is_still_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "config.json").write_text("{}")
    Manifest(stage="model", fingerprint="f" * 64, run_id="abc").write(tmp_path)
    tags = {"crem.output": str(tmp_path), "crem.recipe": "tiny", "crem.recipe_fingerprint": recipe_fingerprint(load("tiny"))}
    monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep: tags)
    assert find_subject(run_id="abc", model=None, work=tmp_path).recipe == load("tiny")
    for change in ({"crem.recipe": "of_my_own"}, {"crem.recipe_fingerprint": recipe_fingerprint(load("mini"))}):
        monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep, change=change: tags | change)
        with pytest.raises(ConfigError, match=r"its run had a recipe of its own; name its recipe\.json"):
            find_subject(run_id="abc", model=None, work=tmp_path)


def test_a_recipe_and_its_settings_are_resolved_before_anything_loads(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}")
    given = {"run_id": None, "model": tmp_path, "work": tmp_path}
    assert find_subject(**given, recipe="tiny", settings=("seed=3",)).recipe == replace(load("tiny"), seed=3)
    with pytest.raises(ConfigError, match="did you mean start"):
        find_subject(**given, recipe="tiny", settings=("tokens.strat=eos",))
    with pytest.raises(ConfigError, match="--set: changes the recipe that --recipe names"):
        find_subject(**given, settings=("seed=3",))


def test_a_run_without_a_model_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eval.subject.find_run", lambda uri, run_id, keep: {"crem.stage": "report"})
    with pytest.raises(ConfigError, match="wrote no model"):
        find_subject(run_id="abc", model=None, recipe=None, work=tmp_path)


def test_device_and_type_are_the_user_s_or_the_machine_s(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "config.json").write_text("{}")
    asked: list[tuple[str, str]] = []
    monkeypatch.setattr("pipeline.merged.load_merged", lambda path, recipe, device, dtype: asked.append((device, dtype)))
    for gpu, given, expected in (
        (False, (None, None), ("cpu", "float32")),
        (True, (None, None), ("cuda", "bfloat16")),
        (True, ("cpu", None), ("cpu", "float32")),
        (False, ("cuda:3", "float32"), ("cuda:3", "float32")),
    ):
        monkeypatch.setattr("torch.cuda.is_available", lambda gpu=gpu: gpu)
        device, dtype = given
        find_subject(run_id=None, model=tmp_path, recipe="tiny", work=tmp_path, device=device, dtype=dtype).load()
        assert asked.pop() == expected
