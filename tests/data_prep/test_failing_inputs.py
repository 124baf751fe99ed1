"""Every folder of shared/failing-inputs has the fate that the table says, by the readers and on the command line."""

import re
from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from eval import mmeb as eval_mmeb
from eval.question_files import question_files, read_questions
from eval.questions import QuestionTable
from pipeline.data import mmeb, sharegpt4v
from pipeline.data.mmeb_eval import check_eval
from pipeline.data.picture_preparer import PicturePreparer
from pipeline.data.reject import Reject
from pipeline.data.sharegpt4v_release import find_conversations
from pipeline.errors import DataError
from tests.data_prep.failing_inputs import ALL_REJECTED, EVAL, FOLDERS, MCQ, PICTURES, TALKS, TRAIN
from tests.eval.fakes import FakeModel
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem


def assert_one_line(error: DataError, pattern: str, place: Path) -> None:
    assert re.search(pattern, str(error)), str(error)
    assert "\n" not in str(error)
    assert str(place) in str(error), "the file is named"


def assert_reasons(found: Mapping[int, str], wanted: Mapping[int, str]) -> None:
    assert set(found) == set(wanted), found
    for row, reason in found.items():
        assert re.search(wanted[row], reason), reason
        assert "\n" not in reason


def test_every_folder_has_a_fate(failing_inputs: Path) -> None:
    assert {path.name for path in failing_inputs.iterdir()} == FOLDERS
    assert len(FOLDERS) == 54
    assert {path.stem for path in question_files(failing_inputs / "mcq")} == set(MCQ)
    for folder, sets in TRAIN.items():
        assert mmeb.train_datasets(failing_inputs / folder) == sorted(sets)


@pytest.mark.parametrize(("folder", "dataset"), [(folder, dataset) for folder, sets in TRAIN.items() for dataset in sets])
def test_rows_of_mmeb_train(failing_inputs: Path, folder: str, dataset: str) -> None:
    root, wanted = failing_inputs / folder, TRAIN[folder][dataset]
    if isinstance(wanted, str):
        with pytest.raises(DataError) as caught:
            list(mmeb.read_train(root, dataset))
        assert_one_line(caught.value, wanted, root)
        return
    if dataset == "Pics":
        wanted = fates_of_pictures(root)
    items = list(mmeb.read_train(root, dataset, prepare=PicturePreparer(max_pixels=10**6)))
    assert_reasons({number: item.reason for number, item in enumerate(items) if isinstance(item, Reject)}, wanted)


def fates_of_pictures(root: Path) -> dict[int, str]:
    """Pictures stand in the table by the name that is their answer; the decoder decides on one of them."""
    names = pq.read_table(root / "MMEB-train" / "Pics" / "original-00000-of-00001.parquet")["pos_text"].to_pylist()
    assert len(names) >= 34
    return {number: PICTURES[name] for number, name in enumerate(names) if PICTURES.get(name)}


@pytest.mark.parametrize("folder", EVAL)
def test_sets_of_mmeb_eval(failing_inputs: Path, folder: str) -> None:
    """Checked and measured alike: what passes the check is measured, what does not is refused by both, at the same place."""
    root = failing_inputs / folder
    if EVAL[folder]:
        for attempt in (lambda: check_eval(root, "Birds"), lambda: eval_mmeb.evaluate(FakeModel(), root)):
            with pytest.raises(DataError) as caught:
                attempt()
            assert_one_line(caught.value, EVAL[folder], root / "MMEB-eval" / "Birds")
        return
    assert check_eval(root, "Birds")
    (result,) = eval_mmeb.evaluate(FakeModel(), root).datasets
    assert 0 <= result.score.value <= 1


@pytest.mark.parametrize("name", MCQ)
def test_question_files(failing_inputs: Path, name: str) -> None:
    path, wanted = failing_inputs / "mcq" / "mcq" / f"{name}.tsv", MCQ[name]
    if isinstance(wanted, str):
        with pytest.raises(DataError) as caught:
            read_questions(path)
        assert_one_line(caught.value, wanted, path)
        return
    assert_reasons(reasons_of(read_questions(path)), wanted)


def reasons_of(table: QuestionTable) -> dict[int, str]:
    """Reasons by place in the file: where rows are left out, the numbers of the asked ones have gaps."""
    left_out = {row.index: row.reason for row in table.skipped}
    order = [row.index for row in table.rows]
    places: dict[int, str] = {}
    for index, reason in left_out.items():
        # The files number their rows from 1, as texts or as real numbers; a line that a stray break made has another index.
        places[int(float(index)) - 1 if re.fullmatch(r"[\d.]+", index) else len(places)] = reason
    assert not set(left_out) & set(order)
    return places


@pytest.mark.parametrize("folder", TALKS)
def test_files_of_conversations(failing_inputs: Path, folder: str) -> None:
    root = failing_inputs / folder
    (talks,) = find_conversations(root)
    wanted = TALKS[folder]
    if isinstance(wanted, str):
        with pytest.raises(DataError) as caught:
            list(sharegpt4v.read(talks.path, talks.images))
        assert_one_line(caught.value, wanted, talks.path)
        return
    items = sharegpt4v.read(talks.path, talks.images, prepare=PicturePreparer(max_pixels=10**6))
    assert_reasons({number: item.reason for number, item in enumerate(items) if isinstance(item, Reject)}, wanted)


@pytest.mark.parametrize("folder", sorted(FOLDERS))
def test_the_commands_end_in_one_line_and_an_exit_code(failing_inputs: Path, folder: str, crem: Run) -> None:
    root = failing_inputs / folder
    code, output, error = crem("data", "check", "--data", str(root))
    assert code == 1, "no folder is a whole corpus with its benchmark"
    assert re.fullmatch(r"error: [^\n]+ problems, marked with ! above[^\n]*\n", error), error
    problems = [line for line in output.splitlines() if line.startswith("!")]
    if EVAL.get(folder):
        assert any(re.search(EVAL[folder], line) for line in problems)
    if folder in TRAIN:
        code, output, error = crem("--quiet", "convert", "--data", str(root), "--work", "w", "--workers", "1")
        refused = folder in ALL_REJECTED or any(
            isinstance(fate, str) for fate in (*TRAIN[folder].values(), TALKS.get(folder, {}))
        )
        assert code == int(refused), error
        assert not refused or error.splitlines()[-1].startswith("error: ")
        assert "Traceback" not in output + error
