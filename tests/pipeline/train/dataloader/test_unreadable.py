"""A row that cannot be read is left out of its step: on all ranks, in every pass, and named; too many end the run."""

import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from pipeline.batch import pack
from pipeline.errors import DataError
from pipeline.train.build import build_embedder, chorus_ids
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.unreadable import Unreadable, UnreadableRows
from tests.pipeline.corpus import MemoryIndex, corpus, measured, small_recipe
from tests.pipeline.train.conftest import Forked
from tests.pipeline.train.ranks import make, step_gradients
from tests.pipeline.train.test_loop import corpus_in_memory, figures, run  # noqa: F401
from tests.pipeline.train.test_step import worst


def keys_of_step(folder: Path, step: int = 0) -> tuple[str, ...]:
    """A pair with a picture, if a step reads one (the first does), and a conversation."""
    recipe = small_recipe()
    _, dataset = make(folder, recipe)
    draw = dataset.draw(step)
    pairs = [row for row in draw.pairs if dataset.corpus.index.info(row).dataset == "pictures"]
    return tuple(dataset.corpus.index.info(row).key for row in (*pairs[:1], draw.outside[0]))


def plain_gradients(folder: Path, pair: str, talk: str) -> dict[str, torch.Tensor]:
    """The full batch's in one graph: the contrastive loss without the pair, the other without its query and the conversation."""
    recipe = small_recipe()
    embedder, opened = build_embedder(folder, recipe, dtype=torch.float32)
    vocabulary = opened.vocabulary(chorus_ids(opened, recipe))
    dataset = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    every = dataset.global_rows(dataset.draw(0), 0)
    lost = next(row.slot for row in every if row.key == pair and row.slot < 8)
    rows = [row for row in every if row.key != talk and row.slot != lost]
    batch = pack(rows, recipe.phase.layout, recipe.pooling.positions)
    outputs = embedder(batch)
    embeddings = torch.zeros(16, embedder.width).index_put((batch.slots,), outputs.embeddings)
    kept = [number for number in range(8) if number != lost]
    scores = embeddings[kept] @ embeddings[[8 + number for number in kept]].T / recipe.phase.contrastive.temperature
    contrastive = -(scores.diagonal() - scores.logsumexp(dim=1)).mean()
    losses = torch.split(outputs.token_losses, [row.num_scored for row in rows])
    scored = [(row.loss_group, part.mean()) for part, row in zip(losses, rows, strict=True) if len(part)]
    means = [torch.stack([mean for group, mean in scored if group == number]).mean() for number in (0, 1)]
    (contrastive + 0.5 * (means[0] + means[1])).backward()
    return {name: p.grad for name, p in embedder.named_parameters() if p.grad is not None}


def test_a_step_without_what_it_cannot_read_has_the_gradient_of_the_rest(model_folder: Path) -> None:
    pair, talk = keys_of_step(model_folder)
    recipe = small_recipe(chunk_tokens=300)
    engine, dataset = make(model_folder, recipe)
    assert isinstance(dataset.corpus.index, MemoryIndex)
    dataset.corpus.index.broken(pair, talk)
    work = dataset.work(dataset.draw(0), 0)
    assert {(side.key, side.side) for side in work.unreadable} == {(pair, "query"), (talk, "query")}
    assert all(side.shard and "picture cannot be decoded" in side.reason for side in work.unreadable)
    assert worst(step_gradients(engine, work, recipe), plain_gradients(model_folder, pair, talk)) < 1e-5


def lines(out: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (out / "unreadable.jsonl").read_text().splitlines()]


def test_two_ranks_leave_out_what_one_does_and_a_resumed_run_too(
    tmp_path: Path,
    model_folder: Path,
    forked: Forked,
    corpus_in_memory: MemoryIndex,  # noqa: F811
) -> None:
    """Losses as one rank's; each time that a row is met has a line; the resumed run's file and log are the unbroken one's."""
    broken, phase = (
        (*keys_of_step(model_folder), *keys_of_step(model_folder, 2)),
        {"max_unreadable": 0.06, "steps": 4, "checkpoint_every": 1},
    )
    corpus_in_memory.broken(*broken)
    recipe = small_recipe(**phase)
    run(tmp_path / "one", model_folder, recipe)
    shutil.rmtree(run(tmp_path / "resumed", model_folder, recipe, stop_after=3))  # so it goes on after step 2, and takes 3 again
    run(tmp_path / "resumed", model_folder, recipe)
    assert forked(tmp_path / "two", phase=phase, broken=broken) == [0, 0]
    one, two = (figures(tmp_path / name) for name in ("one", "two"))
    assert figures(tmp_path / "resumed") == one and lines(tmp_path / "resumed") == lines(tmp_path / "one")
    assert {line["key"] for line in lines(tmp_path / "one")} == set(broken)
    assert sorted(map(str, lines(tmp_path / "two"))) == sorted(map(str, lines(tmp_path / "one")))
    for name in ("contrastive", "own_language", "outside_language", "precision_at_1", "gradient_norm", "unreadable"):
        assert [line[name] for line in two] == pytest.approx([line[name] for line in one], rel=1e-4)
    bad_pairs = [len({line["key"] for line in lines(tmp_path / "one") if line["step"] == step and "talks" not in line["key"]})
                 for step in (1, 2, 3, 4)]  # fmt: skip
    assert [line["pairs"] for line in one] == [line["pairs"] for line in two] == [8 - count for count in bad_pairs]
    met = [sum(line["step"] == step for line in lines(tmp_path / "one")) for step in (1, 2, 3, 4)]
    assert [line["unreadable"] for line in one] == met and met[0] >= 2 and met[2]


def test_too_many_end_the_run_on_every_rank(tmp_path: Path, model_folder: Path, forked: Forked) -> None:
    """A pair and a conversation are 2 of 72 rows; the rank that read neither ends with the same message."""
    pair, talk = keys_of_step(model_folder)
    assert forked(tmp_path / "train", phase={"max_unreadable": 0.02}, broken=(pair, talk)) == [1, 1]
    for rank in (0, 1):
        said = (tmp_path / f"train-{rank}.txt").read_text()
        assert "error: step 1: 2 of 72 rows could not be read, more than phase.max_unreadable = 0.02 of them; last " in said
        assert "picture cannot be decoded" in said and "unreadable.jsonl" in said
    assert {line["key"] for line in lines(tmp_path / "train")} == {pair, talk}


def test_a_rank_that_can_read_nothing_of_a_step_ends_all_with_one_line(tmp_path: Path, forked: Forked) -> None:
    """The other one has read its rows and would wait for it in the step's first collective."""
    codes = forked(tmp_path / "train", phase={"steps": 4}, lost={"rank": 1, "step": 2}, seconds=120.0)
    said = [(tmp_path / f"train-{rank}.txt").read_text() for rank in (0, 1)]
    assert codes == [1, 1], said[0][-2000:]
    errors = [[line for line in text.splitlines() if line.startswith("error: ")] for text in said]
    assert errors[0] == ["error: another rank has nothing to go on with; its message says why"]
    (own,) = errors[1]
    assert own.startswith("error: step 3: none of this rank's ") and "last set/00007.tar: the disk is away; " in own
    assert not any("Traceback" in text for text in said)


def test_rows_are_counted_once_and_remembered(tmp_path: Path) -> None:
    def side(key: str) -> Unreadable:
        return Unreadable(key=key, side="query", shard="set/00000.tar", reason=f"{key}: picture cannot be decoded")

    file = tmp_path / "train" / "unreadable.jsonl"
    one = UnreadableRows(file, 0.02, 100, step=0)
    for step in (1, 2, 3):
        one.note(step, [side("a-1")], writes=True)
    one.note(4, [side("a-2")], writes=True)
    again, before = UnreadableRows(file, 0.02, 100, step=4), UnreadableRows(file, 0.02, 100, step=3)
    assert (again.keys, before.keys) == ({"a-1", "a-2"}, {"a-1"})
    before.note(4, [side("a-2")], writes=False)
    with pytest.raises(DataError, match=r"^step 5: 3 of 100 rows .*max_unreadable = 0.02 .*last set/00000.tar: a-3: picture"):
        again.note(5, [side("a-3")], writes=False)


def test_a_step_that_can_read_nothing_is_an_error(model_folder: Path) -> None:
    recipe = small_recipe(mixture=replace(small_recipe().phase.mixture, pairs=0))
    _, dataset = make(model_folder, recipe)
    assert isinstance(dataset.corpus.index, MemoryIndex)
    dataset.corpus.index.broken(*(sample.key for sample in dataset.corpus.index.samples))
    with pytest.raises(
        DataError, match=r"^step 1: none of this rank's 4 sides .* last talks/00000.tar: talks-\d+: picture cannot be"
    ):
        dataset.work(dataset.draw(0), 0)
