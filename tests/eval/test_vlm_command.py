"""`python -m eval.vlm`: asked, scored, or both; the predictions of others; several ranks; VLMEvalKit's layouts."""

import csv
import json
import os
import signal
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from openpyxl import Workbook, load_workbook

from eval import vlm
from eval.foreign_predictions import read_predictions
from eval.question_asking import Asking, ask
from eval.question_files import read_questions
from eval.results import read_result
from eval.subject import Subject
from eval.vlm_measurement import questions
from eval.vlm_result import VlmResult
from eval.vlm_settings import DEFAULTS, Mode
from pipeline.encode.ranks import Ranks
from pipeline.errors import DataError
from pipeline.sample import Side
from tests.eval.fakes import FakeModel, png
from tests.eval.test_tsv import coded, row, write

ANSWERS = ["A", "the answer, in short", '=1+1 "quoted"\nand a line', "", "B", "A"]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Six questions, each with a picture of its own, and a file of MMStar's form."""
    (tmp_path / "data" / "mcq").mkdir(parents=True)
    write(tmp_path / "data" / "mcq" / "Birds.tsv", [row(str(number), image=coded(png((number, 9, 9)))) for number in range(6)])
    write(
        tmp_path / "data" / "mcq" / "MMStar_small.tsv",
        [row(str(number), image=coded(png((9, number, 9)))) for number in range(4)],
    )
    return tmp_path / "data"


@pytest.fixture
def run(data: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., Result]:
    """The command with a fake in the place of the model, which is counted in `loaded`."""

    class Fake(Subject):
        def load(self) -> FakeModel:
            return models.pop(0) if models else pytest.fail("a model was loaded")

    models: list[FakeModel] = []
    subject = Fake(folder=data, recipe=None, data=data, out=data / "out")
    monkeypatch.setattr(vlm, "find_subject", lambda **_: subject)

    def call(*words: str, model: FakeModel | None = None) -> Result:
        models[:] = [model] if model else []
        return CliRunner().invoke(vlm.main, ["--model", "m", *words])

    return call


def error(result: Result) -> str:
    assert result.exit_code == 1, result.output
    return str(result.exception)


def numbered(context: Side, question: str, compressed: bool) -> str:
    """An answer that depends on the picture alone."""
    return ANSWERS[sum(context.images[0]) % len(ANSWERS)]


def test_answers_are_asked_now_and_scored_later_without_a_model(run: Callable[..., Result], data: Path) -> None:
    asked = run("--data", "Birds", "MMStar_small", "--do", "infer", model=FakeModel(answer_one=numbered))
    assert asked.exit_code == 0 and asked.output.count("answers in") == 2
    assert not list((data / "out").glob("*.json"))
    scored = run("--data", "Birds", "MMStar_small", "--do", "eval")
    assert scored.exit_code == 0, scored.output
    whole = run("--data", "Birds", "MMStar_small", "--out", str(data / "other"), model=FakeModel(answer_one=numbered))
    for name in ("Birds-native.json", "MMStar_small-native.json"):
        assert (data / "out" / name).read_bytes() == (data / "other" / name).read_bytes()
    assert scored.output.replace("/out/", "/other/") == whole.output


def test_what_was_not_asked_cannot_be_scored(run: Callable[..., Result], data: Path) -> None:
    assert run("--data", "Birds", "--do", "infer", model=FakeModel()).exit_code == 0
    said = error(run("--data", "Birds", "--do", "eval", "--prompt-style", "default"))
    assert "not measured, for the reasons said above: Birds-native.json" in said
    (answers,) = (data / "out").glob("Birds-native.*.jsonl")
    answers.write_bytes(b"".join(answers.read_bytes().splitlines(keepends=True)[:-2]))
    assert "Birds-native.json" in error(run("--data", "Birds", "--do", "eval"))
    assert run("--data", "Birds", "--do", "infer", model=FakeModel(fingerprint="another")).exit_code == 0
    assert "Birds-native.json" in error(run("--data", "Birds", "--do", "eval")), "whose answers?"


def test_files_are_named_in_the_data_folder_or_in_that_of_vlmevalkit(
    run: Callable[..., Result], data: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "LMUData"
    shared.mkdir()
    write(shared / "AI2D_small.tsv", [row("0")])
    monkeypatch.setenv("LMUData", str(shared))
    said = run("--data", "AI2D_small", "Birds", model=FakeModel()).output
    assert said.index("AI2D_small, native") < said.index("Birds, native")
    assert "Birds, native" in run("--data", str(data), "--dataset", "Birds", model=FakeModel()).output
    assert "no Fish.tsv in it" in error(run("--data", "Birds", "Fish", model=FakeModel()))
    assert "--data no/such: no such folder" in error(run("--data", "no/such", model=FakeModel()))
    assert "name one data folder" in error(run("--data", str(data), "--data", str(shared), model=FakeModel()))


def test_a_file_that_cannot_be_swapped_costs_itself(
    run: Callable[..., Result], data: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The first of the files has one picture for all of its rows."""
    write(data / "mcq" / "Alike.tsv", [row(str(number)) for number in range(3)])
    said = run("--mode", "swapped", model=FakeModel())
    assert said.exit_code == 0 and "Birds, swapped" in said.output and "MMStar_small, swapped" in said.output
    assert [line for line in caplog.messages if "Alike-swapped: left out: Alike: 3 of 3 items are equal" in line]


def test_the_mean_of_the_six_says_what_it_is_without(run: Callable[..., Result], data: Path) -> None:
    columns = ("index", "question", "answer", "category", "image")
    write(data / "mcq" / "MMVet_small.tsv", [["0", "What?", "a dog", "rec", coded(png((1, 2, 3)))]], columns)
    write(data / "mcq" / "AI2D_small.tsv", [row("0")])
    said = run("--dataset", "MMVet_small", "--dataset", "AI2D_small", "--dataset", "MMStar_small", model=FakeModel()).output
    assert "overall: judged score not computed: 1 of its 1 answers have no judgement; name a judge with --judge" in said
    without = "MMBench, MMVet, HallusionBench, MMMU"
    assert said.splitlines()[-1] == f"mean of the six benchmarks of 2; without {without}, so not the papers' AVG: 100.0"


def write_predictions(path: Path, said: Sequence[str]) -> Path:
    """The same predictions in the form that the name says."""
    records = [{"index": number, "question": "q", "prediction": text} for number, text in enumerate(said)]
    if path.suffix == ".xlsx":
        book = Workbook()
        book.active.append(list(records[0]))
        for record in records:
            cells = [None if value == "" else value for value in record.values()]
            book.active.append([f"'{value}" if str(value).startswith("=") else value for value in cells])
        book.save(path)
    elif path.suffix in (".tsv", ".csv"):
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, list(records[0]), delimiter="\t" if path.suffix == ".tsv" else ",")
            writer.writeheader()
            writer.writerows(records)
    else:
        path.write_text(json.dumps(records) if path.suffix == ".json" else "".join(json.dumps(item) + "\n" for item in records))
    return path


@pytest.mark.parametrize("form", ["jsonl", "json", "tsv", "csv", "xlsx"])
def test_predictions_of_others_are_scored_without_a_model(run: Callable[..., Result], data: Path, form: str) -> None:
    path = write_predictions(data / f"theirs.{form}", ANSWERS)
    said = run("--data", str(data), "--data", "Birds", "--predictions", str(path), "--out", str(data / "scored"))
    assert said.exit_code == 0, said.output
    result = read_result(VlmResult, data / "scored" / "Birds-native.json")
    assert result.hits == (1.0, 0.0, 0.0, 0.0, 0.0, 1.0)
    assert result.provenance.model.startswith("predictions ") and result.unparsed == 3
    assert result.conditions == {"predictions": path.name}, "under what they were given, nobody here knows"


def test_predictions_that_do_not_fit_are_refused(run: Callable[..., Result], data: Path, tmp_path: Path) -> None:
    table = read_questions(data / "mcq" / "Birds.tsv")
    for lines, words in (
        ([{"index": 0, "prediction": "A"}], r"5 of 6 questions have no prediction, such as index 1"),
        (
            [{"index": number, "prediction": "A"} for number in range(7)],
            r"1 predictions are for no question of Birds, such as index 6",
        ),
        ([{"index": 0, "prediction": "A"}] * 2, "index 0 stands twice"),
        ([{"index": 0, "answer": "A"}], "record 1 has no prediction"),
        (["A"], "not a list of records"),
    ):
        path = tmp_path / "p.json"
        path.write_text(json.dumps(lines))
        with pytest.raises(DataError, match=words):
            read_predictions(path, table)
    for name, content in (("p.xlsx", b"no workbook"), ("p.jsonl", b'{"index": 1'), ("p.tsv", b'index\tprediction\n0\t"A')):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match="not a readable file of predictions"):
            read_predictions(tmp_path / name, table)
    assert "expected a file of .jsonl" in error(run("--data", "Birds", "--data", str(data), "--predictions", "p.pkl"))
    assert "name the one question file" in error(run("--data", str(data), "--predictions", "p.tsv"))


@pytest.mark.parametrize("form", ["tsv", "csv", "xlsx"])
def test_exports_have_vlmevalkit_s_layout_and_read_back(run: Callable[..., Result], data: Path, form: str) -> None:
    """The file's columns without pictures, then the prediction; beside it how each was read."""
    assert run("--data", "Birds", "--export", form, model=FakeModel(answer_one=numbered)).exit_code == 0
    plain, result = data / "out" / f"out-native_Birds.{form}", data / "out" / f"out-native_Birds_result.{form}"
    columns = ["index", "question", "A", "B", "C", "answer", "category"]
    lines = cells_of(result)
    assert cells_of(plain)[0] == [*columns, "prediction"]
    assert lines[0] == [*columns, "prediction", "extracted", "hit"]
    table = read_questions(data / "mcq" / "Birds.tsv")
    said = read_predictions(plain, table)
    assert [said[each.index] for each in table.rows] == [numbered(Side(images=each.images), "", False) for each in table.rows]
    hits = read_result(VlmResult, data / "out" / "Birds-native.json").hits
    assert [line[-1] for line in lines[1:]] == [str(int(hit)) for hit in hits]
    assert {line[-2] for line in lines[1:]} <= {"A", "B", "Z"}


def test_a_test_split_has_a_file_to_submit_and_no_score(run: Callable[..., Result], data: Path) -> None:
    """MMBench's test splits have no public answers: its server scores the workbook with each row's prediction."""
    columns = ("index", "question", "A", "B", "C", "category", "image")
    rows = [[cell for at, cell in enumerate(row(str(number))) if at != 5] for number in (0, 1_000_000, 1, 1_000_001)]
    write(data / "mcq" / "MMBench_TEST_mine.tsv", rows, columns)
    said = run("--data", "MMBench_TEST_mine", "--export", "xlsx", model=FakeModel(answer_one=lambda *_: "B. y"))
    assert said.exit_code == 0, said.output
    assert "all rotations right not computed" in said.output
    lines = cells_of(data / "out" / "out-native_MMBench_TEST_mine.xlsx")
    assert lines[0] == ["index", "question", "A", "B", "C", "category", "prediction"]
    assert [line[0] for line in lines[1:]] == ["0", "1000000", "1", "1000001"]
    assert {line[-1] for line in lines[1:]} == {"B. y"}
    read = cells_of(data / "out" / "out-native_MMBench_TEST_mine_result.xlsx")
    assert [line[-2:] for line in read[1:]] == [["B", ""]] * 4, "read, and worth nothing yet"


def cells_of(path: Path) -> list[list[Any]]:
    if path.suffix == ".xlsx":
        return [
            ["" if value is None else value for value in line] for line in load_workbook(path).active.iter_rows(values_only=True)
        ]
    with path.open(newline="") as file:
        return list(csv.reader(file, delimiter="\t" if path.suffix == ".tsv" else ","))


@dataclass(frozen=True, slots=True, kw_only=True)
class Meeting(Ranks):
    """Ranks that are processes of this test and meet at a barrier."""

    barrier: Barrier

    def gather(self, value: Any) -> list[Any]:
        self.barrier.wait(60)
        return [value]


def answer_as(rank: int, count: int, barrier: Barrier, path: Path, out: Path, *, die_after: int, mode: Mode) -> None:
    """Ask as one of several ranks, in a process of its own; one that is to die does so inside of its share."""
    model = FakeModel()

    def answer(context: Side, question: str, compressed: bool) -> str:
        if 0 <= die_after < len(model.asked):
            os.kill(os.getpid(), signal.SIGKILL)
        with (out.parent / f"{out.name}.asked").open("a") as log:
            log.write("asked\n")
        return numbered(context, question, compressed)

    model.answer_one = answer
    ranks = Meeting(rank=rank, count=count, barrier=barrier)
    each = questions(path, mode, out, DEFAULTS, ranks)
    asking = Asking(table=each.read(), mode=mode, settings=DEFAULTS.__class__(batch_rows=1), ranks=ranks)
    ask(model, asking, each.place(asking, model.fingerprint), lambda *_: None)


def ask_together(count: int, path: Path, out: Path, *, dying: bool = False, mode: Mode = "native") -> None:
    context = get_context("fork")
    barrier = context.Barrier(count)
    ranks = [
        context.Process(
            target=answer_as,
            args=(rank, count, barrier, path, out),
            kwargs={"die_after": 1 if dying else -1, "mode": mode},
            daemon=True,
        )
        for rank in range(count)
    ]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join()


@pytest.mark.parametrize("before", [0, 2, 3])
def test_any_number_of_ranks_killed_at_any_moment_gives_the_same_answers(data: Path, tmp_path: Path, before: int) -> None:
    """`before`: so many ranks began, and were killed inside of their shares."""
    path = data / "mcq" / "Birds.tsv"
    ask_together(1, path, tmp_path / "alone")
    if before:
        ask_together(before, path, tmp_path / "shared", dying=True)
        assert list((tmp_path / "shared").glob("*.part-1.jsonl")), "what a rank had answered"
    ask_together(2, path, tmp_path / "shared")
    (alone,), (shared,) = (list((tmp_path / name).iterdir()) for name in ("alone", "shared"))
    assert alone.name == shared.name
    answers = [sorted(path.read_text().splitlines()) for path in (alone, shared)]
    assert answers[0] == answers[1] and len(answers[0]) == 6 + 2
    assert (tmp_path / "shared.asked").read_text() == 6 * "asked\n", "what killed ranks had answered is not asked again"
