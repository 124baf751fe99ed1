"""The table of lengths against what training builds: which rows fit, and that the file is whole or absent."""

import json
import logging
import os
import signal
from dataclasses import replace
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest

import pipeline.train.dataloader.token_counts as measuring
from pipeline.batch import OUTSIDE, OWN
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.lock import hold
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.model.inputs import PixelLimits
from pipeline.recipe import Recipe
from pipeline.recipes import load
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder, native_layout
from pipeline.train.dataloader.lengths import Lengths, read_lengths, write_left_out
from pipeline.train.dataloader.plan import PlannedSide
from pipeline.train.dataloader.step_dataset import RowBuilder
from pipeline.train.dataloader.token_counts import (
    Ruler,
    ensure_lengths,
    measure,
    measure_parts,
    ruler_of,
    spare_processes,
    table_name,
)
from tests.faults import killed_with_a_lock
from tests.pipeline.corpus import MemoryIndex, corpus, picture


def silent(done: int, total: int) -> None:
    """Progress that nobody watches."""


@pytest.fixture
def ruler(builder: SequenceBuilder, recipe: Recipe) -> Ruler:
    return Ruler(builder=builder, pixels=recipe.pixels)


@pytest.fixture
def index() -> MemoryIndex:
    """The small corpus with hard negatives, a long one among them, and a row whose markers do not match its pictures."""
    rng = np.random.default_rng(5)
    samples = corpus().samples
    negatives = (Side(text="red"), Side(text="blue " * 600), Side(text="<|image_1|> star", images=(picture(rng, 84, 28),)))
    odd = Side(text="<|image_1|> <|image_2|>", images=(picture(rng),))
    return MemoryIndex(
        [
            replace(samples[0], negatives=negatives),
            *samples[1:],
            Sample(key="odd-0", dataset="odd", query=odd, positive=Side(text="red")),
        ]
    )


def table(index: MemoryIndex, ruler: Ruler, folder: Path) -> Lengths:
    return ensure_lengths(folder / "table.parquet", index, ruler, silent)  # type: ignore[arg-type]


def built_length(index: MemoryIndex, rows: RowBuilder, row: int, side_index: int) -> int | None:
    """Tokens of a side as training builds it, with its own turns; None where training refuses it."""
    sample = index.read(row)
    planned = PlannedSide(row=row, side_index=side_index, slot=-1, loss_group=OWN if sample.positive else OUTSIDE, asks=True)
    try:
        return len(rows.build(sample, planned, sample.sides[side_index].turns, step=0).sequence)
    except DataError:
        return None


def test_a_side_is_as_long_as_training_builds_it(index: MemoryIndex, ruler: Ruler, recipe: Recipe, tmp_path: Path) -> None:
    alike = recipe.with_phase(mixture=replace(recipe.phase.mixture, native_share=0.0))
    rows = RowBuilder(replace(alike, max_length=10**6), ruler.builder.vocabulary)
    lengths = table(index, ruler, tmp_path)
    for row in range(len(index) - 1):
        found = lengths.tokens[lengths.starts[row] : lengths.starts[row + 1]].tolist()
        assert found == [built_length(index, rows, row, side_index) for side_index in range(len(index.read(row).sides))]
    # 84 x 28 and 56 x 56 pixels are 3 and 4 visual tokens.
    assert lengths.visual[: lengths.starts[1]].tolist() == [4, 0, 0, 0, 3]


@pytest.mark.parametrize("cap", [24, 30, 33, 36, 40, 50, 60])
def test_a_row_fits_exactly_when_training_does_not_refuse_it(
    index: MemoryIndex, ruler: Ruler, recipe: Recipe, tmp_path: Path, cap: int
) -> None:
    alike = recipe.with_phase(mixture=replace(recipe.phase.mixture, native_share=0.0))
    rows = RowBuilder(replace(alike, max_length=cap), ruler.builder.vocabulary)
    expected = [
        all(built_length(index, rows, row, side_index) is not None for side_index in range(2 if index.read(row).positive else 1))
        for row in range(len(index))
    ]
    assert table(index, ruler, tmp_path).fits(cap).tolist() == expected


def test_what_is_left_out_is_listed_with_key_and_reason(index: MemoryIndex, ruler: Ruler, tmp_path: Path) -> None:
    lengths = table(index, ruler, tmp_path)
    assert write_left_out(tmp_path / "over.jsonl", tmp_path / "table.parquet", lengths, 512) == 2
    lines = [json.loads(line) for line in (tmp_path / "over.jsonl").read_text().splitlines()]
    assert [line["key"] for line in lines] == ["pictures-0", "odd-0"]
    needed = lengths.needed[3]
    assert lines[0]["reason"] == f"hard negative 2 needs {needed} tokens (the tower sees 0), more than max_length = 512"
    assert lines[1]["reason"] == "odd-0: 1 pictures but markers [1, 2]; mend the row or drop it"
    assert write_left_out(tmp_path / "none.jsonl", tmp_path / "table.parquet", table(corpus(), ruler, tmp_path / "b"), 512) == 0
    assert not (tmp_path / "none.jsonl").exists()


def test_a_conversation_needs_its_first_question_and_a_token_of_its_answer(ruler: Ruler, tmp_path: Path) -> None:
    turns = (Turn(question="what is the star", answer="red red red"), Turn(question="where " * 50, answer="left"))
    talk = MemoryIndex([Sample(key="talks-0", dataset="talks", query=Side(text="red star", turns=turns))])
    lengths = table(talk, ruler, tmp_path)
    context = len(ruler.builder.build(Side(text="red star"), np.zeros((0, 3))))
    assert lengths.needed.tolist() == [context + len(ruler.builder.question_ids("what is the star")) + 1]
    assert lengths.tokens[0] > lengths.needed[0] + 50


def test_a_conversation_read_natively_too_counts_in_its_longer_form(ruler: Ruler, recipe: Recipe, tmp_path: Path) -> None:
    """Behind a plain prompt, which has no system message, the native chat is the longer one."""
    plain = replace(load("crem_2b_retrieval"), max_length=recipe.max_length, pixels=recipe.pixels)
    vocabulary, turns = ruler.builder.vocabulary, (Turn(question="what is the star", answer="red red red"),)
    talk = MemoryIndex([Sample(key="talks-0", dataset="talks", query=Side(text="red star", turns=turns))])
    needed = {}
    for share in (0.0, 0.5):
        mixture = replace(plain.phase.mixture, native_share=share)
        shared = replace(plain, phases=(replace(plain.phase, mixture=mixture),))
        needed[share] = int(table(talk, ruler_of(shared, vocabulary), tmp_path / str(share)).needed[0])
    native = replace(ruler.builder, layout=native_layout(plain.phase.layout))
    by_hand = len(native.build(Side(text="red star"), np.zeros((0, 3)))) + len(native.question_ids("what is the star")) + 1
    assert needed[0.5] == by_hand > needed[0.0]
    assert ruler_of(recipe, vocabulary).native is None


def test_a_process_that_counts_keeps_no_folder_locked(index: MemoryIndex, ruler: Ruler, tmp_path: Path) -> None:
    def begin() -> object:
        pieces = measure(index, ruler, [range(73)], processes=1)  # type: ignore[arg-type]
        return pieces, next(pieces)

    left = killed_with_a_lock(tmp_path / ".measure.lock", begin)
    with (tmp_path / ".measure.lock").open("w") as lock:
        hold(lock, busy="the one that counts holds it")
    os.kill(left, signal.SIGKILL)


def test_several_processes_count_the_same(index: MemoryIndex, ruler: Ruler, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(measuring, "PIECE_ROWS", 10)
    alone, together = ([*measure(index, ruler, [range(73)], processes=count)] for count in (0, 2))  # type: ignore[arg-type]
    assert alone == together and [len(piece) for piece in alone] == [10] * 7 + [3]
    monkeypatch.setattr(measuring.os, "sched_getaffinity", lambda process: set(range(8)))
    assert [spare_processes(rows) for rows in (14_000, 39_999, 60_000, 1_100_000)] == [0, 0, 3, 8]


def test_a_table_appears_whole_or_not_at_all(
    index: MemoryIndex, ruler: Ruler, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(measuring, "PIECE_ROWS", 10)
    path = tmp_path / "table.parquet"

    def stop(done: int, total: int) -> None:
        if done > 30:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ensure_lengths(path, index, ruler, stop)  # type: ignore[arg-type]
    assert not path.exists() and list((tmp_path / "table.parts").iterdir()) == []
    whole = table(index, ruler, tmp_path)
    monkeypatch.setattr(measuring, "measure", lambda *given, **named: pytest.fail("counted again"))
    assert table(index, ruler, tmp_path).tokens.tolist() == whole.tokens.tolist()
    monkeypatch.undo()
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(DataError, match=r"table.parquet: is missing or damaged"):
        read_lengths(path, len(index))
    with caplog.at_level(logging.WARNING):
        assert table(index, ruler, tmp_path).tokens.tolist() == whole.tokens.tolist()
    assert "is missing or damaged" in caplog.text
    with pytest.raises(DataError, match="has 73 rows and the shards have 5"):
        read_lengths(path, 5)


class Counted(Ruler):
    """Counts the rows that it is asked for."""

    rows: ClassVar[list[int]] = []

    def row(self, index: ShardIndex, row: int) -> dict[str, Any]:
        self.rows.append(row)
        return super().row(index, row)


@pytest.fixture
def counted(ruler: Ruler, monkeypatch: pytest.MonkeyPatch) -> Counted:
    """Parts of 20 rows, counted in pieces of 10."""
    monkeypatch.setattr(measuring, "PIECE_ROWS", 10)
    monkeypatch.setattr(measuring, "PART_ROWS", 20)
    monkeypatch.setattr(Counted, "rows", [])
    return Counted(builder=ruler.builder, pixels=ruler.pixels)


def equal(one: Lengths, other: Lengths) -> bool:
    names = ("starts", "tokens", "needed", "visual")
    return one.problems == other.problems and all(np.array_equal(getattr(one, n), getattr(other, n)) for n in names)


def test_a_killed_count_goes_on_with_the_parts_that_are_missing(
    index: MemoryIndex, ruler: Ruler, counted: Counted, tmp_path: Path
) -> None:
    """Killed after 50 of 73 rows, in the third part: 40 are kept; a part that is damaged since is counted again."""
    whole, path = table(index, ruler, tmp_path / "whole"), tmp_path / "table.parquet"

    def killed(done: int, total: int) -> None:
        if done == 50:
            os.kill(os.getpid(), signal.SIGKILL)

    pid = os.fork()
    if not pid:
        ensure_lengths(path, index, counted, killed)  # type: ignore[arg-type]
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]) == -signal.SIGKILL
    assert not path.exists()
    first = tmp_path / "table.parts" / "000000000-000000020.parquet"
    first.write_bytes(first.read_bytes()[:-9])
    seen: list[tuple[int, int]] = []
    found = ensure_lengths(path, index, counted, lambda done, total: seen.append((done, total)))  # type: ignore[arg-type]
    assert equal(found, whole) and counted.rows == [*range(20), *range(40, 73)]
    assert seen[0] == (30, 73) and seen[-1] == (73, 73)
    assert sorted(file.name for file in tmp_path.iterdir()) == ["table.parquet", "whole"]


def test_slices_are_one_table(index: MemoryIndex, ruler: Ruler, counted: Counted, tmp_path: Path) -> None:
    """Slices 0 and 2 of three count parts 0, 3 and 2; what is missing is counted with the whole."""
    whole, path = table(index, ruler, tmp_path / "whole"), tmp_path / "table.parquet"
    for part, rows in ((0, 33), (2, 20), (0, 0)):
        assert measure_parts(path, index, counted, silent, slice_index=part, num_slices=3) == rows  # type: ignore[arg-type]
    assert counted.rows == [*range(20), *range(60, 73), *range(40, 60)] and not path.exists()
    assert equal(table(index, counted, tmp_path), whole) and counted.rows[53:] == [*range(20, 40)]
    assert measure_parts(path, index, counted, silent, slice_index=1, num_slices=3) == 0  # type: ignore[arg-type]
    assert not (tmp_path / "table.parts").exists()


def test_the_table_belongs_to_shards_tokenizer_layout_and_pixels(
    index: MemoryIndex, ruler: Ruler, loaded: tuple[Embedder, Folder], tmp_path: Path
) -> None:
    model = loaded[1].path

    def name(index: Any = index, ruler: Ruler = ruler, model: Path = model) -> str:
        return table_name(index, ruler, model)

    other_shards = corpus()
    other_shards.fingerprint = "other"  # type: ignore[misc]
    (tmp_path / "tokenizer.json").write_text("{}")
    builder = ruler.builder
    no_questions = replace(builder.layout, order=builder.layout.order[:3], hidden=())
    fewer = replace(builder, vocabulary=replace(builder.vocabulary, chorus=builder.vocabulary.chorus[:2]))
    names = {
        name(),
        name(index=other_shards),
        name(model=tmp_path),
        name(ruler=replace(ruler, pixels=PixelLimits(min_tokens=1, max_tokens=17))),
        name(ruler=replace(ruler, builder=replace(builder, layout=no_questions))),
        name(ruler=replace(ruler, builder=fewer)),
    }
    assert len(names) == 6
    assert name(ruler=replace(ruler, builder=replace(builder, max_length=77))) == name(), "the cap is no part of it"
    shown = replace(builder.layout, hidden=(), gate_probability=0.3)
    assert name(ruler=replace(ruler, builder=replace(builder, layout=shown))) == name(), "nor is what is hidden"
