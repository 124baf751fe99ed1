"""The toy world's files in each benchmark's own columns: known as those, asked and scored to the end, by any number of ranks."""

import random
from pathlib import Path

import pytest

from data_prep.toy_choices import write_choices
from data_prep.toy_files import PictureBook
from eval.question_files import read_questions
from eval.vlm import evaluate
from eval.vlm_settings import Mode
from pipeline.sample import Side
from tests.eval.fakes import FakeModel
from tests.eval.test_vlm_command import ask_together

BENCHMARKS = {
    "ToyMMBench": ("MMBench", 16),
    "ToyAI2D": ("AI2D", 4),
    "ToyMMStar": ("MMStar", 4),
    "ToyMMMU": ("MMMU", 4),
    "ToyYN": ("HallusionBench", 12),
    "ToyMMVet": ("MMVet", 4),
}


@pytest.fixture(scope="module")
def mcq(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("toy") / "mcq"
    counts = write_choices(root, seed=3, rows=12, book=PictureBook())
    assert counts == {"ToyMC": 12} | {name: rows for name, (_, rows) in BENCHMARKS.items()}
    return root


def right_or_not(share: float) -> FakeModel:
    """Names the right option of some questions, by a draw of the question and its pictures."""

    def answer(context: Side, question: str, compressed: bool) -> str:
        drawn = random.Random(f"{question}{len(context.images)}")
        return drawn.choice(["A", "B", "C", "D", "yes", "no", "red", "two"]) if drawn.random() < share else "I cannot say"

    return FakeModel(answer_one=answer)


@pytest.mark.parametrize("name", BENCHMARKS)
def test_each_is_known_and_scored_in_both_modes(mcq: Path, tmp_path: Path, name: str) -> None:
    benchmark, rows = BENCHMARKS[name]
    table = read_questions(mcq / f"{name}.tsv")
    assert (table.benchmark, len(table.rows), table.skipped) == (benchmark, rows, ())
    for mode in ("native", "compressed"):
        result = evaluate(right_or_not(0.7), mcq / f"{name}.tsv", mode=mode, out=tmp_path)
        assert len(result.hits) == rows
        assert (result.headline.score is None) == (name == "ToyMMVet"), result.headline
        assert (result.headline.unit == "questions") == (name == "ToyMMBench")


def test_what_is_right_in_one_is_right_in_all(mcq: Path) -> None:
    """Rotations, open and judged questions keep the answer of the choice that they were made of."""
    rights = {row.index: row.options[row.answer] for row in read_questions(mcq / "ToyMC.tsv").rows}
    for row in read_questions(mcq / "ToyMMBench.tsv").rows:
        assert row.options[row.answer] == rights[row.group]
    for row in read_questions(mcq / "ToyMMMU.tsv").rows:
        assert (row.answer if row.is_open else row.options[row.answer]) == rights[row.index]
        assert len(row.images) == (1 if row.is_open else 2)
    for row in read_questions(mcq / "ToyMMVet.tsv").rows:
        assert row.answer.split("<OR>")[0] == rights[row.index.removeprefix("v1_")]


@pytest.mark.parametrize(("name", "mode"), [("ToyMMBench", "native"), ("ToyMMBench", "compressed"), ("ToyMMMU", "native")])
def test_two_ranks_killed_and_begun_again_end_with_the_answers_of_one(mcq: Path, tmp_path: Path, name: str, mode: Mode) -> None:
    """Compressed, the rotations of a question are asked together, by one of the ranks."""
    ask_together(1, mcq / f"{name}.tsv", tmp_path / "alone", mode=mode)
    ask_together(2, mcq / f"{name}.tsv", tmp_path / "shared", dying=True, mode=mode)
    ask_together(2, mcq / f"{name}.tsv", tmp_path / "shared", mode=mode)
    alone, shared = (sorted(next((tmp_path / part).iterdir()).read_text().splitlines()) for part in ("alone", "shared"))
    assert alone == shared
