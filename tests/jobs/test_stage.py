"""The stage runner: when a stage runs, what it leaves behind, and what its run in the tracker is tied to."""

import errno
import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from jobs.evaluate import EvaluateStage
from jobs.runner import is_done, run_stage
from jobs.stage import Context, Input, Result, Writing
from jobs.train import TrainStage
from pipeline.errors import DataError, PipelineError
from pipeline.manifest import Manifest
from pipeline.stage_folder import STARTED_NAME, find_begun, find_made_by, runs_of
from pipeline.tracking import Tracker, find_run
from tests.pipeline.corpus import small_recipe


@dataclass
class Copy:
    """Writes the upper-case text of an input file, or of its setting; `breaks` makes it fail half-way."""

    out: Path
    source: Input | None = None
    second: Input | None = None
    text: str = "a"
    name: str = "copy"
    writing: Writing = Writing.ASIDE
    breaks: bool = False
    runs: list[list[str]] = field(default_factory=list)

    @property
    def folder(self) -> Path:
        return self.out

    def inputs(self) -> Mapping[str, Input]:
        return {name: given for name, given in (("source", self.source), ("second", self.second)) if given}

    def settings(self) -> Mapping[str, object]:
        return {"text": self.text}

    def run(self, out: Path, tracker: Tracker) -> Result:
        self.runs.append(sorted(path.name for path in out.iterdir() if path.name != STARTED_NAME))
        (out / "half").write_text("half")
        if self.breaks:
            raise DataError("row 3 of the file is no row")
        text = (self.source.path / "result").read_text() if self.source else self.text
        (out / "result").write_text(text.upper())
        return Result(counts={"letters": len(text)})


class Interrupted(Copy):
    """Ended by Ctrl-C before it made anything."""

    def run(self, out: Path, tracker: Tracker) -> Result:
        raise KeyboardInterrupt


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Without a tracker: the store of a closed port is not asked (see the one test that has a store)."""
    return Context(work=tmp_path / "work", data=tmp_path / "data", recipe=small_recipe(), tracking="nowhere://")


def test_a_second_run_finds_the_stage_done(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out")
    first, second = run_stage(stage, context), run_stage(stage, context)
    assert (first.was_done, second.was_done) == (False, True)
    assert first.manifest == second.manifest
    assert len(stage.runs) == 1
    assert (tmp_path / "out" / "result").read_text() == "A"
    assert second.manifest.counts == {"letters": 1}


@pytest.mark.parametrize("change", ["settings", "force", "output removed", "output changed", "manifest removed"])
def test_what_changed_makes_it_run_again(tmp_path: Path, context: Context, change: str) -> None:
    stage = Copy(tmp_path / "out")
    run_stage(stage, context)
    if change == "settings":
        stage.text = "bb"
    elif change == "force":
        context = replace(context, force=True)
    elif change == "output removed":
        (stage.out / "result").unlink()
    elif change == "output changed":
        (stage.out / "result").write_text("longer than before")
    else:
        (stage.out / "manifest.json").unlink()
    assert not run_stage(stage, context).was_done
    assert (stage.out / "result").read_text() == stage.text.upper()
    assert len(stage.runs) == 2


def test_a_changed_input_runs_the_chain_anew_and_an_equal_one_does_not(tmp_path: Path, context: Context) -> None:
    first = Copy(tmp_path / "first")
    second = Copy(tmp_path / "second", source=Input(path=tmp_path / "first", made_by="first"))
    assert [run_stage(stage, context).was_done for stage in (first, second)] == [False, False]
    again = replace(context, force=True)
    assert not run_stage(first, again).was_done
    assert run_stage(second, context).was_done, "the input was made again, with the same content"
    first.text = "other"
    assert [run_stage(stage, context).was_done for stage in (first, second)] == [False, False]
    assert (tmp_path / "second" / "result").read_text() == "OTHER"


def test_a_users_own_folder_counts_by_names_sizes_and_times(tmp_path: Path, context: Context) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "result").write_text("x")
    stage = Copy(tmp_path / "out", source=Input(path=data))
    assert not run_stage(stage, context).was_done
    assert run_stage(stage, context).was_done
    (data / "another").write_text("y")
    assert not run_stage(stage, context).was_done
    Manifest(stage="toy", fingerprint="copied along", outputs={"content": "of old"}).write(data)
    assert not run_stage(stage, context).was_done
    (data / "manifest.json").write_text("the user's own")
    (data / "another").write_text("longer")
    assert not run_stage(stage, context).was_done


def test_a_linked_folder_is_looked_into_and_a_circle_of_links_ends(tmp_path: Path, context: Context) -> None:
    shared, data = tmp_path / "shared", tmp_path / "data"
    shared.mkdir()
    data.mkdir()
    (data / "result").write_text("x")
    (data / "linked").symlink_to(shared)
    (shared / "back").symlink_to(data)
    stage = Copy(tmp_path / "out", source=Input(path=data))
    assert [run_stage(stage, context).was_done for _ in range(2)] == [False, True]
    (shared / "rows").write_text("y")
    assert not run_stage(stage, context).was_done


def test_of_a_corpus_only_the_parts_that_are_read_count(tmp_path: Path, context: Context) -> None:
    data = tmp_path / "data"
    (data / "read").mkdir(parents=True)
    (data / "result").write_text("x")
    stage = Copy(tmp_path / "out", source=Input(path=data, parts=("read", "missing")))
    assert [run_stage(stage, context).was_done for _ in range(2)] == [False, True]
    (data / "other.zip").write_text("y")
    (data / "read" / "NOTES.txt").write_text("y")
    assert run_stage(stage, context).was_done
    (data / "read" / "rows.parquet").write_text("y")
    assert not run_stage(stage, context).was_done


def test_inputs_made_from_different_states_of_one_are_refused(tmp_path: Path, context: Context) -> None:
    """Questions that were asked about other shards would be joined to the new ones by key."""
    shards = Copy(tmp_path / "shards", name="convert")
    source = Input(path=shards.out, made_by="convert")
    qa = Copy(tmp_path / "qa", name="synthesize", source=source)
    train = Copy(tmp_path / "train", name="train", source=source, second=Input(path=qa.out, made_by="synthesize"))
    for stage in (shards, qa, train):
        run_stage(stage, context)
    shards.text = "other rows"
    run_stage(shards, context)
    with pytest.raises(DataError, match=r"shards: not what crem synthesize read; .* or run crem synthesize again first"):
        run_stage(train, context)
    run_stage(qa, context)
    assert not run_stage(train, context).was_done


def test_a_missing_input_names_the_command_to_run_and_leaves_nothing(tmp_path: Path, context: Context) -> None:
    unfinished = tmp_path / "shards"
    unfinished.mkdir()
    for source, words in [
        (Input(path=unfinished, made_by="convert"), "run crem convert first"),
        (Input(path=tmp_path / "nowhere"), "no such folder"),
    ]:
        with pytest.raises(DataError, match=words):
            run_stage(Copy(tmp_path / "out", source=source), context)
    assert not (tmp_path / "out").exists()


def test_a_failing_stage_leaves_the_old_output_and_no_trace(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out")
    run_stage(stage, context)
    stage.text, stage.breaks = "new", True
    with pytest.raises(DataError, match="row 3"):
        run_stage(stage, context)
    assert (tmp_path / "out" / "result").read_text() == "A"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"]
    fresh = Copy(tmp_path / "fresh", breaks=True)
    with pytest.raises(DataError):
        run_stage(fresh, context)
    assert not (tmp_path / "fresh").exists()


def test_resumed_in_place_while_settings_are_the_same_else_moved_away(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out", writing=Writing.RESUME, breaks=True)
    with pytest.raises(DataError):
        run_stage(stage, context)
    assert Manifest.read(stage.out) is None
    stage.breaks = False
    run_stage(stage, context)
    stage.text = "bb"
    run_stage(stage, context)
    assert stage.runs == [[], ["half"], []], "gone on with once, begun anew once"
    assert (stage.out / "result").read_text() == "BB"
    stage.text = "a"
    assert is_done(stage), "what was made with the old settings waits aside"
    assert run_stage(stage, context).was_done
    assert (stage.out / "result").read_text() == "A"


def test_a_trial_of_other_settings_that_came_to_nothing_costs_nothing(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out", writing=Writing.RESUME)
    run_stage(stage, context)
    for text in ("bb", "cc"):
        with pytest.raises(KeyboardInterrupt):
            run_stage(Interrupted(stage.out, writing=Writing.RESUME, text=text), context)
    assert run_stage(stage, context).was_done
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "work"], "mere beginnings are not kept"


def test_force_makes_the_settings_asked_for_again_and_keeps_the_last(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out", writing=Writing.RESUME)
    first = run_stage(stage, context).manifest.fingerprint
    stage.text = "bb"
    run_stage(stage, context)
    stage.text = "a"
    assert not run_stage(stage, replace(context, force=True)).was_done
    assert (tmp_path / "out.old" / "result").read_text() == "A"
    assert find_begun(stage.out, first) == stage.out
    stage.text = "bb"
    assert run_stage(stage, context).was_done


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('runs')}/mlflow.db"


def test_runs_lead_to_what_they_made_wherever_it_waits(tmp_path: Path, context: Context, store: str) -> None:
    """The first run is stopped and gone on with, the second is another training, the third a forced one."""
    context = replace(context, tracking=store)
    stage = Copy(tmp_path / "out", writing=Writing.RESUME, breaks=True)
    with pytest.raises(DataError):
        run_stage(stage, context)
    (stopped,) = runs_of(stage.out)
    stage.breaks = False
    first = run_stage(stage, context).manifest.run_id
    assert first == stopped, "one training, one run"
    stage.text = "bb"
    second = run_stage(stage, context).manifest.run_id
    assert second != first
    (waiting,) = tmp_path.glob("out.*")
    assert [find_made_by(stage.out, run) for run in (first, second)] == [waiting, stage.out]
    stage.text = "a"
    forced = run_stage(stage, replace(context, force=True)).manifest.run_id
    assert [find_made_by(stage.out, run) for run in (first, forced)] == [tmp_path / "out.old", stage.out]
    assert forced not in (first, second)
    assert find_made_by(stage.out, "no run") is None


@pytest.mark.parametrize("writing", [Writing.RESUME, Writing.KEEP])
def test_a_finished_run_is_not_opened_again(tmp_path: Path, context: Context, store: str, writing: Writing) -> None:
    context = replace(context, tracking=store)
    stage = Copy(tmp_path / "out", writing=writing)
    first = run_stage(stage, context).manifest.run_id
    (stage.out / "result").unlink()
    second = run_stage(stage, context).manifest.run_id
    assert first != second
    assert runs_of(stage.out) == [first, second]


def test_kept_in_place_whatever_changes_but_not_under_force(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out", writing=Writing.KEEP)
    run_stage(stage, context)
    stage.text = "bb"
    run_stage(stage, context)
    run_stage(stage, replace(context, force=True))
    assert stage.runs == [[], ["half", "result"], []]


def test_an_interrupted_rerun_in_place_does_not_look_done(tmp_path: Path, context: Context) -> None:
    stage = Copy(tmp_path / "out", writing=Writing.KEEP)
    run_stage(stage, context)
    stage.text, stage.breaks = "bb", True
    with pytest.raises(DataError):
        run_stage(stage, context)
    stage.text, stage.breaks = "a", False
    assert not run_stage(stage, context).was_done, "the manifest went before the first byte changed"


def test_a_second_process_is_kept_out(tmp_path: Path, context: Context) -> None:
    program = f"""
import fcntl, sys, time
lock = open({str(tmp_path / "work" / ".copy.lock")!r}, "w")
fcntl.flock(lock, fcntl.LOCK_EX)
print("locked", flush=True)
time.sleep(60)
"""
    (tmp_path / "work").mkdir()
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "locked\n"
        with pytest.raises(PipelineError, match="another process runs crem copy there"):
            run_stage(Copy(tmp_path / "out"), context)
        os.kill(other.pid, signal.SIGKILL)
    assert not run_stage(Copy(tmp_path / "out"), context).was_done, "a dead process holds no lock"


def test_where_there_are_no_locks_that_is_said_once_and_it_runs(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Lustre mounted without `-o flock`."""

    def refuse(*given: object) -> None:
        raise OSError(errno.ENOSYS, os.strerror(errno.ENOSYS))

    monkeypatch.setattr(fcntl, "flock", refuse)
    assert not run_stage(Copy(tmp_path / "out"), context).was_done
    assert [line for line in caplog.messages if "no locks here (Function not implemented)" in line] == [caplog.messages[0]]


def test_runs_are_tied_to_the_runs_that_made_their_inputs(tmp_path: Path, context: Context, store: str) -> None:
    context = replace(context, tracking=store)
    first = Copy(tmp_path / "first", name="convert")
    second = Copy(tmp_path / "second", name="train", source=Input(path=tmp_path / "first", made_by="convert"))
    parent, child = run_stage(first, context), run_stage(second, context)
    tags = find_run(context.tracking, child.manifest.run_id)
    assert tags["crem.parent.convert"] == parent.manifest.run_id != ""
    assert (tags["crem.stage"], tags["crem.output"]) == ("train", str(tmp_path / "second"))
    assert tags["crem.recipe"] == "tiny"
    assert run_stage(second, context).manifest.run_id == child.manifest.run_id, "a stage found done has its old run"


@pytest.mark.parametrize("stage", [TrainStage, EvaluateStage])
def test_what_a_recipe_is_called_makes_no_stage_run_again(stage: type[TrainStage | EvaluateStage], context: Context) -> None:
    told_better = replace(context, recipe=replace(context.recipe, name="other", summary="told better"))
    assert stage(context=told_better).settings() == stage(context=context).settings()
    other = replace(context, recipe=replace(context.recipe, seed=5))
    assert stage(context=other).settings() != stage(context=context).settings()
