"""The page that says where scores can differ from others: each of its rules stands in a file and is held by a test."""

import ast
from functools import cache
from pathlib import Path

import pytest

from tests.pages import ROOT, table

PAGE = (ROOT / "docs" / "comparability.md").read_text()
MMEB, QUESTIONS = (PAGE.split(f"\n## {name}\n")[1].split("\n## ")[0] for name in ("MMEB: P@1", "Question files: accuracy"))
PLACES = table(PAGE, "rule of")


@cache
def functions(path: Path) -> frozenset[str]:
    return frozenset(node.name for node in ast.parse(path.read_text()).body if isinstance(node, ast.FunctionDef))


def test_every_rule_has_a_place_and_every_place_a_rule() -> None:
    rules = [row["rule"] for part in (MMEB, QUESTIONS) for row in table(part, "rule")]
    assert len(rules) > 35 and rules == [row["rule of"] for row in PLACES]


def test_every_rule_says_what_both_do_and_what_it_does_to_a_score() -> None:
    assert all(len(cell) > 3 for part in (MMEB, QUESTIONS) for row in table(part, "rule") for cell in row.values())


@pytest.mark.parametrize("place", PLACES, ids=lambda place: place["rule of"])
def test_the_file_and_the_test_of_a_rule_exist(place: dict[str, str]) -> None:
    file, name = place["a test of it"].strip("`").split("::")
    assert (ROOT / place["held by"].strip("`")).is_file()
    assert name in functions(ROOT / file)
