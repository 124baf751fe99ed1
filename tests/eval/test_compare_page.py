"""The page of what changed between two runs: which queries, in which order, with which pictures."""

import base64
from pathlib import Path

import numpy as np
import pytest

from eval.compare_page import changed, write_page
from eval.mmeb import MmebResult, evaluate
from eval.results import write_result
from pipeline.errors import DataError
from pipeline.sample import Side
from tests.eval.fakes import FakeModel, constant_vector, digest_vector, png, write_eval, write_pictures
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem

COLORS = [(40 * number, 90, 255 - 40 * number) for number in range(6)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_pictures(tmp_path, {f"a/{number}.png": png(color) for number, color in enumerate(COLORS)})
    names = [f"<colour> {number}" for number in range(6)]
    rows = [(f"<|image_1|>\nname {place}", f"a/{place}.png", names[place:] + names[:place], [""] * 6) for place in range(6)]
    write_eval(tmp_path, "naming", rows)
    return tmp_path


def seeing(side: Side) -> np.ndarray:
    """Right about all but the third picture, which it takes for the next one."""
    place = next((place for place, color in enumerate(COLORS) if png(color) in side.images), None)
    number = side.text[-1] if place is None else str(place if place != 2 else 3)
    return digest_vector(Side(text=number))


@pytest.fixture
def runs(data: Path) -> tuple[MmebResult, MmebResult]:
    return evaluate(FakeModel(embed_one=constant_vector), data), evaluate(FakeModel(embed_one=seeing), data)


def test_changed_queries_are_those_whose_hits_differ_greatest_moves_first(runs: tuple[MmebResult, MmebResult]) -> None:
    first, second = (run.datasets[0] for run in runs)
    found = changed(first, second)
    assert sorted(each.query for each in found) == [0, 1, 2, 3, 4, 5], "a tie of six is neither won nor lost"
    assert found[-1].query == 2, "its right candidate moved from 3.5 to 3.5 or less far than to the first place"
    assert all(each.before == 3.5 for each in found) and [each.after for each in found[:5]] == [1.0] * 5
    assert changed(second, second) == []


def test_the_page_holds_words_pictures_and_ranks_and_asks_for_nothing_else(
    runs: tuple[MmebResult, MmebResult], data: Path, tmp_path: Path
) -> None:
    write_page(*runs, data, tmp_path / "page.html", most=5)
    page = (tmp_path / "page.html").read_text()
    assert "6 of 6 queries changed; shown are 5" in page and "mean: overall" in page
    assert page.count(base64.b64encode(png(COLORS[0])).decode()) == 1, "the query's picture"
    assert "&lt;colour&gt; 0" in page and "<colour>" not in page
    assert "http" not in page.replace("http-equiv", "") and "src=" in page


def test_another_data_folder_is_refused(runs: tuple[MmebResult, MmebResult], data: Path, tmp_path: Path) -> None:
    write_pictures(data, {f"a/{number}.png": png((number, 1, 2)) for number in range(6)})
    with pytest.raises(DataError, match="naming is not what was measured; name the data folder of the two runs"):
        write_page(*runs, data, tmp_path / "page.html")
    assert not (tmp_path / "page.html").exists()


def test_the_command_writes_it(runs: tuple[MmebResult, MmebResult], data: Path, tmp_path: Path, crem: Run) -> None:
    for name, run in zip(("a", "b"), runs, strict=True):
        write_result(run, tmp_path / name / "mmeb.json")
    given = [str(tmp_path / "a"), str(tmp_path / "b"), "--page", str(tmp_path / "page.html")]
    code, said, _ = crem("compare", *given, "--data", str(data))
    assert code == 0 and f"page: {tmp_path}/page.html" in said and (tmp_path / "page.html").is_file()
    code, _, said = crem("compare", *given[:2], str(tmp_path / "a"), *given[2:])
    assert code == 2 and "--page shows what changed between two runs; name two" in said
