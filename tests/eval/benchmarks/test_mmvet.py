"""MM-Vet: never a score over a part of its rows."""

from dataclasses import replace
from pathlib import Path

import pytest

from eval.benchmarks.registry import BY_NAME
from eval.option_matcher import DEFAULT_MATCHER, option_matcher
from eval.question_files import read_questions
from eval.verdicts import Rules
from tests.eval.fakes import png
from tests.eval.test_tsv import coded, write

COLUMNS = ("index", "question", "answer", "category", "image")
PICTURE = coded(png((9, 9, 9)))
ROWS = [
    ["v1_0", "What is x?", "-1<AND>-5", "ocr,math", PICTURE],
    ["v1_1", "Is it red?", "yes", "rec", PICTURE],
    ["v1_2", "What is it?", "a dog<OR>a puppy", "rec,know,gen", PICTURE],
    ["v1_3", "What letter?", "S", "ocr", PICTURE],
]


@pytest.mark.parametrize("name", ["MMVet_small", "own"])
def test_every_row_waits_for_a_judge(tmp_path: Path, name: str) -> None:
    """With a yes or no in the file it would be a score of two rows."""
    table = read_questions(write(tmp_path / f"{name}.tsv", ROWS, COLUMNS))
    assert (table.benchmark, [row.kind for row in table.rows]) == ("MMVet", ["open"] * 4)
    benchmark, rules = BY_NAME["MMVet"], Rules(matcher=option_matcher(DEFAULT_MATCHER))
    verdicts = [benchmark.verdict(row, "yes", rules) for row in table.rows]
    headline = benchmark.scores(verdicts, table).headline
    assert (headline.score, headline.of) == (None, 4)
    assert headline.why == "4 of its 4 answers have no judgement; name a judge with --judge"
    one = benchmark.scores([replace(each, credit=1.0) for each in verdicts[:3]] + verdicts[3:], table).headline
    assert one.score is None and one.why.startswith("1 of its 4 answers")


def test_credits_by_capability_and_combination(tmp_path: Path) -> None:
    table = read_questions(write(tmp_path / "MMVet_small.tsv", ROWS, COLUMNS))
    benchmark, rules = BY_NAME["MMVet"], Rules(matcher=option_matcher(DEFAULT_MATCHER))
    judged = (0.5, 1.0, 0.2, 0.0)
    verdicts = [replace(benchmark.verdict(row, "", rules), credit=credit) for row, credit in zip(table.rows, judged, strict=True)]
    found = benchmark.scores(verdicts, table)
    assert found.headline.score is not None and found.headline.score.value == pytest.approx(1.7 / 4)
    assert {name: (line["score"], line["rows"]) for name, line in found.table.items()} == {
        "rec": (0.6, 2),
        "ocr": (0.25, 2),
        "know": (0.2, 1),
        "gen": (0.2, 1),
        "math": (0.5, 1),
        "Overall": (pytest.approx(1.7 / 4), 4),
        "only ocr_math": (0.5, 1),
        "only rec": (1, 1),
        "only rec_know_gen": (0.2, 1),
        "only ocr": (0, 1),
    }
