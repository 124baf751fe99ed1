"""Results that are kept one by one: found again for the same model, settings and data, merged, never mixed."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from eval import mmeb, vlm
from eval.measurement import Failures, ResultFolder, measure_missing
from eval.mmeb import MmebResult
from eval.model_protocol import silent
from eval.results import Provenance, read_result
from eval.retrieval_set import retrieval_sets
from eval.subject import Subject
from pipeline.errors import DataError
from pipeline.tracking import NullTracker
from tests.eval.fakes import FakeModel, keep_nothing, png, write_eval, write_pictures
from tests.eval.test_tsv import row, write

NAMES = ("a", "b", "c")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three sets of one query, each with a picture."""
    write_pictures(tmp_path, {f"{name}.png": png((ord(name), 1, 1)) for name in NAMES})
    for name in NAMES:
        write_eval(tmp_path, name, [(f"<|image_1|>\nname {name}\n", f"{name}.png", ["x", "y"], ["", ""])])
    return tmp_path


def test_found_again_for_the_same_model_settings_and_files_alone(data: Path, tmp_path: Path) -> None:
    folder, model = ResultFolder(tmp_path / "out"), FakeModel()
    wanted = retrieval_sets(data)
    assert measure_missing(model, wanted, folder, Failures(), silent) == ["mmeb/a.json", "mmeb/b.json", "mmeb/c.json"]
    first = wanted[0]
    assert folder.find(first, "fake") is not None
    assert folder.find(first, "another") is None
    assert folder.find(replace(first, state="changed"), "fake") is None
    (folder.path / "mmeb" / "a.json").write_text('{"name": "a"}')
    assert folder.find(first, "fake") is None, "of another form"
    assert measure_missing(FakeModel(), retrieval_sets(data), folder, Failures(), silent) == ["mmeb/a.json"]


def test_another_model_in_the_same_folder_is_measured_anew(data: Path, tmp_path: Path) -> None:
    folder = ResultFolder(tmp_path / "out")
    for name in ("first", "second"):
        model = FakeModel(fingerprint=name)
        assert len(measure_missing(model, retrieval_sets(data), folder, Failures(), silent)) == 3


def test_results_of_processes_that_end_together_are_all_found(tmp_path: Path) -> None:
    """One process a set, as on a machine with several GPUs: none forgets what the other has just noted."""
    folder = ResultFolder(tmp_path)
    wanted = [[_Small(name=f"{process}-{number}.json") for number in range(25)] for process in range(2)]
    result = _SmallResult(Provenance(model="m", data="d", settings={}))
    with ProcessPoolExecutor(2, mp_context=get_context("fork")) as pool:
        list(pool.map(_keep_all, [folder] * 2, wanted, [result] * 2))
    assert [each.name for part in wanted for each in part if folder.find(each, "m") is None] == []


@dataclass(frozen=True)
class _SmallResult:
    provenance: Provenance


@dataclass(frozen=True)
class _Small:
    name: str
    state: str = "state"
    result: type[_SmallResult] = _SmallResult
    settings: dict[str, str] = field(default_factory=dict)


def _keep_all(folder: ResultFolder, wanted: list[Any], result: _SmallResult) -> None:
    for each in wanted:
        folder.keep(each, result)


def call(monkeypatch: pytest.MonkeyPatch, data: Path, model: FakeModel, *words: str, run_id: str = "") -> Result:
    """`python -m eval.mmeb` or, where the words name a mode, `eval.vlm`, with a fake in the place of the model."""

    class Fake(Subject):
        def load(self) -> FakeModel:
            return model

    place = {"folder": data, "data": data, "out": data / "out", "unsent": data / "unsent"}
    subject = Fake(recipe=None, run_id=run_id, tracking="store", **place)
    module = vlm if "--mode" in words else mmeb
    monkeypatch.setattr(module, "find_subject", lambda **_: subject)
    keep_nothing(monkeypatch)
    return CliRunner().invoke(module.main, ["--model", "m", *words])


def test_sets_that_are_measured_one_after_the_other_are_merged(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = FakeModel()
    for name, words in (("a", "1 of 3 sets"), ("b", "2 of 3 sets"), ("c", "3 sets")):
        assert words in call(monkeypatch, data, model, "--dataset", name).output
    assert len(model.embedded) == 3 * 3
    result = read_result(MmebResult, data / "out" / "mmeb.json")
    assert [item.name for item in result.datasets] == list(NAMES)
    assert result == mmeb.evaluate(FakeModel(), data), "as if all were measured at once"


def test_results_of_another_model_are_not_replaced_in_silence(
    data: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """As those of another `--dtype`, which is part of a model's fingerprint."""
    for model, count in (("fake", 0), ("fake", 0), ("fake bfloat16", 2)):
        caplog.clear()
        call(monkeypatch, data, FakeModel(fingerprint=model), "--dataset", "a", "--dataset", "b")
        said = [line for line in caplog.messages if "are replaced" in line]
        assert len(said) == bool(count)
        assert not said or said[0].startswith(f"{data / 'out'}: {count} results there, mmeb/a.json first, are those of another")


class Noted(NullTracker):
    """Runs that were begun, and what was noted in them."""

    def __init__(self) -> None:
        self.begun: list[dict[str, Any]] = []
        self.metrics: dict[str, float] = {}
        self.files: list[str] = []

    @contextmanager
    def start(self, **given: Any) -> Iterator["Noted"]:
        self.begun.append(given)
        yield self

    def log_metrics(self, metrics: Mapping[str, float], *, step: int | None = None) -> None:
        self.metrics |= metrics

    def log_artifact(self, path: Path) -> None:
        assert path.is_file()
        self.files.append(path.name)


def test_what_was_measured_of_a_run_is_noted_below_it_once(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    noted = Noted()
    monkeypatch.setattr("eval.ranks.start_run", noted.start)
    call(monkeypatch, data, FakeModel(), "--dataset", "a")
    assert not noted.begun, "a folder's model belongs to no run"
    for sets in (("a", "b"), ("a", "b"), ("b",)):
        call(monkeypatch, data, FakeModel(), *(word for name in sets for word in ("--dataset", name)), run_id="abc")
    (begun,) = noted.begun
    assert begun.items() >= {"uri": "store", "parents": {"train": "abc"}, "tags": {"mlflow.parentRunId": "abc"}}.items()
    assert begun["keep"] == data / "unsent", "what the store does not take"
    assert noted.files == ["mmeb.json", "mmeb.parquet"]
    assert noted.metrics["eval/mmeb/hit_at_1/a"] == read_result(MmebResult, data / "out" / "mmeb.json").datasets[0].score.value
    assert {"eval/mmeb/hit_at_1/overall", "eval/mmeb/mrr/IND", "eval/mmeb/ndcg_linear_at_5/b"} <= noted.metrics.keys()


def test_a_set_that_mmeb_does_not_count_enters_no_mean(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_eval(data, "CIFAR-100", [("name", "", ["x", "y"], ["", ""])])
    assert "CIFAR-100" in call(monkeypatch, data, FakeModel(), "--dataset", "CIFAR-100", "--dataset", "a").output
    result = read_result(MmebResult, data / "out" / "mmeb.json")
    assert [item.name for item in result.datasets] == ["CIFAR-100", "a"]
    assert (result.overall.count, result.size_of("overall")) == (1, "1 of 3 sets")


def test_one_bad_picture_costs_its_set_and_the_exit_code_says_so(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_pictures(data, {"a.png": png((1, 1, 1)), "b.png": png((2, 2, 2)), "c.png": png((3, 3, 3))[:-30]})
    model = FakeModel()
    said = call(monkeypatch, data, model)
    assert said.exit_code == 1 and "2 of 3 sets" in said.output
    assert str(said.exception).startswith("error: not measured, for the reasons said above: c;")
    assert len(model.embedded) == 6
    with pytest.raises(DataError, match=r"c.*row 0"):
        mmeb.evaluate(FakeModel(), data)


def test_one_bad_question_file_costs_that_file(data: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (data / "mcq").mkdir()
    write(data / "mcq" / "Good.tsv", [row("0"), row("1")])
    (data / "mcq" / "Cut.tsv").write_text("index\tquestion\n")
    said = call(monkeypatch, data, FakeModel(), "--mode", "native")
    assert said.exit_code == 1 and "Good, native" in said.output
    assert "Cut.tsv" in str(said.exception)
    assert (data / "out" / "Good-native.json").is_file()
