"""The run of a whole chain: opened when a stage runs, gone on with when the chain does, with the stages' runs below it."""

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from jobs.run import run_chain
from jobs.runner import Outcome
from jobs.stage import Context, Writing
from pipeline.errors import DataError
from pipeline.tracking import find_run
from pipeline.tracking.store import open_store
from tests.jobs.test_stage import Copy
from tests.pipeline.corpus import small_recipe


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> str:
    """One store for the module: making its tables takes seconds."""
    return f"sqlite:///{tmp_path_factory.mktemp('chain')}/mlflow.db"


@pytest.fixture
def context(tmp_path: Path, store: str) -> Context:
    return Context(work=tmp_path / "work", data=tmp_path / "data", recipe=small_recipe(), tracking=store)


@pytest.fixture
def chain(tmp_path: Path) -> list[Copy]:
    writing = {"convert": Writing.KEEP, "train": Writing.RESUME, "report": Writing.ASIDE}
    return [Copy(tmp_path / name, name=name, writing=how) for name, how in writing.items()]


def parent_of(context: Context, outcome: Outcome) -> str:
    return find_run(context.tracking, outcome.manifest.run_id)["mlflow.parentRunId"]


def run_to_failure(chain: list[Copy], context: Context) -> Iterator[Outcome]:
    with pytest.raises(DataError, match="row 3"):
        yield from run_chain(chain, context)


def test_a_chain_that_was_stopped_goes_on_in_the_run_that_it_had(chain: list[Copy], context: Context) -> None:
    chain[1].breaks = True
    (converted,) = run_to_failure(chain, context)
    parent = parent_of(context, converted)
    tracked = open_store(context.tracking)
    assert tracked.get_run(parent).info.status == "FAILED"
    chain[1].breaks = False
    outcomes = list(run_chain(chain, context))
    assert [outcome.was_done for outcome in outcomes] == [True, False, False]
    assert {parent_of(context, outcome) for outcome in outcomes} == {parent}
    run = tracked.get_run(parent)
    assert (run.info.status, run.data.tags["crem.stage"]) == ("FINISHED", "run")
    rate = context.recipe.phase.optimizer.learning_rate
    assert float(run.data.params["recipe.phases.0.optimizer.learning_rate"]) == rate
    assert int(run.data.params["recipe.phases.0.steps"]) == context.recipe.phase.steps
    assert "recipe.phases" not in run.data.params


def test_other_values_and_force_are_runs_of_their_own(chain: list[Copy], context: Context) -> None:
    first = parent_of(context, next(run_chain(chain, context)))
    forced = replace(context, force=True)
    second = parent_of(forced, next(run_chain(chain, forced)))
    other = replace(context, recipe=replace(context.recipe, seed=5))
    chain[0].text = "bb"
    third = parent_of(other, next(run_chain(chain, other)))
    assert len({first, second, third}) == 3


def test_a_chain_that_is_done_opens_no_store(
    tmp_path: Path, chain: list[Copy], context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    untracked = replace(context, tracking="nowhere://")
    list(run_chain(chain, untracked))
    opened: list[str] = []
    monkeypatch.setattr("pipeline.tracking.runs.load_library", lambda: opened.append("imported"))
    assert all(outcome.was_done for outcome in run_chain(chain, untracked))
    assert opened == []
