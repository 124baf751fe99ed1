"""Two runs by query: differences, intervals and the permutation test, against numbers worked by hand and every sign tried."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import numpy as np
import pytest

from eval.metrics import DatasetHits, group_scores, score
from eval.mmeb import MmebResult
from eval.paired import Difference, differences, permutation_p, table
from eval.results import Provenance, write_result
from eval.retrieval_set import DatasetResult
from eval.spread import spread
from eval.spread import table as spread_table
from pipeline.errors import DataError
from tests.launchers.test_cli import Run
from tests.launchers.test_cli import crem as crem


def result(hits: dict[str, list[float]], **settings: str) -> MmebResult:
    """A run over sets of the given hits; `a...` are classification and IND, others retrieval and OOD."""
    made = Provenance(model="m", data="d", settings={"protocol": "mmeb_v1", "seed": 0, **settings}, libraries={})
    kinds = {name: ("classification", "IND") if name.startswith("a") else ("retrieval", "OOD") for name in hits}
    sets = tuple(
        DatasetResult(
            name=name,
            provenance=replace(made, data=f"content of {name}"),
            meta_task=kinds[name][0],
            split=kinds[name][1],  # type: ignore[arg-type]
            num_candidates=2,
            smallest_pool=2,
            has_pictures=False,
            score=score(values, chance=0.5, seed=0),
            hits=tuple(values),
        )
        for name, values in hits.items()
    )
    groups = group_scores(
        [DatasetHits(meta_task=item.meta_task, split=item.split, hits=np.array(item.hits), chance=0.5) for item in sets], seed=0
    )
    return MmebResult(provenance=made, datasets=sets, groups=groups, num_sets={})


FIRST = {"a1": [1.0, 0.0, 0.0, 1.0], "b": [0.0, 0.5]}
SECOND = {"a1": [1.0, 1.0, 1.0, 0.0], "b": [0.0, 1.0], "c": [1.0]}


def test_differences_are_by_query_and_means_count_each_set_once() -> None:
    found = {each.name: each for each in differences(result(FIRST), result(SECOND))}
    assert list(found) == ["a1", "b", "mean: classification", "mean: retrieval", "mean: IND", "mean: OOD", "mean: overall"]
    assert (found["a1"].value, found["a1"].won, found["a1"].lost) == (0.25, 2, 1)
    assert (found["b"].first, found["b"].second, found["b"].won) == (0.25, 0.5, 1)
    overall = found["mean: overall"]
    assert overall.value == pytest.approx((0.25 + 0.25) / 2) and overall.kind == "2 sets"
    assert overall.low <= overall.value <= overall.high
    text = table(list(found.values()))
    assert "mean: overall" in text and "+25.0" in text and len(text.splitlines()) == 8


@pytest.mark.parametrize(
    "strata",
    [[[1.0, 1.0, 1.0, 0.0, -1.0]], [[1.0, -0.5, 0.0], [0.5, 1.0, 1.0, -1.0, 0.0]], [[1.0] * 6, [0.0, 0.0]]],
)
def test_p_is_the_share_of_sign_changes_that_go_as_far(strata: list[list[float]]) -> None:
    sizes, values = [len(each) for each in strata], np.concatenate(strata)
    weights = np.concatenate([np.full(size, 1 / size / len(strata)) for size in sizes])
    means = [abs(float((np.array(signs) * values * weights).sum())) for signs in product((-1, 1), repeat=len(values))]
    exact = np.mean([mean >= abs(float((values * weights).sum())) - 1e-12 for mean in means])
    assert permutation_p([np.array(each) for each in strata], seed=0, flips=20_000) == pytest.approx(exact, abs=0.012)


def test_equal_runs_differ_by_chance_alone_and_a_clear_gain_does_not() -> None:
    (same, *_) = differences(result({"a": [1.0, 0.0] * 50}), result({"a": [1.0, 0.0] * 50}))
    assert same == Difference(name="a", kind="classification", first=0.5, second=0.5, low=0.0, high=0.0, p=1.0, won=0, lost=0)
    (clear, *_) = differences(result({"a": [0.0] * 100}), result({"a": [1.0] * 30 + [0.0] * 70}))
    assert clear.p < 0.001 and clear.low > 0.2


def test_queries_are_resampled_as_pairs() -> None:
    """Both runs fail at the same hard half: the gain of one query in ten is certain, each score is not."""
    hard = [0.0] * 500 + [1.0] * 500
    gained = [1.0] * 100 + hard[100:]
    (found, *_) = differences(result({"a": hard}), result({"a": gained}))
    assert found.high - found.low < 0.04, "each score alone has an interval of 6 points"


def test_what_cannot_be_compared_is_refused() -> None:
    with pytest.raises(DataError, match="no set in common"):
        differences(result({"a": [1.0]}), result({"b": [1.0]}))
    before = result({"a": [1.0]})
    assert differences(replace(before, provenance=replace(before.provenance, settings={"seed": 0})), before)
    with pytest.raises(DataError, match=r"by other rules .*mmeb_v2"):
        differences(result({"a": [1.0]}), result({"a": [1.0]}, protocol="mmeb_v2"))
    other = result({"a": [1.0]})
    (item,) = other.datasets
    changed = replace(other, datasets=(replace(item, provenance=replace(item.provenance, data="else")),))
    with pytest.raises(DataError, match="a: its content is not the same in all runs"):
        differences(result({"a": [1.0]}), changed)


def test_several_runs_have_a_mean_and_a_spread() -> None:
    """Means over sets are taken in each run first: 0.375, 0.625 and 0.5 over all."""
    runs = [result(FIRST), result(SECOND), result({"a1": [1.0, 1.0, 0.0, 0.0], "b": [0.0, 1.0]})]
    found = {each.name: each for each in spread(runs)}
    assert list(found)[:2] == ["a1", "b"] and list(found)[-1] == "mean: overall"
    overall = found["mean: overall"]
    assert overall.values == (0.375, 0.625, 0.5) and overall.mean == 0.5
    assert overall.deviation == pytest.approx(0.125)
    assert "50.0  12.5   37.5   62.5" in spread_table(list(found.values())).splitlines()[-1]
    with pytest.raises(DataError, match="no set in common"):
        spread([*runs, result({"d": [1.0]})])


def test_the_command_finds_runs_by_file_folder_and_id(crem: Run, tmp_path: Path) -> None:
    write_result(result(FIRST), tmp_path / "w" / "eval" / "first" / "mmeb.json")
    write_result(result(SECOND), tmp_path / "elsewhere" / "mmeb.json")
    write_result(result(FIRST), tmp_path / "w" / "eval" / "main" / "trained" / "mmeb.json")
    assert crem("compare", "first", "trained", "--work", "w")[1].splitlines()[-1].split()[6] == "+0.0"
    for second in (tmp_path / "elsewhere", tmp_path / "elsewhere" / "mmeb.json"):
        code, output, _ = crem("compare", "first", str(second), "--work", "w")
        assert code == 0 and output.splitlines()[-1].startswith("mean: overall            2 sets")
    code, output, _ = crem("compare", "first", "trained", "elsewhere", "--work", "w")
    assert code == 0 and output.splitlines()[0].endswith("of 3 runs")
    assert crem("compare", "first", "--work", "w")[0] == 2
    code, _, error = crem("compare", "first", "none", "--work", "w")
    assert code == 1 and error.startswith("error: none: no results there: ") and len(error.splitlines()) == 1
