"""Mined negatives on a corpus small enough to work out by hand, and killed at every block."""

import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from data_prep.negatives import mining, nearest
from data_prep.negatives.candidates import Candidates, Pairs, bare_digest, embedded_digest
from data_prep.negatives.mining import Dataset, Window, mine
from pipeline.data.keys import make_key
from pipeline.data.references import read_references, references_file
from pipeline.data.shards import ShardIndex
from pipeline.encode.ranks import Ranks
from pipeline.sample import Sample, Side
from pipeline.templates import Instructions, Templates
from tests.shards import write_shards

ALL = Window(first=1, last=10_000, most=10_000, seed=0)


def pairs(queries: list[Side], positives: list[Side]) -> Pairs:
    return Pairs(
        rows=np.arange(len(queries)) + 100,
        query=np.array([embedded_digest(side) for side in queries]),
        query_bare=np.array([bare_digest(side) for side in queries]),
        positive=np.array([embedded_digest(side) for side in positives]),
        positive_bare=np.array([bare_digest(side) for side in positives]),
    )


def test_what_is_a_candidate_and_what_has_no_rank() -> None:
    """Five pairs. Two ask the same and have two golds; a label occurs twice, once in other words; a picture is its own query."""
    ask, show = Side(instruction="Find it: ", text="a cat"), Side(instruction="Same view: ", images=(b"x",))
    queries = [ask, ask, Side(text="a dog"), show, Side(text="a bird")]
    positives = [
        Side(text="cat"),
        Side(text="kitten"),
        Side(text="dog"),
        Side(text="<|image_1|> ", images=(b"y",)),
        Side(instruction="A picture: ", text="<|image_1|>", images=(b"x",)),
    ]
    queries.append(Side(text="a puppy"))
    positives.append(Side(instruction="Represent: ", text=" dog "))
    found = Candidates.of(pairs(queries, positives))
    assert found.query_of.tolist() == [0, 0, 1, 2, 3, 4]
    assert found.query_rows.tolist() == [100, 102, 103, 104, 105]
    assert found.candidate_rows.tolist() == [100, 101, 102, 103, 104, 105]
    starts = found.excluded.starts
    without_rank = [sorted(found.excluded.candidates[starts[query] : starts[query + 1]].tolist()) for query in range(5)]
    assert without_rank == [
        [0, 1],  # both golds of the same query
        [2, 5],  # its gold, and the same word asked for in another way
        [3, 4],  # its gold, and its own picture
        [4],
        [2, 5],
    ]


def test_queries_that_are_worded_the_same_are_one(tmp_path: Path) -> None:
    """Rows whose own instructions differ; without templates they are three."""
    samples = [
        Sample(
            key=make_key("a", at),
            dataset="a",
            query=Side(instruction=f"In {at} words: ", text="what"),
            positive=Side(text=f"{at}"),
        )
        for at in range(3)
    ]
    write_shards(samples, tmp_path, dataset="a", kind="pairs")
    index, told = ShardIndex.open(tmp_path), Instructions(of="default", query="answer", candidate="an answer")
    for templates, count in ((Templates(), 3), (Templates(instructions=(told,)), 1)):
        found = Candidates.of(Pairs.read(index, "a", lambda done: None, templates))
        assert (len(found.query_rows), len(found.candidate_rows)) == (count, 3)


def dataset(num_pairs: int = 30, num_labels: int = 11, seed: int = 0) -> Dataset:
    """Pairs of a few labels; embeddings of whole numbers, so that many products are equal."""
    random = np.random.default_rng(seed)
    labels = random.integers(0, num_labels, num_pairs)
    asked = random.integers(0, 20, num_pairs)
    own = pairs([Side(text=f"query {number}") for number in asked], [Side(text=f"label {label}") for label in labels])
    found = Candidates.of(own)
    return Dataset(
        name="Toy",
        made_of=f"seed {seed}",
        sources=np.arange(num_pairs) * 3,
        keys=[f"toy-{3 * row:08d}" for row in range(num_pairs)],
        candidates=found,
        candidate_sources=(found.candidate_rows - 100) * 3,
        query_embeddings=random.integers(-2, 3, (len(found.query_rows), 4)).astype(np.float32),
        candidate_embeddings=random.integers(-2, 3, (len(found.candidate_rows), 4)).astype(np.float32),
    )


def brute(given: Dataset) -> list[tuple[int, int, int, float]]:
    """(row, rank, candidate, similarity) of all candidates of all pairs, from the definition."""
    rows = []
    excluded = given.candidates.excluded
    for pair, source in enumerate(given.sources.tolist()):
        query = int(given.candidates.query_of[pair])
        hidden = excluded.candidates[excluded.starts[query] : excluded.starts[query + 1]].tolist()
        products = given.candidate_embeddings @ given.query_embeddings[query]
        order = [number for number in np.lexsort((np.arange(len(products)), -products)).tolist() if number not in hidden]
        for rank, number in enumerate(order, start=1):
            rows.append((source, rank, int(given.candidate_sources[number]), float(products[number])))
    return rows


def mined(out: Path, given: Dataset, window: Window) -> list[tuple[int, int, int, float]]:
    mine(out, given, window)
    table = read_references(references_file(out, "Toy")).to_pydict()
    assert set(table["side"]) <= {1}
    return list(zip(table["row"], table["rank"], table["candidate"], table["similarity"], strict=True))


def test_mining_equals_brute_force(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 4)
    monkeypatch.setattr(nearest, "CANDIDATE_BLOCK", 3)
    given = dataset()
    assert mined(tmp_path, given, ALL) == brute(given)


def test_a_window_holds_its_ranks_alone_and_no_more_than_asked_for(tmp_path: Path) -> None:
    given = dataset()
    every = {(row, rank): rest for row, rank, *rest in brute(given)}
    found = mined(tmp_path, given, Window(first=3, last=6, most=2, seed=5))
    assert all(3 <= rank <= 6 and every[row, rank] == [candidate, value] for row, rank, candidate, value in found)
    counts = np.bincount([row // 3 for row, *_ in found], minlength=30)
    assert (counts == 2).all()
    assert {rank for _, rank, *_ in found} == {3, 4, 5, 6}, "all of the window are drawn by some pair"
    assert found != mined(tmp_path / "other", given, Window(first=3, last=6, most=2, seed=6))


def test_a_pair_with_few_candidates_has_what_there_is(tmp_path: Path) -> None:
    given = dataset(num_labels=3)
    ranks = [rank for _, rank, *_ in mined(tmp_path, given, Window(first=2, last=6, most=4, seed=0))]
    assert set(ranks) == {2}, "of three labels one is the gold"
    assert mined(tmp_path / "none", given, Window(first=50, last=100, most=2, seed=0)) == []


@pytest.mark.parametrize("killed_after", range(10))
def test_killed_mining_goes_on_and_gives_the_same_bytes(
    killed_after: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Stopped after each of ten blocks: those that are done are not ranked again."""
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 1)
    given, window = dataset(), Window(first=1, last=6, most=3, seed=1)
    ranked: list[slice] = []
    whole = mining.nearest

    def counted(*args: object, **words: object) -> object:
        ranked.append(args[3])  # type: ignore[arg-type]
        return whole(*args, **words)  # type: ignore[arg-type]

    monkeypatch.setattr(mining, "nearest", counted)
    mine(tmp_path / "whole", given, window)
    blocks = len(ranked)
    ranked.clear()

    def die(done: int, total: int) -> None:
        if done == killed_after + 1:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine(tmp_path / "killed", given, window, done=die)
    mine(tmp_path / "killed", given, window)
    assert len(ranked) == blocks and len(set(map(str, ranked))) == blocks > 10
    mine(tmp_path / "killed", given, window)
    assert len(ranked) == blocks, "a dataset that is done is not mined again"
    one, other = (references_file(tmp_path / name, "Toy").read_bytes() for name in ("whole", "killed"))
    assert one == other


@dataclass(frozen=True, kw_only=True)
class ThreadRanks(Ranks):
    """Ranks that are threads of this process."""

    meeting: threading.Barrier
    told: list[object]

    def gather(self, value: object) -> list[object]:  # type: ignore[override]
        self.told[self.rank] = value
        self.meeting.wait(60)
        found = list(self.told)
        self.meeting.wait(60)
        return found


def together(out: Path, count: int, given: Dataset, window: Window) -> None:
    """Mine by so many ranks."""
    meeting, told = threading.Barrier(count), [None] * count

    def work(rank: int) -> None:
        mine(out, given, window, ranks=ThreadRanks(rank=rank, count=count, meeting=meeting, told=told))  # type: ignore[arg-type]

    with ThreadPoolExecutor(count) as pool:
        list(pool.map(work, range(count)))


@pytest.mark.parametrize("count", [2, 3])
def test_ranks_share_the_blocks_and_write_the_bytes_of_one(count: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where one was killed in the middle, and others, more or fewer, go on."""
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 2)
    given, window = dataset(), Window(first=1, last=6, most=3, seed=1)
    by: Counter[int] = Counter()
    whole = mining.nearest

    def counted(*args: object, **words: object) -> object:
        by[threading.get_ident()] += 1
        return whole(*args, **words)  # type: ignore[arg-type]

    mine(tmp_path / "one", given, window)
    monkeypatch.setattr(mining, "nearest", counted)
    together(tmp_path / "many", count, given, window)
    blocks = len(nearest.query_blocks(len(given.query_embeddings)))
    assert sum(by.values()) == blocks and len(by) == count and max(by.values()) - min(by.values()) <= 1
    by.clear()

    def die(done: int, total: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mine(tmp_path / "killed", given, window, done=die)
    together(tmp_path / "killed", count, given, window)
    assert sum(by.values()) == blocks, "what was ranked before is not ranked again"
    files = [references_file(tmp_path / name, "Toy").read_bytes() for name in ("one", "many", "killed")]
    assert files[0] == files[1] == files[2]


def test_blocks_of_another_model_are_not_gone_on_with(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(nearest, "QUERY_BLOCK", 3)

    def die(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    for given in (dataset(seed=0), dataset(seed=1)):
        with pytest.raises(KeyboardInterrupt):
            mine(tmp_path, given, ALL, done=die)
    assert mined(tmp_path, dataset(seed=1), ALL) == brute(dataset(seed=1))
