"""Prompts, verdicts and tables against VLMEvalKit's own at three of its states, row by row; parity is switched on."""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from eval.benchmarks.registry import BY_NAME
from eval.option_matcher import option_matcher
from eval.question_files import read_questions
from eval.questions import QuestionRow, QuestionTable
from eval.verdicts import Rules, Verdict
from tests.conftest import ROOT, require

CASES = ROOT.parent / "shared" / "vlm-cases"
NAMES = ("MMStar", "MMMU_DEV_VAL")
STATES = {
    "2025-08_c026693a": "vlmevalkit-2025-07",
    "2026-06_0bccf452": "vlmevalkit-2025-08",
    "2026-08_e8e78f05": "vlmevalkit-2026-06",
}
"""Folders of the references, and the matcher that was in force at each."""


@pytest.fixture(scope="module")
def cases(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder with each input under its benchmark's name."""
    if not CASES.is_dir():
        require("vlm-cases", f"vlm-cases is not at {CASES}")
    folder = tmp_path_factory.mktemp("vlm-cases")
    for name in NAMES:
        (folder / f"{name}.tsv").write_bytes((CASES / name / "input.tsv").read_bytes())
    return folder


def lines(path: Path) -> Iterator[dict[str, Any]]:
    yield from map(json.loads, path.read_text().splitlines())


def questions(cases: Path, name: str, *, parity: bool = True) -> QuestionTable:
    table = read_questions(cases / f"{name}.tsv", allow_changed=True, parity=parity)
    assert table.skipped == ()
    return table


def verdicts(cases: Path, name: str, state: str, *, parity: bool = True) -> list[Verdict]:
    said = {str(line["index"]): line["prediction"] for line in lines(CASES / name / "predictions.jsonl")}
    table = questions(cases, name, parity=parity)
    rules = Rules(matcher=option_matcher(STATES[state]), parity=parity)
    return [BY_NAME[table.benchmark].verdict(row, said[row.index], rules) for row in table.rows]


def shown(row: QuestionRow, messages: list[str | int], names: list[str]) -> list[dict[str, str]]:
    """Messages as the references write them."""
    return [
        {"type": "image", "value": names[piece - 1]} if isinstance(piece, int) else {"type": "text", "value": piece}
        for piece in messages
    ]


@pytest.mark.parametrize("name", NAMES)
def test_prompts_of_both_styles(cases: Path, name: str) -> None:
    table = questions(cases, name)
    wanted = {str(line["index"]): line for line in lines(CASES / name / "prompts.jsonl")}
    benchmark = BY_NAME[table.benchmark]
    for row in table.rows:
        names = [piece["value"] for piece in wanted[row.index]["qwen2vl"] if piece["type"] == "image"]
        for style, key in (("default", "default"), ("qwen2-vl", "qwen2vl")):
            assert shown(row, benchmark.messages(row, style), names) == wanted[row.index][key], (row.index, style)


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_rows(cases: Path, name: str, state: str) -> None:
    wanted = {
        str(line["index"]): (line["extracted"], line["correct"])
        for line in lines(CASES / name / "reference" / state / "rows.jsonl")
    }
    found = {each.row.index: (each.parsed or "Z", int(each.value)) for each in verdicts(cases, name, state)}
    assert found == wanted


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_tables(cases: Path, name: str, state: str) -> None:
    table = questions(cases, name)
    scores = BY_NAME[table.benchmark].scores(verdicts(cases, name, state), table)
    wanted: list[Mapping[str, Any]] = json.loads((CASES / name / "reference" / state / "scores.json").read_text())
    assert set(scores.table) == {line["split"] for line in wanted}
    for line in wanted:
        assert scores.table[line["split"]] == pytest.approx(
            {key: value for key, value in line.items() if key != "split"}, abs=1e-9
        )
    reported = next(line for line in wanted if line["split"] in ("validation", "none"))
    assert scores.headline.score is not None
    assert scores.headline.score.value == pytest.approx(reported["Overall"], abs=1e-9)


@pytest.mark.parametrize(
    ("state", "differing"),
    [
        ("2025-08_c026693a", {"56": 0, "58": 1, "62": 0, "64": 0, "65": 0}),
        ("2026-06_0bccf452", {"56": 0, "58": 1, "62": 0, "65": 0, "76": 1, "77": 1}),
        ("2026-08_e8e78f05", {"56": 0, "58": 1, "62": 0, "65": 0, "68": 0, "76": 1, "77": 1}),
    ],
)
def test_rows_that_differ_without_parity(cases: Path, state: str, differing: dict[str, int]) -> None:
    """Those of docs/decisions/047, by what we give them, and no others."""
    for name in NAMES:
        rows = lines(CASES / name / "reference" / state / "rows.jsonl")
        wanted = {str(line["index"]): line["correct"] for line in rows}
        found = {each.row.index: int(each.value) for each in verdicts(cases, name, state, parity=False)}
        assert {index: value for index, value in found.items() if value != wanted[index]} == (differing if "MMMU" in name else {})
