"""The first candidates ranked anew: places worked out by hand, and a small benchmark with both rankings."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from eval import mmeb
from eval.measurement import ResultFolder
from eval.protocols import PROTOCOLS
from eval.reranking import RerankedSet, reranked_place
from eval.retrieval_set import retrieval_sets
from pipeline.sample import Side
from pipeline.templates import Instructions, Templates
from tests.eval.fakes import FakeModel, write_eval

POOL = np.array([0.5, 0.9, 0.7, 0.6, 0.4, 0.3], dtype=np.float32)
"""The right candidate is the fourth: 1, 2 and 3 are before it, 4 and 5 behind it."""


@pytest.mark.parametrize(
    ("top", "again", "expected"),
    [
        (3, {1: 0.1, 2: 0.2, 3: 0.3}, (3, 1)),  # the right one is not asked about, and keeps its place
        (4, {1: 0.9, 2: 0.2, 3: 0.8, 0: 0.5}, (2, 1)),
        (4, {1: 0.1, 2: 0.2, 3: 0.3, 0: 0.5}, (0, 1)),
        (4, {1: 0.5, 2: 0.2, 3: 0.3, 0: 0.5}, (1, 1)),  # level with what was before it: it stays behind
        (6, {1: 0.1, 2: 0.1, 3: 0.1, 0: 0.5, 4: 0.5, 5: 0.9}, (1, 1)),  # level with what was behind it: it stays before
        (6, {1: 0.1, 2: 0.7, 3: 0.1, 0: 0.5, 4: 0.6, 5: 0.9}, (3, 1)),
    ],
)
def test_a_ranking_worked_out_by_hand(top: int, again: dict[int, float], expected: tuple[int, int]) -> None:
    asked: list[list[int]] = []

    def rescored(places: list[int]) -> np.ndarray:
        asked.append(places)
        return np.array([again[place] for place in places], dtype=np.float32)

    assert reranked_place(POOL, top, rescored) == expected
    assert asked == ([[1, 2, 3, 0, 4, 5][:top]] if top > 3 else [])


def test_ties_of_embeddings_are_told_apart_by_the_reranker_alone() -> None:
    """One before it, and three level with it: it stands last of them."""
    scores = np.array([0.5, 0.5, 0.9, 0.5, 0.2], dtype=np.float32)
    said = np.array([0.1, 0.5, 0.5, 0.5], dtype=np.float32)  # of 2, 1, 3 and the right one
    assert reranked_place(scores, 4, lambda places: said) == (0, 3), "three with the same word stay tied"
    assert reranked_place(scores, 4, lambda places: said[::-1].copy()) == (3, 1)
    assert reranked_place(scores, 2, lambda places: said) == (2, 2), "one of the tie is in front, and one stays tied with it"
    assert reranked_place(np.full(9, 0.25, dtype=np.float32), 5, lambda places: said) == (5, 4), "collapsed embeddings"


@dataclass
class Knowing:
    """A reranker that likes a candidate which names the query's last word."""

    fingerprint: str = "knowing"
    asked: list[tuple[str, str]] = field(default_factory=list)
    templates: Templates = field(default_factory=Templates)

    def scores(self, pairs: Sequence[tuple[Side, Side]]) -> np.ndarray:
        self.asked += [(query.text.split()[-1], candidate.text) for query, candidate in pairs]
        return np.array([float(query.text.split()[-1] == candidate.text) for query, candidate in pairs], dtype=np.float32)


ANGLES = {"cat": 0.0, "dog": 0.2, "owl": 0.4, "fox": 0.6, "hen": 0.8}


def turned(side: Side) -> np.ndarray:
    """A candidate at its angle; a query at 0.05 less than the next one's: its right candidate is the second."""
    word = side.text.split()[-1]
    angle = ANGLES[word] + 0.15 * (" " in side.text)
    return np.array([np.cos(angle), np.sin(angle)])


@pytest.fixture
def data(tmp_path: Path) -> Path:
    words = list(ANGLES)
    rows = [
        (f"find the {word}", "", [word, *(other for other in words if other != word)], [""] * len(words)) for word in words[:4]
    ]
    write_eval(tmp_path, "Words", rows)
    return tmp_path


@pytest.mark.parametrize(("top", "value"), [(1, 0.0), (2, 1.0), (5, 1.0)])
@pytest.mark.parametrize("protocol", PROTOCOLS)
def test_both_rankings_stand_side_by_side(data: Path, tmp_path: Path, top: int, value: float, protocol: str) -> None:
    model, reranker, folder = FakeModel(embed_one=turned), Knowing(), ResultFolder(tmp_path / "out")
    sets = retrieval_sets(data, protocol=PROTOCOLS[protocol])
    again = [RerankedSet.of(each, reranker, top) for each in sets]
    assert mmeb.found_both(folder, sets, again, model.fingerprint) is None
    for each in (*sets, *again):
        folder.keep(each, each.measure(model, None, lambda *_: None))
    both = mmeb.found_both(folder, sets, again, model.fingerprint)
    assert both is not None and (both.top, both.reranker) == (top, "knowing")
    assert (both.embeddings.overall.value, both.reranked.overall.value) == (0.0, value)
    assert both.reranked.datasets[0].ranks.pool == (5, 5, 5, 5) and len(reranker.asked) == (4 * top if top > 1 else 0)
    assert both.reranked.overall.chance == both.embeddings.overall.chance == pytest.approx(1 / 5)
    lines = both.table().splitlines()
    assert lines[0].split()[:3] == ["dataset", "meta-task", "E"] and f"{100 * value:.1f}" in lines[1]
    other = [RerankedSet.of(each, Knowing(fingerprint="other"), top) for each in sets]
    assert mmeb.found_both(folder, sets, other, model.fingerprint) is None, "what another reranker said is not taken for its"


def test_files_of_both_and_those_of_the_embeddings_as_without(data: Path, tmp_path: Path) -> None:
    model = FakeModel(embed_one=turned)

    def measured(out: Path, *, reranks: bool) -> None:
        folder, sets = ResultFolder(out), retrieval_sets(data)
        again = [RerankedSet.of(each, Knowing(), 5) for each in sets] if reranks else []
        for each in (*sets, *again):
            folder.keep(each, each.measure(model, None, lambda *_: None))
        mmeb.tell(folder, sets, again, model.fingerprint, out)

    measured(tmp_path / "alone", reranks=False)
    measured(tmp_path / "both", reranks=True)
    for name in ("mmeb.json", "mmeb.parquet", "mmeb/Words.json"):
        assert (tmp_path / "alone" / name).read_bytes() == (tmp_path / "both" / name).read_bytes(), name
    found = json.loads((tmp_path / "both" / "mmeb-reranked.json").read_text())
    assert found["embeddings"]["groups"]["overall"]["value"] == 0.0 and found["reranked"]["groups"]["overall"]["value"] == 1.0
    table = pq.read_table(tmp_path / "both" / "mmeb-reranked.parquet").to_pydict()
    assert table["better"] == [1] * 4 and table["reranked_better"] == [0] * 4 and table["reranked_tied"] == [1] * 4


def test_embedder_and_reranker_each_read_a_set_in_their_own_words(data: Path) -> None:
    def told(words: str) -> Templates:
        return Templates(instructions=(Instructions(of="dataset.Words", query=f"{words}, query", candidate=f"{words}, word"),))

    class Seeing(Knowing):
        def scores(self, pairs: Sequence[tuple[Side, Side]]) -> np.ndarray:
            seen.update((query.instruction, candidate.instruction) for query, candidate in pairs)
            return super().scores(pairs)

    seen: set[tuple[str, str]] = set()
    model = FakeModel(embed_one=turned, templates=told("embed"))
    for each in retrieval_sets(data):
        RerankedSet.of(each, Seeing(templates=told("judge")), 5).measure(model, None, lambda *_: None)
    assert seen == {("judge, query\n", "judge, word\n")}
    assert {side.instruction for side in model.embedded} == {"embed, query\n", "embed, word\n"}
