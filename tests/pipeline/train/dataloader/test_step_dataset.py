"""What a step reads does not depend on ranks or workers; questions that do not fit are left out, not the pair."""

import contextlib
from dataclasses import replace
from typing import Any
from unittest import mock

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from pipeline.batch import OUTSIDE, Row
from pipeline.data.references import References
from pipeline.data.sampler import Draw
from pipeline.errors import ConfigError, DataError
from pipeline.negatives import InFile, Mined
from pipeline.recipe import Recipe
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, Vocabulary
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.step_dataset import RowBuilder, StepDataset, side_digest
from tests.pipeline.corpus import corpus, measured, small_recipe, variant


@pytest.fixture
def vocabulary(builder: SequenceBuilder) -> Vocabulary:
    return builder.vocabulary


def dataset(recipe: Recipe, vocabulary: Vocabulary, rank: int = 0, num_ranks: int = 1) -> StepDataset:
    read = measured(corpus(), recipe, vocabulary)
    return StepDataset(read, recipe, vocabulary, rank=rank, num_ranks=num_ranks)


@pytest.mark.parametrize("num_ranks", [2, 3, 7])
def test_ranks_share_out_what_one_rank_would_read(vocabulary: Vocabulary, num_ranks: int) -> None:
    recipe = small_recipe(chunk_tokens=1)
    for step in (0, 3):
        whole = dataset(recipe, vocabulary).work(dataset(recipe, vocabulary).draw(step), step)
        parts = [dataset(recipe, vocabulary, rank, num_ranks)[step] for rank in range(num_ranks)]
        assert whole.items.tolist() == torch.stack([part.items for part in parts]).sum(dim=0).tolist()  # type: ignore[union-attr]
        assert whole.units.tolist() == torch.stack([part.units for part in parts]).sum(dim=0).tolist()  # type: ignore[union-attr]
        rows = [chunk.full.input_ids.tolist() for part in parts for chunk in part.chunks]  # type: ignore[union-attr]
        assert sorted(rows) == sorted(chunk.full.input_ids.tolist() for chunk in whole.chunks), "a row is a chunk here"


def test_weights_and_the_cap_decide_how_often_a_dataset_is_drawn(vocabulary: Vocabulary) -> None:
    """Both datasets have more than 8 rows to train on: capped at 8 and weighed 3 to 1, the first gets three runs of four."""
    mixture = replace(small_recipe().phase.mixture, pairs=4, cap=8, weights=(("pictures", 3.0),))
    one = dataset(small_recipe(mixture=mixture), vocabulary)
    runs = [{one.corpus.index.info(row).dataset for row in one.draw(step).pairs} for step in range(800)]
    assert all(len(datasets) == 1 for datasets in runs)
    assert abs(sum(datasets == {"pictures"} for datasets in runs) / 800 - 0.75) < 0.08


def test_a_resumed_run_begins_with_one_cheap_row_the_same_on_every_rank(vocabulary: Vocabulary) -> None:
    """A whole step for it would be read, decoded and packed by every rank."""
    ranks = [dataset(small_recipe(), vocabulary, rank, 2) for rank in range(2)]
    with mock.patch.object(RowBuilder, "build", autospec=True, side_effect=RowBuilder.build) as built:
        found = [one.dummy() for one in ranks]
    assert built.call_count == 2
    assert found[0].input_ids.tolist() == found[1].input_ids.tolist() and not found[0].pixels
    assert len(found[0].input_ids) == min(len(row.sequence) for row in ranks[0].global_rows(ranks[0].draw(0), 0))


def test_a_resumed_run_passes_over_rows_that_cannot_be_read(vocabulary: Vocabulary) -> None:
    one = dataset(small_recipe(), vocabulary)
    first = one.dummy()
    take, unread = RowBuilder.build, []

    def build(builder: RowBuilder, *given: Any, **named: Any) -> Any:
        if not unread:
            unread.append(given)
            raise DataError("no picture")
        return take(builder, *given, **named)

    with mock.patch.object(RowBuilder, "build", build):
        assert one.dummy().input_ids.tolist() != first.input_ids.tolist()
    with (
        mock.patch.object(RowBuilder, "build", side_effect=DataError("no picture")),
        pytest.raises(DataError, match="no picture"),
    ):
        one.dummy()


@pytest.mark.parametrize("num_workers", [1, 2])
def test_workers_do_not_change_what_is_read(vocabulary: Vocabulary, num_workers: int) -> None:
    one = dataset(small_recipe(), vocabulary)
    loader = DataLoader(one, batch_size=None, sampler=range(2, 6), num_workers=num_workers)
    for step, work in zip(range(2, 6), loader, strict=True):
        expected = one[step]
        assert work.items.tolist() == expected.items.tolist()  # type: ignore[union-attr]
        for found, chunk in zip(work.chunks, expected.chunks, strict=True):  # type: ignore[union-attr]
            assert torch.equal(found.full.input_ids, chunk.full.input_ids)


def held_out_rows(one: StepDataset) -> list[Row]:
    return one.global_rows(one.held_out, HELD_OUT)


def test_views_change_from_step_to_step_but_not_the_size_or_what_is_held_out(vocabulary: Vocabulary) -> None:
    recipe = small_recipe(mixture=replace(small_recipe().phase.mixture, least_view=0.5))
    one, whole = dataset(recipe, vocabulary), dataset(small_recipe(), vocabulary)
    draw = one.draw(3)
    seen, later, all_of_it = (rows.global_rows(draw, step) for rows, step in ((one, 3), (one, 4), (whole, 3)))
    shown = [rows for rows in zip(seen, later, all_of_it, strict=True) if rows[0].pixels]
    assert shown
    for rows in shown:
        assert len({tuple(picture.shape for picture in row.pixels) for row in rows}) == 1
        assert len({row.pixels[0].tobytes() for row in rows}) == 3
    assert all(
        np.array_equal(one_pixels, two_pixels)
        for again in (one, whole)
        for row, other in zip(held_out_rows(again), held_out_rows(whole), strict=True)
        for one_pixels, two_pixels in zip(row.pixels, other.pixels, strict=True)
    )


def test_the_dearest_rows_go_to_different_ranks(vocabulary: Vocabulary) -> None:
    """By the table's counts: no rank has more than its share and the dearest row."""
    recipe = small_recipe()
    one = dataset(recipe, vocabulary)
    lengths = one.corpus.lengths
    for planned in one.plan(one.draw(0), 0).sides:
        side = lengths.starts[planned.row] + planned.side_index
        assert lengths.cost(planned.row, planned.side_index) == lengths.tokens[side] + lengths.visual[side]
    tokens = [dataset(recipe, vocabulary, rank, 2)[0].num_tokens for rank in range(2)]  # type: ignore[union-attr]
    assert abs(tokens[0] - tokens[1]) < 0.1 * sum(tokens)


def test_hard_negatives_are_those_of_the_pairs_that_are_drawn(vocabulary: Vocabulary) -> None:
    recipe = variant("together").with_phase(negatives=InFile(most=2))
    one = dataset(recipe, vocabulary)
    for step in range(4):
        draw = one.draw(step)
        samples = [one.corpus.index.read(row) for row in draw.pairs]
        sides = [s.query for s in samples] + [s.positive for s in samples] + [n for s in samples for n in s.negatives[:2]]
        assert one.work(draw, step).items.tolist() == [side_digest(side) for side in sides]  # type: ignore[arg-type]
        hard = [row for row in one.global_rows(draw, step) if row.slot >= 2 * len(draw.pairs)]
        assert not any(row.num_scored for row in hard)


def test_rows_of_a_step_toss_their_own_coins_and_draw_their_own_masks(vocabulary: Vocabulary) -> None:
    """A coin for each row and step: none for a whole step, a side or a row for ever. 24 rows of probability 1/2."""
    one = dataset(small_recipe(), vocabulary)
    draw, places = one.draw(0), []
    for step in range(40):
        rows = [row for row in one.global_rows(draw, step) if row.slot >= 0]
        assert len({row.noise[1] for row in rows}) == len(rows) and len({row.noise[0] for row in rows}) == 1
        places.append([row.compressed for row in sorted(rows, key=lambda row: row.slot)])
    tosses = np.array(places)
    for axis in (0, 1):  # of a row over steps, and of a step over rows
        shares = tosses.mean(axis=axis)
        assert shares.min() > 0.05 and shares.max() < 0.95, "five standard deviations of 40 tosses are 0.4"
    queries, positives = np.split(tosses, 2, axis=1)
    assert abs((queries == positives).mean() - 0.5) < 0.15, "320 pairs of tosses"


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_so_many_conversations_are_read_natively_and_never_compressed(vocabulary: Vocabulary, share: float) -> None:
    """80 conversations: a native one has no compression tokens, so nothing to hide its context behind; pairs always have them."""
    one = dataset(small_recipe(mixture=replace(small_recipe().phase.mixture, native_share=share)), vocabulary)
    rows = [row for step in range(20) for row in one.global_rows(one.draw(step), step)]
    assert all(row.has_compression for row in rows if row.slot >= 0)
    talks = [row for row in rows if row.loss_group == OUTSIDE]
    native = [row for row in talks if not row.has_compression]
    assert len(talks) == 80 and abs(len(native) - share * 80) <= 5 * (share * (1 - share) * 80) ** 0.5
    assert not any(row.compressed for row in native)
    others = [row.compressed for row in talks if row.has_compression]
    assert not others or 0 < sum(others) < len(others)


def test_an_item_is_told_by_instruction_text_and_pictures() -> None:
    sides = [
        Side(text="ab"), Side(instruction="a", text="b"), Side(instruction="ab"), Side(text="ab", images=(b"x",)),
        Side(text="ab", images=(b"y",)), Side(text="ab", images=(b"x", b"y")), Side(text="ab", images=(b"y", b"x")),
        Side(text="ab", images=(b"xy",)),
    ]  # fmt: skip
    assert len({side_digest(side) for side in sides}) == len(sides)
    assert side_digest(Side(text="ab")) == side_digest(Side(text="ab", turns=(Turn(question="q", answer="a"),)))


def test_the_dummy_batch_is_small_and_without_pictures(vocabulary: Vocabulary) -> None:
    work = dataset(small_recipe(chunk_tokens=1), vocabulary)[0]
    lengths = [len(chunk.full.input_ids) for chunk in work.chunks if not len(chunk.full.grid_thw)]  # type: ignore[union-attr]
    assert len(work.dummy.input_ids) == min(lengths) and not len(work.dummy.grid_thw)  # type: ignore[union-attr]


class LongQa:
    """Asks queries a question of so many words, and positives a short one."""

    fingerprint = "long"

    def __init__(self, words: int) -> None:
        self.words = words

    def turns(self, dataset: str, key: str, side: str) -> tuple[Turn, ...]:
        return (Turn(question="red " * (self.words if side == "query" else 1), answer="blue"),)


def test_a_question_that_does_not_fit_leaves_the_pair_in(vocabulary: Vocabulary) -> None:
    recipe, draw = small_recipe(), Draw(pairs=(24,), outside=())
    read = measured(corpus(), recipe, vocabulary)
    for words, asked in ((5, True), (600, False)):
        asking = replace(read, qa=LongQa(words))  # type: ignore[arg-type]
        one = StepDataset(asking, recipe, vocabulary)
        query, positive = one.global_rows(draw, 0)
        assert one.work(draw, 0).num_cut == int(not asked), "counted among the cut answers"
        assert (query.num_scored > 0, query.sequence.cut, query.slot) == (asked, not asked, 0)
        assert positive.num_scored and not positive.sequence.cut


def test_a_question_has_room_exactly_when_it_can_be_built(vocabulary: Vocabulary, builder: SequenceBuilder) -> None:
    recipe = replace(small_recipe(), max_length=100)
    rows, capped = RowBuilder(recipe, vocabulary), replace(builder, max_length=100)
    context = len(capped.build(Side(text="red star"), np.zeros((0, 3))))
    can_be_built = []
    for words in range(60):
        turn = Turn(question="red " * words, answer="blue")
        with contextlib.suppress(DataError):
            capped.build(Side(text="red star"), np.zeros((0, 3)), (turn,))
            can_be_built.append(words)
        assert rows.has_room(turn, context) == (words in can_be_built)
    assert 5 < len(can_be_built) < 60


def test_fewer_rows_than_processes_are_refused(vocabulary: Vocabulary) -> None:
    with pytest.raises(ConfigError, match="mixture: a step of 20 rows is less than one for each of 21 processes"):
        dataset(small_recipe(), vocabulary, 0, 21)


@pytest.mark.parametrize("gate", [0.0, 0.3, 1.0])
def test_one_coin_gates_all_hidden_pairs_of_a_sequence(vocabulary: Vocabulary, gate: float) -> None:
    """Of 720 coins, the share of compressed rows is within 4 deviations of the gate; a layout that hides nothing has none."""
    base, plain = small_recipe().phase.layout, replace(small_recipe().phase.mixture, native_share=0.0)
    recipe = small_recipe(mixture=plain).with_phase(layout=replace(base, hidden=base.hidden * 2, gate_probability=gate))
    one = dataset(recipe, vocabulary)
    rows = [row for step in range(36) for row in one.global_rows(one.draw(0), step)]
    assert len(rows) == 720 and abs(np.mean([row.compressed for row in rows]) - gate) <= 4 * (gate * (1 - gate) / 720) ** 0.5
    nothing = dataset(recipe.with_phase(layout=replace(recipe.phase.layout, hidden=())), vocabulary)
    assert not any(row.compressed for row in nothing.global_rows(nothing.draw(0), 0))


def test_mined_negatives_are_the_sides_that_references_name(vocabulary: Vocabulary) -> None:
    """Each pair has the positive of the next row of its dataset; so many owners as pairs, in their order."""
    recipe = variant("retrieval").with_phase(negatives=Mined(most=1))
    read = measured(corpus(), recipe, vocabulary)
    pairs = [rows for name, rows in read.index.datasets.items() if read.index.kind(name) == "pairs"]
    following = {row: rows[(place + 1) % len(rows)] for rows in pairs for place, row in enumerate(rows)}
    num_rows = len(read.index)
    starts = np.concatenate([[0], np.cumsum([row in following for row in range(num_rows)])])
    rows = np.array([following[row] for row in range(num_rows) if row in following])
    found = replace(read, references=References(starts=starts, rows=rows, sides=np.ones_like(rows)))
    one = StepDataset(found, recipe, vocabulary)
    for step in range(3):
        draw = one.draw(step)
        work = one.work(draw, step)
        wanted = [
            (number, side_digest(read.index.read(following[row]).positive))  # type: ignore[arg-type]
            for number, row in enumerate(draw.pairs)
            if following[row] not in one.held_out.pairs
        ]
        hard = work.items.tolist()[2 * len(draw.pairs) :]
        assert list(zip(work.owners.tolist(), hard, strict=True)) == wanted and wanted
