"""What counts as learned, and the printed table."""

import numpy as np
import pytest

from eval.compare import compare
from eval.metrics import DatasetHits, group_scores, score
from eval.mmeb import MmebResult
from eval.results import Provenance
from eval.retrieval_set import DatasetResult
from pipeline.errors import DataError


def result(hits: dict[str, list[float]], *, data: str = "d") -> MmebResult:
    provenance = Provenance(model="m", data=data, settings={}, libraries={})
    datasets = tuple(
        DatasetResult(
            name=name,
            provenance=provenance,
            meta_task="vqa" if name == "b" else "retrieval",
            split="IND",
            num_candidates=10,
            smallest_pool=10,
            has_pictures=True,
            score=score(values, chance=0.1, seed=0),
            hits=tuple(values),
        )
        for name, values in hits.items()
    )
    members = [DatasetHits(meta_task=item.meta_task, split="IND", hits=np.array(item.hits), chance=0.1) for item in datasets]
    groups = group_scores(members, seed=0)
    num_sets = {name: value.count for name, value in groups.items()}
    return MmebResult(provenance=provenance, datasets=datasets, groups=groups, num_sets=num_sets)


GOOD, BAD = [1.0] * 40 + [0.0] * 10, [0.0] * 45 + [1.0] * 5


def test_learned_means_above_chance_and_untrained() -> None:
    lines = compare(result({"a": GOOD, "b": BAD, "c": GOOD}), result({"a": BAD, "b": BAD, "c": GOOD}))
    assert {line.name: line.is_learned for line in lines} == {
        "a": True,
        "b": False,
        "c": False,
        "retrieval": True,
        "vqa": False,
        "IND": True,
        "overall": True,
    }


def test_a_gain_within_the_interval_is_not_learned() -> None:
    (line, *_) = compare(result({"a": [1.0] * 27 + [0.0] * 23}), result({"a": [1.0] * 25 + [0.0] * 24 + [1.0]}))
    assert line.trained.beats_chance
    assert not line.is_learned


def test_without_untrained_chance_decides() -> None:
    lines = compare(result({"a": GOOD, "b": BAD}))
    assert [line.is_learned for line in lines[:2]] == [True, False]
    assert lines[0].gain is None


def test_datasets_come_first_and_overall_last() -> None:
    names = [line.name for line in compare(result({"a": GOOD, "b": BAD}))]
    assert names == ["a", "b", "retrieval", "vqa", "IND", "overall"]


def test_group_values_are_means_over_datasets() -> None:
    lines = {line.name: line for line in compare(result({"a": GOOD, "b": BAD}), result({"a": BAD, "b": BAD}))}
    assert lines["overall"].trained.value == pytest.approx((0.8 + 0.1) / 2)
    assert lines["overall"].gain is not None
    assert lines["overall"].gain[0] < 0.35 < lines["overall"].gain[1]


def test_results_of_different_data_are_refused() -> None:
    with pytest.raises(DataError, match="different evaluation data"):
        compare(result({"a": GOOD}), result({"a": GOOD}, data="other"))


def test_a_mean_over_other_sets_counts_as_not_measured() -> None:
    lines = {
        line.name: line for line in compare(result({"a": GOOD, "b": GOOD}), result({"a": BAD}), result({"a": BAD, "c": BAD}))
    }
    assert lines["a"].untrained is not None and lines["a"].blank is not None
    assert lines["b"].untrained is None and lines["b"].gain is None
    assert lines["overall"].untrained is None and lines["overall"].blank is None
    assert lines["overall"].gain is None
