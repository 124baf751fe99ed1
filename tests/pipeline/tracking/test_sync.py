"""Runs that no store took while they ran: kept, gone on with, sent later, and in the store once however often that is tried."""

from pathlib import Path
from typing import Any

import pytest

from pipeline.errors import PipelineError, StoppedError
from pipeline.tracking import UNSENT, find_run, start_run, sync
from pipeline.tracking import delivery as deliveries
from pipeline.tracking.notes import Note
from pipeline.tracking.store import load_library, open_store
from pipeline.tracking.unsent import Unsent, unsent_runs

AWAY = "http://127.0.0.1:9"


def steps_of(store: str, run_id: str, key: str) -> list[int]:
    return [metric.step for metric in open_store(store).get_metric_history(run_id, key)]


def kept(work: Path, steps: range, *, uri: str = "offline", reopen: str = "", stops: bool = False, **given: Any) -> str:
    """The id of a training's run that was noted without a store."""
    (work / "manifest.json").write_text("made")
    try:
        with start_run(uri=uri, stage="train", keep=work / UNSENT, reopen=reopen, **given) as tracker:
            tracker.log_params({"rate": 0.1, "ranks": len(steps)})
            for step in steps:
                tracker.log_metrics({"train/loss": step / 8}, step=step)
            tracker.log_artifact(work / "manifest.json")
            if stops:
                raise StoppedError
    except StoppedError:
        pass
    (work / "manifest.json").unlink()
    return tracker.run_id


def test_a_run_without_a_store_is_sent_later_with_all_that_it_noted(tmp_path: Path, store: str) -> None:
    above = kept(tmp_path, range(0))
    below = {"mlflow.parentRunId": above}
    first = kept(tmp_path, range(1, 7), stops=True, parents={"convert": above, "model": "elsewhere"}, tags=below)
    assert find_run(store, first, tmp_path / UNSENT)["crem.stage"] == "train", "found before it is sent"
    assert kept(tmp_path, range(5, 9), reopen=first) == first
    began = Unsent(tmp_path / UNSENT / first).head()["began"]
    sent = list(sync(tmp_path, store))
    assert not (tmp_path / UNSENT).exists() and [each.refused for each in sent] == [0, 0]
    run = open_store(store).get_run(sent[1].run_id)
    assert (run.info.status, run.info.start_time, run.info.run_name.split()[0]) == ("FINISHED", began, "train")
    assert run.data.params == {"rate": "0.1", "ranks": "6"} and run.data.tags["crem.changed.ranks"] == "4"
    assert steps_of(store, sent[1].run_id, "train/loss") == list(range(1, 9))
    assert run.data.tags["crem.parent.convert"] == run.data.tags["mlflow.parentRunId"] == sent[0].run_id
    assert run.data.tags["crem.parent.model"] == "elsewhere"
    assert (Path(run.info.artifact_uri.removeprefix("file://")) / "manifest.json").read_text() == "made"
    assert find_run(store, first) == find_run(store, sent[1].run_id), "manifests know it by the id that it was kept under"


def test_a_sync_that_is_cut_off_goes_on_and_nothing_is_there_twice(
    tmp_path: Path, store: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    run_id = kept(tmp_path, range(1, 6), stops=True)
    kept(tmp_path, range(6, 9), reopen=run_id)
    deliver, calls = deliveries.Delivery.__call__, iter(range(100))

    def away(self: deliveries.Delivery, note: Note) -> None:
        deliver(self, note)
        if next(calls) == 4:
            error = ConnectionError("no route to host")
            error.error_code = "INTERNAL_ERROR"  # type: ignore[attr-defined]
            raise error

    monkeypatch.setattr(deliveries.Delivery, "__call__", away)
    with pytest.raises(PipelineError, match=r"no route to host; runs that still wait in .*unsent: 1; sync again"):
        list(sync(tmp_path, store))
    (sent,) = sync(tmp_path, store)
    assert steps_of(store, sent.run_id, "train/loss") == list(range(1, 9))
    found = open_store(store).search_runs(["1"], f"tags.`crem.kept_as` = '{run_id}'")
    assert len(found) == 1 and list(sync(tmp_path, store)) == []


def test_a_training_of_an_outage_goes_on_in_one_run_when_the_store_is_back(
    tmp_path: Path, store: str, caplog: pytest.LogCaptureFixture
) -> None:
    load_library()
    before = kept(tmp_path, range(1, 4), uri=AWAY, stops=True)
    assert "crem train is kept, to be sent by crem sync; http://127.0.0.1:9 cannot be opened" in caplog.text
    after = kept(tmp_path, range(3, 6), uri=store, reopen=before)
    assert before != after and steps_of(store, after, "train/loss") == [1, 2, 3, 4, 5]
    assert open_store(store).get_run(after).info.status == "FINISHED"
    assert not (tmp_path / UNSENT).exists()
    again = kept(tmp_path, range(6, 8), uri=AWAY, reopen=after)
    assert again == after
    assert [sent.run_id for sent in sync(tmp_path, store)] == [after]
    assert steps_of(store, after, "train/loss") == list(range(1, 8))


def test_what_a_run_still_writes_is_sent_and_stays(tmp_path: Path, store: str) -> None:
    with start_run(uri="offline", stage="train", keep=tmp_path / UNSENT) as tracker:
        tracker.log_params({"a": 1})
        (sent,) = sync(tmp_path, store)
        assert sent.is_written and unsent_runs(tmp_path)
        tracker.log_metrics({"late": 1.0}, step=1)
    (again,) = sync(tmp_path, store)
    assert again.run_id == sent.run_id and steps_of(store, sent.run_id, "late") == [1]


def test_half_a_line_is_passed_over(tmp_path: Path) -> None:
    unsent = Unsent(tmp_path / UNSENT / "a1")
    unsent.add([Note(tags={"a": "1"})])
    unsent.clear()
    (tmp_path / UNSENT / "a1" / "notes.jsonl").write_text('{"tags": {"a": "1"}}\n{"tags": {"b')
    again = Unsent(unsent.folder)
    again.add([Note(tags={"c": "3"})])
    assert [dict(note.tags) for note in again.notes()] == [{"a": "1"}, {"c": "3"}]


def test_notes_that_go_on_in_a_store_that_never_had_the_run_are_not_sent_elsewhere(tmp_path: Path, store: str) -> None:
    Unsent(tmp_path / UNSENT / ("0" * 32)).add([Note(tags={"a": "1"})])
    with pytest.raises(PipelineError, match=r"send .* to the one that it began in"):
        list(sync(tmp_path, store))


def test_an_address_that_is_none_and_a_folder_that_cannot_be_written(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with pytest.raises(PipelineError, match="name the store: --to"):
        list(sync(tmp_path, "offline"))
    (tmp_path / UNSENT).touch()
    with start_run(uri="offline", stage="toy", keep=tmp_path / UNSENT) as tracker:
        assert tracker.run_id == ""
    assert "off for crem toy" in caplog.text


@pytest.fixture(autouse=True)
def quiet(monkeypatch: pytest.MonkeyPatch) -> None:
    """No samples of the machine among the notes."""
    monkeypatch.setenv("MLFLOW_ENABLE_SYSTEM_METRICS_LOGGING", "false")
