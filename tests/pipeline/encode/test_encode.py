"""Embeddings stand in their sides' order, are made once, and are found again after any end."""

import os
import tempfile
import threading
import tracemalloc
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.data.keys import make_key
from pipeline.data.shards import ShardIndex
from pipeline.encode import encode as encode_module
from pipeline.encode import share as share_module
from pipeline.encode.encode import encode
from pipeline.encode.encoder import Reading
from pipeline.encode.ranks import Ranks
from pipeline.encode.scratch import scratch
from pipeline.encode.share import Encoding
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.sample import Sample, Side, Turn
from tests.eval.fakes import FakeModel, digest_vector, png
from tests.shards import write_shards

NUM = 60
SIDES = [Side(text=f"word {number} " * (1 + number % 7)) for number in range(NUM)]


def expected(sides: Sequence[Side]) -> np.ndarray:
    return np.stack([digest_vector(side) for side in sides]).astype(np.float32)


@pytest.fixture
def small_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    """Batches of at most five sides, each a block of its own."""
    monkeypatch.setattr("pipeline.encode.workload.BATCH_SIDES", 5)
    monkeypatch.setattr(share_module, "BLOCK_ROWS", 1)


def test_embeddings_stand_in_the_order_of_their_sides_and_are_made_once() -> None:
    words = ["a long text that comes first", "short", "", "a long text that comes first", "middling text"] * 40
    sides = [
        Side(text=f"{word} {number % 90}", images=(png((number, 0, 0)),) if number % 3 else ())
        for number, word in enumerate(words)
    ]
    model = FakeModel()
    assert np.array_equal(encode(model, sides, what="test"), expected(sides))
    assert len(model.embedded) == len(set(sides))


def test_what_is_said_counts_not_how_it_is_cut() -> None:
    model = FakeModel()
    sides = [Side(instruction="Find: ", text="x"), Side(text="Find: x"), Side(text="Find: x", turns=(Turn(question="q"),))]
    embeddings = encode(model, sides, what="test")
    assert len(model.embedded) == 1
    assert np.array_equal(embeddings[0], embeddings[2])


def test_every_picture_of_a_side_counts() -> None:
    first, second, third = (png((number, 0, 0)) for number in range(3))
    sides = [Side(text="x", images=images) for images in ((first,), (first, second), (first, third), (second, first))]
    assert np.array_equal(encode(FakeModel(), sides, what="test"), expected(sides))


def test_progress_ends_at_the_number_of_distinct_sides(small_batches: None) -> None:
    told: list[tuple[str, int, int]] = []
    sides = [Side(text=str(number % 12)) for number in range(30)]
    encode(FakeModel(), sides, what="set", progress=lambda *step: told.append(step))
    assert told == [("set", 5, 12), ("set", 10, 12), ("set", 12, 12)]


def test_a_broken_picture_is_named() -> None:
    with pytest.raises(DataError, match="not a JPEG or PNG"):
        encode(FakeModel(), [Side(images=(b"nothing",))], what="test")


def test_a_side_that_takes_long_is_said_and_not_cut(caplog: pytest.LogCaptureFixture) -> None:
    model, sides = FakeModel(), [Side(text="word " * 20_000), Side(text="short")]
    encode(model, sides, what="Birds")
    assert caplog.messages == ["Birds: nothing is cut, and 1 sides have up to about 25000 tokens"]
    assert {side.text for side in model.embedded} == {side.text for side in sides}
    caplog.clear()
    encode(model, sides[1:], what="Birds")
    assert caplog.messages == []


def test_a_second_run_calls_nothing_and_other_sides_of_it_only_what_is_new(tmp_path: Path) -> None:
    """The cache serves sides, not sets: in another order, twice, beside others."""
    how, first, again = Encoding(cache=tmp_path), FakeModel(), FakeModel()
    vectors = encode(first, SIDES, what="first", how=how)
    assert np.array_equal(encode(again, SIDES, what="again", how=how), vectors) and again.embedded == []
    others = [Side(text="new"), *reversed(SIDES), SIDES[0]]
    assert np.array_equal(encode(again, others, what="mined", how=how), expected(others))
    assert again.embedded == [Side(text="new")]


def test_another_model_is_asked_about_everything(tmp_path: Path) -> None:
    how, other = Encoding(cache=tmp_path), FakeModel(fingerprint="other", embed_one=lambda side: -digest_vector(side))
    encode(FakeModel(), SIDES, what="a", how=how)
    assert np.array_equal(encode(other, SIDES, what="b", how=how), -expected(SIDES))
    assert len(other.embedded) == NUM


def test_a_picture_that_is_shown_in_another_size_is_embedded_anew_and_nothing_else(tmp_path: Path) -> None:
    sides = [Side(text="x"), Side(text="x", images=(png((1, 1, 1), (30, 30)),)), Side(images=(png((1, 1, 1), (90, 30)),))]

    @dataclass(frozen=True)
    class Shrunk:
        longest: int

        def reading(self, side: Side) -> Reading:
            return Reading(tokens=1, shown=tuple((30, min(self.longest, 30 if side.text else 90)) for _ in side.images))

        def batch(self, sides: Sequence[Side]) -> list[Side]:
            return list(sides)

    how = Encoding(cache=tmp_path)
    encode(FakeModel(reader=Shrunk(90)), sides, what="a", how=how)
    model = FakeModel(reader=Shrunk(60))
    encode(model, sides, what="a", how=how)
    assert model.embedded == [sides[2]]


def files(folder: Path) -> list[Path]:
    return [path for path in folder.rglob("*") if path.is_file()]


@settings(max_examples=25, deadline=None)
@given(
    numbers=st.lists(st.integers(0, 30), min_size=1, max_size=60),
    kept=st.lists(st.integers(0, 30), max_size=40),
    part=st.integers(1, 9),
    in_memory=st.sampled_from((0, 1 << 28)),
)
def test_any_part_of_any_sides_may_be_kept(numbers: list[int], kept: list[int], part: int, in_memory: int) -> None:
    """Duplicates, nothing kept, all, a part; in parts of any size, in memory and on disk: each side has its own, by one call."""
    sides, before = ([Side(text=f"{number} {'x' * (3 * number)}") for number in each] for each in (numbers, kept))
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.setattr("pipeline.encode.scratch.PART_ROWS", part)
        patch.setattr("pipeline.encode.encode.IN_MEMORY_BYTES", in_memory)
        patch.setattr("pipeline.encode.workload.BATCH_SIDES", 4)
        patch.setattr(share_module, "BLOCK_ROWS", 6)
        patch.setitem(scratch.__kwdefaults__, "in_memory", in_memory)
        how, model = Encoding(cache=Path(folder)), FakeModel()
        if before:
            encode(FakeModel(), before, what="before", how=how)
        assert np.array_equal(encode(model, sides, what="all", how=how), expected(sides))
    assert sorted(side.text for side in model.embedded) == sorted({side.text for side in sides} - {side.text for side in before})


@pytest.mark.parametrize("moment", range(10))
def test_a_killed_run_goes_on_where_it_was(
    tmp_path: Path, small_batches: None, moment: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Killed in its n-th batch: the batches before it are not made again, and the outcome is the same bytes."""
    monkeypatch.setitem(scratch.__kwdefaults__, "in_memory", 0)
    how, whole = Encoding(cache=tmp_path / "killed"), encode(FakeModel(), SIDES, what="whole")
    child = os.fork()
    if not child:
        encode(Dying(moment, lambda: os._exit(9)), SIDES, what="killed", how=how)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    assert {path.name if path.suffix == ".json" else path.suffix for path in files(tmp_path)} <= {"encoder.json", ".block"}
    again = FakeModel()
    assert encode(again, SIDES, what="again", how=how).tobytes() == whole.tobytes()
    assert len(again.embedded) == NUM - 5 * moment


def test_an_interrupted_run_keeps_what_waited_to_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pipeline.encode.workload.BATCH_SIDES", 5)
    how, again = Encoding(cache=tmp_path), FakeModel()
    with pytest.raises(KeyboardInterrupt):
        encode(Dying(3, interrupt), SIDES, what="a", how=how)
    encode(again, SIDES, what="a", how=how)
    assert len(again.embedded) == NUM - 15


def interrupt() -> None:
    raise KeyboardInterrupt


class Dying(FakeModel):
    """Does something in the place of its n-th batch."""

    def __init__(self, moment: int, act: Callable[[], None]) -> None:
        super().__init__()
        self.left, self.act = moment, act

    def embed_batch(self, sides: Sequence[Side]) -> np.ndarray:
        if not self.left:
            self.act()
        self.left -= 1
        return super().embed_batch(sides)


def test_embeddings_that_are_not_finite_are_named_and_not_kept(tmp_path: Path) -> None:
    broken = FakeModel(embed_one=lambda side: np.full(4, np.nan))
    with pytest.raises(DataError, match="Birds: 60 embeddings are not finite"):
        encode(broken, SIDES, what="Birds", how=Encoding(cache=tmp_path))
    assert list(tmp_path.rglob("*.block")) == []


def test_batches_come_from_other_processes_in_their_order(small_batches: None) -> None:
    @dataclass(frozen=True)
    class Elsewhere:
        """Its batches tell which process made them."""

        def reading(self, side: Side) -> Reading:
            return Reading(tokens=len(side.text))

        def batch(self, sides: Sequence[Side]) -> list[Any]:
            if any(side.text == "broken" for side in sides):
                raise DataError("a picture to embed: broken")
            return [os.getpid(), *sides]

    @dataclass
    class Noting(FakeModel):
        makers: set[int] = field(default_factory=set)

        def embed_batch(self, sides: Sequence[Any]) -> np.ndarray:
            self.makers.add(sides[0])
            return super().embed_batch(sides[1:])

    model = Noting(reader=Elsewhere())
    assert np.array_equal(encode(model, SIDES, what="a", how=Encoding(workers=2)), expected(SIDES))
    assert len(model.makers) == 2 and os.getpid() not in model.makers
    with pytest.raises(DataError, match="a picture to embed: broken"):
        encode(model, [*SIDES, Side(text="broken")], what="a", how=Encoding(workers=2))


def test_sides_are_never_all_in_memory_and_many_vectors_are_mapped(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Drawn(Sequence[Side]):
        """Texts of 100,000 characters, made when asked for."""

        def __len__(self) -> int:
            return 400

        def __getitem__(self, number: Any) -> Side:
            return Side(text=f"{number:06d}" * 16_667)

    class Forgetful(FakeModel):
        def embed_batch(self, sides: Sequence[Side]) -> np.ndarray:
            return np.stack([np.full(64, int(side.text[:6])) for side in sides]).astype(np.float32)

    monkeypatch.setattr(encode_module, "IN_MEMORY_BYTES", 1000)
    monkeypatch.setattr(share_module, "LONG_TOKENS", 10**9)
    tracemalloc.start()
    vectors = encode(Forgetful(), Drawn(), what="a", how=Encoding(cache=tmp_path))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 10e6, "all texts would take 40 MB"
    assert isinstance(vectors, np.memmap)
    assert np.array_equal(vectors[:, 0], np.arange(400))


def test_shards_are_read_by_workers_as_sides_are_needed(tmp_path: Path, small_batches: None) -> None:
    """As mining asks for them: the handle of a tar is opened before the workers, and each reads at its own places."""
    samples = [
        Sample(key=make_key("set", n), dataset="set", query=Side(text=f"{n}"), positive=Side(images=(png((n, 0, 0)),)))
        for n in range(40)
    ]
    write_shards(samples, tmp_path, dataset="set", kind="pairs")
    index = ShardIndex.open(tmp_path)

    class Positives:
        def __len__(self) -> int:
            return len(index)

        def __getitem__(self, number: int, /) -> Side:
            positive = index.read(number).positive
            assert positive is not None
            return positive

    found = encode(FakeModel(), Positives(), what="set", how=Encoding(workers=2))
    assert np.array_equal(found, expected([index.read(number).positive for number in range(40)]))


class Threads:
    """Ranks as threads that meet at a barrier."""

    def __init__(self, count: int) -> None:
        self.barrier, self.values = threading.Barrier(count), [None] * count

    def of(self, rank: int) -> Ranks:
        meeting = self

        class Rank(Ranks):
            def gather(self, value: Any) -> list[Any]:
                meeting.values[rank] = value
                meeting.barrier.wait(30)
                found = list(meeting.values)
                meeting.barrier.wait(30)
                return found

        return Rank(rank=rank, count=len(self.values))


def together(models: Sequence[FakeModel], cache: Path, whats: Sequence[str]) -> list[Any]:
    """What each rank gets of `encode`: embeddings, or the error that it met."""
    meeting, outcomes = Threads(len(models)), list[Any]([None] * len(models))

    def run(rank: int) -> None:
        try:
            how = Encoding(cache=cache, ranks=meeting.of(rank))
            outcomes[rank] = encode(models[rank], SIDES, what=whats[rank], how=how)
        except PipelineError as error:
            outcomes[rank] = error

    threads = [threading.Thread(target=run, args=(rank,)) for rank in range(len(models))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    return outcomes


def test_ranks_share_the_work_by_cost_and_each_has_all_of_it(tmp_path: Path, small_batches: None) -> None:
    models = [FakeModel(), FakeModel(), FakeModel()]
    for found in together(models, tmp_path, ["a"] * 3):
        assert np.array_equal(found, expected(SIDES))
    costs = [sum(len(side.text) // 4 for side in model.embedded) for model in models]
    assert sum(len(model.embedded) for model in models) == NUM
    assert max(costs) - min(costs) < max(sum(len(side.text) // 4 for side in SIDES) / 8, 1)


def test_what_one_rank_meets_all_hear(tmp_path: Path, small_batches: None) -> None:
    broken = FakeModel(embed_one=lambda side: np.full(4, np.nan))
    outcomes = together([FakeModel(), broken], tmp_path, ["a", "a"])
    assert [str(outcome) for outcome in outcomes] == [str(outcomes[1])] * 2
    assert all(isinstance(outcome, DataError) and "not finite" in str(outcome) for outcome in outcomes)


def test_ranks_that_are_not_at_the_same_set_stop(tmp_path: Path) -> None:
    first, second = together([FakeModel(), FakeModel()], tmp_path, ["Birds", "Trees"])
    assert str(first).startswith("Birds: another rank encodes Trees") and isinstance(second, PipelineError)


def test_several_ranks_need_a_folder_that_they_share() -> None:
    with pytest.raises(ConfigError, match="cache: several processes"):
        Encoding(ranks=Ranks(rank=0, count=2))
