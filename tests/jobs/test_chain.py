"""The chain of stages over a small toy world: order, skipping, and what ties the stages together."""

import json
import shutil
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.qa_description import DESCRIBE
from jobs.model import ModelStage, backbone_folder
from jobs.run import Machine, run_chain, stage, stages
from jobs.runner import Outcome
from jobs.stage import Context
from launchers.export import export
from launchers.measure import measure
from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.errors import CheckpointError, ConfigError
from pipeline.inference import load_model
from pipeline.manifest import Manifest
from pipeline.recipe import ToyWorld
from pipeline.recipes import load
from pipeline.tracking import NullTracker, default_uri, find_run
from pipeline.train import checkpoint
from tests.pipeline.corpus import small_recipe


def chain_context(work: Path) -> Context:
    """Four steps of a two-layer model over a toy world of a few hundred pictures."""
    toy = ToyWorld(seed=1, train_rows=56, eval_rows=60, conversations=60, mcq_rows=64)
    recipe = replace(small_recipe(steps=4, checkpoint_every=2, evaluate_every=4), toy=toy)
    return Context(work=work, data=work / "toy", recipe=recipe, tracking=default_uri(work))


def run(context: Context, until: str) -> list[Outcome]:
    return list(run_chain(stages(context, Machine()), context, until=until))


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Context, list[Outcome]]:
    context = chain_context(tmp_path_factory.mktemp("chain") / "work")
    return context, run(context, "train")


def test_stages_run_in_order_and_count_what_they_did(trained: tuple[Context, list[Outcome]]) -> None:
    _, outcomes = trained
    assert [outcome.stage for outcome in outcomes] == ["toy", "convert", "synthesize", "model", "measure", "train"]
    counts = {outcome.stage: outcome.manifest.counts for outcome in outcomes}
    assert counts["convert"]["read"] == counts["convert"]["converted"] == counts["toy"]["train_pairs"] + 60
    assert counts["synthesize"]["read"] == 2 * counts["toy"]["train_pairs"]
    assert counts["synthesize"]["rejected"] == counts["synthesize"]["skipped"] == 0
    assert counts["train"] == {"steps": 4}


def test_the_loopback_teacher_described_the_pictures(trained: tuple[Context, list[Outcome]]) -> None:
    context, _ = trained
    index = ShardIndex.open(context.shards)
    row = index.datasets["MSCOCO_i2t"][0]
    (turn,) = QaTable.open(context.qa).turns("MSCOCO_i2t", index.info(row).key, "query")
    assert turn.question == DESCRIBE
    assert any(place in turn.answer for place in ("northwest", "northeast", "southwest", "southeast"))


def test_a_second_run_finds_everything_done(trained: tuple[Context, list[Outcome]]) -> None:
    context, first = trained
    again = run(context, "train")
    assert all(outcome.was_done for outcome in again)
    assert [outcome.manifest for outcome in again] == [outcome.manifest for outcome in first]


def test_the_training_run_names_the_runs_it_read(trained: tuple[Context, list[Outcome]]) -> None:
    context, outcomes = trained
    runs = {outcome.stage: outcome.manifest.run_id for outcome in outcomes}
    tags = find_run(context.tracking, runs["train"])
    assert {name: tags[f"crem.parent.{name}"] for name in ("convert", "synthesize", "model")} == {
        name: runs[name] for name in ("convert", "synthesize", "model")
    }


def test_the_training_run_is_exported_by_its_id(trained: tuple[Context, list[Outcome]], tmp_path: Path) -> None:
    context, outcomes = trained
    words = ["--run-id", outcomes[-1].manifest.run_id, "--work", str(context.work), "--out", str(tmp_path / "exported")]
    said = CliRunner().invoke(export, words, catch_exceptions=False)
    assert said.output == f"exported: {tmp_path / 'exported'}\n"
    assert json.loads((tmp_path / "exported" / "embedding.json").read_text())["pooled"] == context.recipe.tokens.count


def test_a_changed_setting_runs_only_what_depends_on_it(trained: tuple[Context, list[Outcome]]) -> None:
    context, first = trained
    changed = replace(context, recipe=replace(context.recipe, seed=5))
    done = {outcome.stage: outcome.was_done for outcome in run(changed, "model")}
    assert done == {"toy": True, "convert": True, "synthesize": True, "model": False}
    assert Manifest.read(context.train) == first[-1].manifest, "the trained folder is left alone until training runs"


def test_a_count_in_slices_makes_the_table_that_training_found(trained: tuple[Context, list[Outcome]]) -> None:
    """The corpus is one part: the first slice has it, the second nothing; the stage makes the table of it."""
    context, _ = trained
    (table,) = context.lengths.glob("*.parquet")
    before = table.read_bytes()
    table.unlink()
    words = ["--recipe", str(context.work / "recipe.json"), "--work", str(context.work), "--num-shards", "2"]
    for part in ("0", "1"):
        said = CliRunner().invoke(measure, [*words, "--shard-index", part], catch_exceptions=False)
        assert f"measure: slice {part} of 2 is done" in said.output and not table.exists()
    assert not run(context, "measure")[-1].was_done and table.read_bytes() == before
    assert run(context, "measure")[-1].was_done


def test_own_data_replaces_the_toy_world(tmp_path: Path) -> None:
    context = replace(chain_context(tmp_path), data=tmp_path / "mine")
    assert [stage.name for stage in stages(context, Machine())][:2] == ["convert", "synthesize"]


def test_a_published_recipe_needs_its_model_folder_before_anything_runs(tmp_path: Path) -> None:
    context = replace(chain_context(tmp_path), recipe=load("crem_2b"))
    with pytest.raises(ConfigError, match="--model-folder: recipe crem_2b trains Qwen2-VL-2B-Instruct"):
        stages(context, Machine())
    assert list(tmp_path.iterdir()) == []


def test_a_model_folder_is_pointed_to_and_missed_when_it_goes(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    published = tmp_path / "published"
    published.mkdir()
    (published / "config.json").write_text("{}")
    context = replace(chain_context(tmp_path / "work"), recipe=load("crem_2b"), tracking="nowhere://")
    stage = ModelStage(context=context, model_folder=published)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        list(run_chain([stage], context))
    assert backbone_folder(context) == published
    assert "an exported model" not in caplog.text
    (published / "embedding.json").write_text("{}")
    stage.run(tmp_path, NullTracker())
    assert caplog.messages[-1] == f"{published}: an exported model; training begins with new compression tokens, not its own"
    (published / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"published: no model there any more, and .*where\.json points to it"):
        backbone_folder(context)
    with pytest.raises(CheckpointError, match="new/model: no model there yet; run crem model first"):
        backbone_folder(replace(context, work=tmp_path / "new"))


def test_phases_are_stages_one_after_another(trained: tuple[Context, list[Outcome]], tmp_path: Path) -> None:
    """Each has its folder, manifest and checkpoints; what is done is not done again, nor the first for a change of the second."""
    context, _ = trained
    work = tmp_path / "work"
    shutil.copytree(context.work, work)
    phases = tuple(replace(context.recipe.phase, name=name, steps=steps) for name, steps in (("compress", 2), ("match", 3)))
    two = Context(work=work, data=work / "toy", recipe=replace(context.recipe, phases=phases), tracking=default_uri(work))

    def trainings(given: Context) -> dict[str, tuple[bool, int]]:
        outcomes = [outcome for outcome in run(given, "train") if outcome.stage.startswith("train")]
        assert outcomes[-1].folder == work / "train"
        return {outcome.stage: (outcome.was_done, outcome.manifest.counts["steps"]) for outcome in outcomes}

    assert trainings(two) == {"train-compress": (False, 2), "train": (False, 3)}
    assert trainings(two) == {"train-compress": (True, 2), "train": (True, 3)}
    (folder,) = (work / "train-compress" / "checkpoints").iterdir()
    assert [phase.name for phase in checkpoint.recipe(folder).phases] == ["compress"]
    assert checkpoint.recipe(work / "train" / "checkpoints" / "step-00000003") == two.recipe
    longer = replace(two, recipe=two.recipe.with_phase(steps=4))
    assert trainings(longer) == {"train-compress": (True, 2), "train": (False, 4)}


def test_a_training_may_start_from_any_checkpoint(trained: tuple[Context, list[Outcome]], tmp_path: Path) -> None:
    context, _ = trained
    work = tmp_path / "work"
    shutil.copytree(context.work, work)
    start = context.work / "train" / "checkpoints" / "step-00000004"
    on = Context(work=work, data=work / "toy", recipe=context.recipe.with_phase(steps=1), tracking=default_uri(work))
    *_, outcome = run_chain(stages(on, Machine(start=start)), on, until="train")
    assert outcome.manifest.counts == {"steps": 1} and "start" in outcome.manifest.inputs
    made = checkpoint.peek(outcome.folder / "checkpoints" / "step-00000001")
    assert (outcome.folder / "checkpoints" / "step-00000001" / made.model_folder).resolve() == work / "train" / "start"
    other = replace(on, recipe=on.recipe.with_phase(steps=2))
    *_, after = run_chain(stages(other, Machine(start=start)), other, until="train")
    assert after.manifest.counts == {"steps": 2}
    (waits,) = (path for path in work.glob("train*/checkpoints/step-00000001") if path.parent.parent != work / "train")
    assert load_model(waits).recipe == on.recipe, "a training that waits keeps what it began from"


def test_a_phase_must_be_named_where_there_are_several(tmp_path: Path) -> None:
    recipe = small_recipe()
    two = replace(recipe, phases=(recipe.phase, replace(recipe.phase, name="match")))
    context = Context(work=tmp_path, data=tmp_path / "toy", recipe=two, tracking=default_uri(tmp_path))
    with pytest.raises(ConfigError, match=r"has the phases joint, match; name one: --phase joint"):
        stage("train", context, Machine())
    assert [made.name for made in stages(context, Machine())][-4:] == ["train-joint", "train", "evaluate", "report"]
    before = stage("train", context, Machine(phase="match")).inputs()["before"]
    assert (before.path, before.made_by) == (tmp_path / "train-joint", "train --phase joint")
