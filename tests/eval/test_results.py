"""Result files: whole, checked when read."""

from dataclasses import dataclass
from pathlib import Path

import pytest

from eval.results import Provenance, read_result, write_result
from pipeline.errors import DataError


@dataclass(frozen=True, slots=True, kw_only=True)
class Inner:
    names: tuple[str, ...]
    value: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Outer:
    provenance: Provenance
    parts: dict[str, Inner]
    best: Inner | None
    other: Inner | None


def test_nested_results_read_back_as_they_were(tmp_path: Path) -> None:
    result = Outer(
        provenance=Provenance(model="m", data="d", settings={"blank": False, "seed": 3, "name": None}),
        parts={"a": Inner(names=("x", "y"), value=0.5)},
        best=Inner(names=()),
        other=None,
    )
    write_result(result, tmp_path / "r.json")
    assert read_result(Outer, tmp_path / "r.json") == result


def test_library_versions_are_recorded() -> None:
    assert {"torch", "transformers", "numpy"} <= set(Provenance(model="", data="", settings={}).libraries)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"nonsense": 1}', '{"provenance": 3}'])
def test_other_files_are_refused_in_one_line(tmp_path: Path, content: str) -> None:
    path = tmp_path / "r.json"
    path.write_text(content)
    with pytest.raises(DataError, match="not a Outer"):
        read_result(Outer, path)


def test_a_missing_file_says_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="run the evaluation first"):
        read_result(Outer, tmp_path / "none.json")
