"""Which sets a batch is drawn from: the paper trains on one of ShareGPT-4V's three files, and on MMEB's twenty sets."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from pipeline.data.keys import make_key
from pipeline.data.qa import QaEntry, QaTable, write_qa
from pipeline.errors import ConfigError
from pipeline.phase import Mixture
from pipeline.recipe import Recipe
from pipeline.recipes import RECIPES, load
from pipeline.sample import Turn
from pipeline.sequence import SequenceBuilder
from pipeline.templates import Instructions, Templates
from pipeline.train.dataloader.corpus import check_datasets
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.run_header import asked, composition, told
from tests.pipeline.corpus import MemoryIndex, corpus, measured

MIX, CAPTIONS, SMALL = "ShareGPT4V-mix665k", "ShareGPT4V-captions1246k", "ShareGPT4V-cap100k"


def three_files() -> MemoryIndex:
    """2 : 12 : 6 rows of the three files in the proportions of 100K : 1246K : 665K, and pairs of two sets, one of MMEB's name."""
    samples = corpus(20).samples
    names = [SMALL] * 2 + [CAPTIONS] * 12 + [MIX] * 6
    talks = [replace(sample, dataset=name) for sample, name in zip(samples[40:], names, strict=True)]
    pairs = [replace(sample, dataset="CIRR") if sample.dataset == "texts" else sample for sample in samples[:40]]
    return MemoryIndex([*pairs, *talks])


def fed(recipe: Recipe, builder: SequenceBuilder, **fields: object) -> StepDataset:
    (joint,) = recipe.phases
    mixture = replace(joint.mixture, pairs=4, sub_batch=4, outside=5, weights=(), **fields)  # type: ignore[arg-type]
    phase = replace(joint, mixture=mixture, held_out=1)
    recipe = replace(recipe, phases=(phase,))
    return StepDataset(measured(three_files(), recipe, builder.vocabulary), recipe, builder.vocabulary)


def drawn(dataset: StepDataset, steps: int = 40) -> Counter[str]:
    index = dataset.corpus.index
    return Counter(index.read(row).dataset for step in range(steps) for row in dataset.draw(step).outside)


def test_conversations_come_from_the_named_sets_alone(recipe: Recipe, builder: SequenceBuilder) -> None:
    assert set(drawn(fed(recipe, builder, outside_sets=(MIX,)))) == {MIX}
    assert set(drawn(fed(recipe, builder, outside_sets=(MIX, SMALL)))) == {MIX, SMALL}
    every = drawn(fed(recipe, builder))
    assert every[CAPTIONS] > every[MIX] > every[SMALL] > 0, "by rows, which is not what the paper trains on"


def test_held_out_conversations_are_of_the_named_sets(recipe: Recipe, builder: SequenceBuilder) -> None:
    phase = replace(recipe.phase, mixture=replace(recipe.phase.mixture, outside_sets=(CAPTIONS,), weights=()), held_out=9)
    recipe = replace(recipe, phases=(phase,))
    read = measured(three_files(), recipe, builder.vocabulary)
    fewer = recipe.with_phase(mixture=replace(phase.mixture, outside=4))
    dataset = StepDataset(read, fewer, builder.vocabulary)
    assert [read.index.read(row).dataset for row in dataset.held_out.outside] == [CAPTIONS]


def test_every_recipe_of_the_paper_names_its_665k_file() -> None:
    paper = [load(name) for name in RECIPES if name.startswith("crem_")]
    assert len(paper) == 23
    assert {recipe.phase.mixture.outside_sets for recipe in paper} == {(MIX,)}


def test_a_named_set_that_is_not_there_is_an_error_where_it_would_be_read() -> None:
    index = three_files()
    check_datasets(index, Mixture(outside_sets=(MIX,)), "phases.1")  # type: ignore[arg-type]
    with pytest.raises(
        ConfigError, match=r"^phases\.1\.mixture\.outside_sets: 'ShareGPT4V' not in the shards; there are ShareGPT4V-cap100k, "
    ):
        check_datasets(index, Mixture(outside_sets=(MIX, "ShareGPT4V")), "phases.1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mixture\.outside_sets: 'CIRR' not in the shards"):  # it has pairs
        check_datasets(index, Mixture(outside_sets=("CIRR",)), "phases.1")  # type: ignore[arg-type]
    check_datasets(index, Mixture(outside=0, outside_sets=("nowhere",)), "phases.1")  # type: ignore[arg-type]


def test_a_weight_that_would_do_nothing_is_refused() -> None:
    index = three_files()
    check_datasets(index, Mixture(outside_sets=(MIX, SMALL), weights=((SMALL, 3.0),)), "phases.1")  # type: ignore[arg-type]
    with pytest.raises(ConfigError, match=r"mixture\.weights: ShareGPT4V-cap100k has a weight, and mixture\.outside_sets leaves"):
        check_datasets(index, Mixture(outside_sets=(MIX,), weights=((SMALL, 3.0),)), "phases.1")  # type: ignore[arg-type]


def test_the_opening_says_what_is_drawn_and_what_is_not(recipe: Recipe, builder: SequenceBuilder) -> None:
    dataset = fed(recipe, builder, outside_sets=(MIX, SMALL))
    mixture = replace(dataset.phase.mixture, weights=((SMALL, 3.0),))
    lines = list(composition(dataset.corpus.index, mixture, {"pictures": 1.0}, {MIX: 0.5, SMALL: 0.5}))
    assert lines[0] == "pairs are drawn from pictures 100.0%; never from CIRR"
    assert lines[1].startswith("MMEB-train: 1 of 20 sets; not in the shards: ImageNet_1K, N24News, ")
    assert lines[1].endswith(", WebQA, MSCOCO; fewer rows than printed: CIRR (20 of 26000)")
    assert lines[2] == "conversations are drawn from ShareGPT4V-cap100k 50.0%, ShareGPT4V-mix665k 50.0% (mixture.outside_sets)"
    assert lines[3:] == [
        "conversations that mixture.outside_sets does not name, so that none is drawn: ShareGPT4V-captions1246k (12 rows)"
    ]
    every = list(composition(dataset.corpus.index, Mixture(pairs=0), {}, {CAPTIONS: 0.6, MIX: 0.3, SMALL: 0.1}))
    assert every == [
        "conversations are drawn from ShareGPT4V-captions1246k 60.0%, ShareGPT4V-mix665k 30.0%, ShareGPT4V-cap100k 10.0% "
        "(all that are there: mixture.outside_sets names none)"
    ]
    assert list(composition(dataset.corpus.index, Mixture(outside=0), {"CIRR": 1.0}, {}))[2:] == []


def test_the_opening_says_how_many_sides_are_asked(recipe: Recipe, tmp_path: Path) -> None:
    turn = (Turn(question="q", answer="a"),)
    rows = [QaEntry(key=make_key("pictures", row), query=turn, positive=turn * (row < 1)) for row in range(4)]
    write_qa(rows, tmp_path, dataset="pictures")
    assert list(asked(QaTable.open(tmp_path), recipe.phase, ["pictures", "CIRR"])) == [
        "sides with qa: CIRR (none), pictures (query 100.0%, positive 25.0%)"
    ]
    alone = replace(recipe.phase, mixture=replace(recipe.phase.mixture, own_sides=()))
    assert list(asked(QaTable.open(None), alone, ["pictures"])) == []


def test_parts_are_the_shares_of_what_is_drawn(recipe: Recipe, builder: SequenceBuilder) -> None:
    dataset = fed(recipe, builder)
    parts, counts = dataset.outside.parts(), drawn(dataset, 200)
    assert sum(parts.values()) == pytest.approx(1.0)
    for name, part in parts.items():
        assert counts[name] / counts.total() == pytest.approx(part, abs=0.08)


def test_who_is_told_what_is_said_by_table() -> None:
    """A misspelt name would have the default in silence."""
    tables = [Instructions(of=of, query="q", candidate="c") for of in ("meta_task.vqa", "dataset.CIRR")]
    drawn = ["CIRR", "mine", "DocVQA", "ChartQA"]
    lines = list(told(Templates(instructions=tuple(tables)), drawn))
    assert lines == ["instructions: dataset.CIRR for CIRR; meta_task.vqa for ChartQA, DocVQA; those of their rows for mine"]
    assert list(told(Templates(), drawn)) == [] == list(told(Templates(instructions=tuple(tables)), []))
