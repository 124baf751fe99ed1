"""Data order: pure, without repeats inside a batch, the same for any number of ranks."""

import math
from collections import Counter
from unittest import mock

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data import sampler
from pipeline.data.sampler import Stream, coin, deal, generator
from pipeline.errors import ConfigError

ROWS = {"a": list(range(100)), "b": list(range(100, 121)), "c": list(range(121, 400))}
SHARES = {name: float(len(rows)) for name, rows in ROWS.items()}


def stream(seed: int = 0, **changes: int) -> Stream:
    return Stream(ROWS, SHARES, **({"runs": 4, "run_length": 8, "seed": seed} | changes))


def test_a_step_depends_on_seed_and_step_alone() -> None:
    walked = stream()
    visited = [walked.at(step) for step in range(50)]
    assert stream().at(49) == visited[49] and stream().at(7) == visited[7]
    assert stream(seed=1).at(7) != visited[7]


def test_no_row_repeats_inside_a_batch_and_runs_are_of_one_dataset() -> None:
    owner = {row: name for name, rows in ROWS.items() for row in rows}
    one = stream()
    for step in range(500):
        rows = one.at(step)
        assert len(rows) == 32 == len(set(rows))
        for start in range(0, 32, 8):
            assert len({owner[row] for row in rows[start : start + 8]}) == 1


def test_ten_thousand_steps_without_a_repeat_inside_any() -> None:
    """Datasets smaller than a batch of 60, and one smaller than a run: it is never read."""
    rows = {"one": range(1), "few": range(1, 4), "some": range(4, 24), "many": range(24, 150)}
    short = Stream(rows, dict.fromkeys(rows, 1.0), runs=30, run_length=2, seed=5)
    read: Counter[int] = Counter()
    for step in range(10_000):
        batch = short.at(step)
        assert len(batch) == 60 == len(set(batch))
        read.update(batch)
    assert set(read) == set(range(1, 150))


@settings(max_examples=30, deadline=None)
@given(sizes=st.lists(st.integers(1, 30), min_size=1, max_size=4), run_length=st.integers(1, 6), runs=st.integers(1, 5))
def test_no_repeats_for_any_sizes(sizes: list[int], run_length: int, runs: int) -> None:
    """Datasets smaller than the batch included: a step is filled without repeats, or refused at once."""
    starts = [sum(sizes[:i]) for i in range(len(sizes))]
    rows = {f"d{i}": range(start, start + size) for i, (start, size) in enumerate(zip(starts, sizes, strict=True))}
    fits = sum(size // run_length for size in sizes) >= runs
    if not fits:
        with pytest.raises(ConfigError, match="do not fit the data"):
            Stream(rows, dict.fromkeys(rows, 1.0), runs=runs, run_length=run_length, seed=0)
        return
    one = Stream(rows, dict.fromkeys(rows, 1.0), runs=runs, run_length=run_length, seed=0)
    for step in range(20):
        batch = one.at(step)
        assert len(batch) == runs * run_length == len(set(batch))
        for start in range(0, len(batch), run_length):
            owners = [name for name in rows if set(batch[start : start + run_length]) & set(rows[name])]
            assert len(owners) == 1, "a run mixes datasets"


@settings(max_examples=12, deadline=None)
@given(weights=st.lists(st.integers(0, 5), min_size=2, max_size=4).filter(any), runs=st.integers(1, 3), seed=st.integers(0, 99))
def test_datasets_are_read_in_proportion_to_their_shares(weights: list[int], runs: int, seed: int) -> None:
    """Within five standard deviations of a binomial count, where every dataset has rows enough for any draw."""
    rows = {f"d{i}": range(100 * i, 100 * i + 100) for i in range(len(weights))}
    one = Stream(rows, {name: float(w) for name, w in zip(rows, weights, strict=True)}, runs=runs, run_length=2, seed=seed)
    steps = 400
    counts = Counter(one.at(step)[2 * run] // 100 for step in range(steps) for run in range(runs))
    for number, weight in enumerate(weights):
        share = weight / sum(weights)
        assert abs(counts[number] - share * steps * runs) <= 5 * math.sqrt(steps * runs * share * (1 - share))


def test_an_epoch_reads_every_row_once_but_for_its_tail() -> None:
    one = Stream({"a": range(40)}, {"a": 1.0}, runs=1, run_length=8, seed=3)
    for epoch in range(3):
        assert sorted(row for step in range(5) for row in one.at(epoch * 5 + step)) == list(range(40))


def test_shares_decide_how_often_a_dataset_is_read() -> None:
    one = Stream(ROWS, {"a": 3.0, "c": 1.0}, runs=1, run_length=8, seed=0)
    counts = Counter("a" if one.at(step)[0] < 100 else "c" for step in range(2000))
    assert abs(counts["a"] / 2000 - 0.75) < 0.04
    assert set(one.names) == {"a", "c"}  # a dataset without a share is never read


def drawn_one_by_one(one: Stream, step: int) -> list[int]:
    """Runs of each dataset at a step by numpy's own choice, run after run, among the datasets that have rows left."""
    rng, counts = generator(one.seed, "datasets", step), [0] * len(one.names)
    for _ in range(one.runs):
        is_open = np.array([count < room for count, room in zip(counts, one.room, strict=True)])
        share = np.where(is_open, one.share, 0.0)
        share = share if share.any() else is_open.astype(float)
        counts[rng.choice(len(counts), p=share / share.sum())] += 1
    return counts


@pytest.mark.parametrize("runs", [1, 12, 20, 31])
def test_all_runs_of_a_step_are_drawn_as_if_one_after_another(runs: int) -> None:
    """Of 31 runs that fit, datasets of 2 and 9 runs are full before the others; one has no share until nothing else is left."""
    rows = {"few": range(8), "some": range(8, 44), "more": range(44, 120), "last": range(120, 124)}
    one = Stream(rows, {"few": 5.0, "some": 1.0, "more": 0.5, "last": 1e-9}, runs=runs, run_length=4, seed=1)
    owner = {row: name for name, numbers in rows.items() for row in numbers}
    for step in range(200):
        found = Counter(owner[row] for row in one.at(step))
        assert [found[name] // 4 for name in one.names] == drawn_one_by_one(one, step)


def test_an_epoch_is_shuffled_once() -> None:
    """A permutation takes all rows of a dataset, millions of them, and a step reads a few."""
    one, shuffled = Stream({"a": range(40)}, {"a": 1.0}, runs=1, run_length=8, seed=3), Counter[int]()

    def counted(*parts: object) -> np.random.Generator:
        shuffled.update([int(str(parts[3]))] if parts[1] == "epoch" else [])
        return generator(*parts)

    with mock.patch.object(sampler, "generator", counted):
        for step in range(12):
            one.at(step)
    assert shuffled == {0: 1, 1: 1, 2: 1}


def test_coin_is_pure_and_fair() -> None:
    draws = [coin(0.3, "gate", n) for n in range(20_000)]
    assert draws == [coin(0.3, "gate", n) for n in range(20_000)]
    assert abs(sum(draws) / len(draws) - 0.3) < 0.01
    assert coin(1.0, "x") and not coin(0.0, "x")


def test_dealing_hands_out_everything_and_balances_cost() -> None:
    costs = [float(1 + n % 17) for n in range(200)]
    hands = deal(costs, 4)
    assert sorted(item for hand in hands for item in hand) == list(range(200))
    loads = [sum(costs[item] for item in hand) for hand in hands]
    assert max(loads) - min(loads) <= max(costs)


def test_dealing_by_hand() -> None:
    """Dearest first, each to the rank with the least: 5 | 4 | 4 + 3 | 5 + 3 | 7 + 3, where any other order deals otherwise."""
    assert deal([5.0, 4.0, 3.0, 3.0, 3.0], 2) == [[0, 3], [1, 2, 4]]
    assert deal([1.0, 9.0, 2.0], 3) == [[1], [2], [0]] and deal([2.0], 2) == [[0], []]


def test_two_datasets_of_one_size_are_shuffled_apart() -> None:
    """MSCOCO_t2i and MSCOCO_i2t have the same pairs: read in one order, a step would meet a picture twice."""
    orders = [Stream({name: range(64)}, {name: 1.0}, runs=1, run_length=64, seed=0).at(0) for name in ("t2i", "i2t")]
    assert sorted(orders[0]) == sorted(orders[1]) == list(range(64)) and orders[0] != orders[1]


def test_runs_of_a_step_stand_in_no_fixed_order() -> None:
    one = Stream({"a": range(64), "b": range(64, 128)}, {"a": 1.0, "b": 1.0}, runs=4, run_length=4, seed=0)
    first = Counter(one.at(step)[0] // 64 for step in range(200))
    assert min(first.values()) > 60, "100 of either, five standard deviations are 35"
