"""Figures of the held-out slice against one plain pass over its rows: no chunks, no engine, no ranks, no dropout."""

import copy
import itertools
import logging
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.utils.data import get_worker_info

from pipeline.batch import OUTSIDE, OWN, Row, pack
from pipeline.model.adapters import LoRA
from pipeline.recipe import Recipe
from pipeline.tracking import NullTracker
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.step_dataset import RowBuilder, StepDataset
from pipeline.train.dataloader.unreadable import UnreadableError
from pipeline.train.held_out import HeldOut, is_due, num_due
from pipeline.train.loop import train
from pipeline.train.run_options import RunOptions, TrainingPaths
from tests.pipeline.conftest import build_disturbed
from tests.pipeline.corpus import MemoryIndex, small_recipe, variant
from tests.pipeline.train import ranks
from tests.pipeline.train.conftest import Forked
from tests.pipeline.train.ranks import look, make
from tests.pipeline.train.test_loop import corpus_in_memory, figures, run  # noqa: F401
from tests.pipeline.train.test_vision_features import pictures_seen


def rows_of(dataset: StepDataset) -> list[Row]:
    return dataset.global_rows(dataset.held_out, HELD_OUT)


def shares(dataset: StepDataset, num_ranks: int) -> list[StepDataset]:
    """What each of so many ranks would have in the place of the dataset."""
    found = [copy.copy(dataset) for _ in range(num_ranks)]
    for rank, share in enumerate(found):
        share.rank, share.num_ranks = rank, num_ranks
    return found


def plain_figures(folder: Path, recipe: Recipe, dataset: StepDataset) -> dict[str, float]:
    """Means by group with every coin tossed by hand, and the contrastive loss and hits term by term."""
    embedder = build_disturbed(folder, recipe, dtype=torch.float32)[0].eval()
    rows, num_pairs = rows_of(dataset), len(dataset.held_out.pairs)
    found: dict[str, float] = {}
    for name, compressed in (("full", False), ("compressed", True)):
        tossed = [replace(row, compressed=compressed and row.has_compression) for row in rows]
        with torch.no_grad():
            outputs = embedder(pack(tossed, recipe.phase.layout, recipe.pooling.positions))
        losses = torch.split(outputs.token_losses, [row.num_scored for row in rows])
        for group, number in (("own", OWN), ("outside", OUTSIDE)):
            means = [float(part.mean()) for row, part in zip(rows, losses, strict=True) if row.loss_group == number and len(part)]
            found[f"held_out/{group}_language_{name}"] = sum(means) / len(means)
    queries, candidates = outputs.embeddings[:num_pairs], outputs.embeddings[num_pairs:]
    scores = queries @ candidates.T
    likelihoods = (scores / recipe.phase.contrastive.temperature).log_softmax(dim=1).diagonal()
    hits = [int(row.argmax()) == place for place, row in enumerate(scores)]
    return found | {"held_out/contrastive": -float(likelihoods.mean()), "held_out/precision_at_1": sum(hits) / len(hits)}


@pytest.mark.parametrize("tower", ["frozen", "trained"])
def test_figures_are_those_of_one_plain_pass(model_folder: Path, monkeypatch: pytest.MonkeyPatch, tower: str) -> None:
    monkeypatch.setattr(ranks, "build_embedder", build_disturbed)
    recipe = small_recipe(chunk_tokens=200).with_phase(adapter=LoRA(rank=2, dropout=0.5), tower=tower)
    engine, dataset = make(model_folder, recipe)
    found = look(engine, dataset)
    assert found == pytest.approx(plain_figures(model_folder, recipe, dataset), rel=1e-5)
    for group in ("own", "outside"):
        assert found[f"held_out/{group}_language_full"] != pytest.approx(found[f"held_out/{group}_language_compressed"], rel=1e-3)
    assert engine.module.training and len(rows_of(dataset)) > 4


@pytest.mark.parametrize(("num_ranks", "tower"), [(1, "frozen"), (2, "frozen"), (3, "frozen"), (1, "trained"), (3, "trained")])
def test_each_picture_is_decoded_once_and_passes_the_tower_once(
    model_folder: Path, monkeypatch: pytest.MonkeyPatch, num_ranks: int, tower: str
) -> None:
    """By all ranks together, each of which has its part of the tokens."""
    recipe = small_recipe(chunk_tokens=200).with_phase(tower=tower)
    engine, dataset = make(model_folder, recipe)
    dummy, decoded, take = dataset.dummy(), list[tuple[str, bytes]](), RowBuilder.pixels
    planned = dataset.plan(dataset.held_out, HELD_OUT).sides
    samples = [dataset.corpus.index.read(each.row) for each in planned]
    sides = [(sample.key, sample.sides[each.side_index]) for sample, each in zip(samples, planned, strict=True)]

    def pixels(self: RowBuilder, picture: bytes, key: str, *view: Any) -> Any:
        decoded.append((key, picture))
        return take(self, picture, key, *view)

    monkeypatch.setattr(RowBuilder, "pixels", pixels)
    works = [share.held_out_work() for share in shares(dataset, num_ranks)]
    assert Counter(decoded) == Counter((key, picture) for key, side in sides for picture in side.images)
    assert set(Counter(decoded).values()) == {1} and len(decoded) > 2
    with pictures_seen() as seen:
        for work in works:
            HeldOut(recipe.phase).evaluate(engine, work, dummy)
    assert sum(seen) == len(decoded)
    costs = [sum(len(c.compressed.input_ids) + len(c.compressed.image_index) for c in work.chunks) for work in works]
    dearest = max(dataset.corpus.lengths.cost(each.row, each.side_index) for each in planned)
    assert max(costs) - min(costs) <= dearest < min(costs)


def test_a_look_at_pairs_without_questions_is_one_pass(model_folder: Path) -> None:
    engine, dataset = make(model_folder, variant("retrieval", chunk_tokens=100))
    work = dataset.held_out_work()
    assert work.num_passes == len(work.chunks) > 1
    assert set(look(engine, dataset)) == {"held_out/contrastive", "held_out/precision_at_1"}


def test_a_look_is_due_when_asked_for_at_the_end_and_for_a_checkpoint_that_may_be_the_best() -> None:
    phase = small_recipe(steps=10, evaluate_every=4, checkpoint_every=3).phase
    assert [step for step in range(1, 11) if is_due(step, phase)] == [4, 8, 10]
    phase = replace(phase, keep_best="contrastive")
    assert [step for step in range(1, 11) if is_due(step, phase)] == [3, 4, 6, 8, 9, 10]


def test_loader_processes_decode_what_is_held_out(
    tmp_path: Path,
    model_folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    corpus_in_memory: MemoryIndex,  # noqa: F811
) -> None:
    """The figures are those of a run that reads in its own process, at the same steps."""
    recipe = small_recipe(steps=3, evaluate_every=2)
    run(tmp_path / "alone", model_folder, recipe)
    take, decoded_here = RowBuilder.pixels, []

    def pixels(self: RowBuilder, *given: Any) -> Any:
        if get_worker_info() is None:
            decoded_here.append(given)
        return take(self, *given)

    monkeypatch.setattr(RowBuilder, "pixels", pixels)
    out = tmp_path / "loaders"
    paths = TrainingPaths(shards=out, qa=None, model=model_folder, out=out)
    train(paths, recipe, NullTracker(), progress=lambda *_: None, options=RunOptions(num_workers=2))
    assert not decoded_here and figures(out) == figures(tmp_path / "alone")
    assert ["held_out/contrastive" in line for line in figures(out)] == [False, True, True]


def test_ranks_without_a_row_of_the_slice_have_the_figures_of_one_rank(
    tmp_path: Path,
    model_folder: Path,
    forked: Forked,
    corpus_in_memory: MemoryIndex,  # noqa: F811
) -> None:
    """Of three ranks two have a side of a pair, one a conversation that cannot be read. It is named once."""
    phase = {"steps": 2, "evaluate_every": 1, "zero_stage": 3, "held_out": 1}
    _, dataset = make(model_folder, small_recipe(**phase))
    (talk,) = (corpus_in_memory.samples[row].key for row in dataset.held_out.outside)
    assert forked(tmp_path / "many", ranks=3, phase=phase, broken=[talk]) == [0] * 3
    said = [Path(f"{tmp_path / 'many'}-{rank}.txt").read_text() for rank in range(3)]
    assert [text.count("held-out slice: left out, talks") for text in said] == [1, 0, 0]
    corpus_in_memory.broken(talk)
    run(tmp_path / "one", model_folder, small_recipe(**phase))
    for line, other in zip(figures(tmp_path / "many"), figures(tmp_path / "one"), strict=True):
        found, expected = ({name: line[name] for name in line if name.startswith("held_out/")} for line in (line, other))
        assert len(found) == 4 and found == pytest.approx(expected, rel=1e-4)


def test_a_slice_of_which_nothing_can_be_read_ends_the_run(model_folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    engine, dataset = make(model_folder, variant("answers"))
    talks = [dataset.corpus.index.read(row).key for row in dataset.held_out.outside]
    assert isinstance(dataset.corpus.index, MemoryIndex)
    dataset.corpus.index.broken(*talks)
    with caplog.at_level(logging.WARNING), pytest.raises(UnreadableError, match="picture cannot be decoded"):
        look(engine, dataset)
    assert all(key in caplog.text for key in talks)


@pytest.mark.parametrize("keep_best", ["none", "contrastive"])
def test_the_looks_of_a_phase_are_counted_at_once(keep_best: str) -> None:
    for steps, looks, saves in itertools.product((1, 5, 12, 13, 24), (1, 3, 4, 30), (1, 4, 6)):
        phase = replace(small_recipe().phase, steps=steps, evaluate_every=looks, checkpoint_every=saves, keep_best=keep_best)
        assert num_due(phase) == sum(is_due(step, phase) for step in range(1, steps + 1))
