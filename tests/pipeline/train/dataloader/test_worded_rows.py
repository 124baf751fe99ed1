"""Rows of training with instructions by dataset, token for token by hand; their lengths; and what is trained without them."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from pipeline.negatives import InFile
from pipeline.recipe import Recipe
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.targets import Relevance
from pipeline.templates import Instructions, Templates
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.token_counts import ensure_lengths, ruler_of, table_name
from tests.pipeline.corpus import MemoryIndex, MemoryQa, picture, variant
from tests.pipeline.test_reranker import comparing

TEMPLATES = Templates(
    query_template="Instruct: {instruction}\n{pictures}Query: {text}",
    candidate_template="Instruct: {instruction}\n{pictures}Text: {text}",
    instructions=(
        Instructions(of="default", query="find the picture", candidate="represent"),
        Instructions(of="dataset.DocVQA", query="what is on the left", candidate="a word"),
    ),
)
MARKED = "<|image_1|>\n"


def index() -> MemoryIndex:
    """Three pairs with pictures and two hard negatives each, three of texts, and a conversation."""
    rng = np.random.default_rng(3)
    asked = [
        Sample(
            key=f"doc-{number}",
            dataset="DocVQA",
            query=Side(instruction=f"{MARKED}Represent it: ", text="where is red", images=(picture(rng),)),
            positive=Side(instruction="Told: ", text="top"),
            negatives=(Side(text="bottom"), Side(text="left")),
        )
        for number in range(3)
    ]
    found = [
        Sample(key=f"text-{number}", dataset="mine", query=Side(text="red star"), positive=Side(text="blue"))
        for number in range(3)
    ]
    talk = Sample(key="talk-0", dataset="talks", query=Side(text="hello", turns=(Turn(question="what", answer="star"),)))
    return MemoryIndex([*asked, *found, talk])


def read(recipe: Recipe, builder: SequenceBuilder, folder: Path, **more: object) -> StepDataset:
    rows, ruler = index(), ruler_of(recipe, builder.vocabulary)
    lengths = ensure_lengths(folder / "table.parquet", rows, ruler, lambda done, total: None)  # type: ignore[arg-type]
    corpus = Corpus(index=rows, qa=MemoryQa(), lengths=lengths, **more)  # type: ignore[arg-type]
    return StepDataset(corpus, recipe, builder.vocabulary)


@pytest.fixture
def worded() -> Recipe:
    plain = variant("retrieval", held_out=0)
    mixture = replace(plain.phase.mixture, pairs=4, sub_batch=2)
    return replace(plain, templates=TEMPLATES).with_phase(negatives=InFile(most=2), mixture=mixture)


def ids_by_hand(builder: SequenceBuilder) -> dict[str, dict[str, list[int]]]:
    """Of each dataset's sides: a picture of 56 x 56 pixels has 2 x 2 visual tokens."""
    v = builder.vocabulary
    seen = [v.vision_start, *[v.image_pad] * 4, v.vision_end]
    words = {
        "doc": {
            "query": [*v.encode("Instruct: what is on the left\n"), *seen, *v.encode("\nQuery: where is red")],
            "positive": v.encode("Instruct: a word\nText: top"),
            "negative_0": v.encode("Instruct: a word\nText: bottom"),
            "negative_1": v.encode("Instruct: a word\nText: left"),
        },
        "text": {
            "query": v.encode("Instruct: find the picture\nQuery: red star"),
            "positive": v.encode("Instruct: represent\nText: blue"),
        },
    }
    return {
        dataset: {side: [*builder.system_ids(), *ids, *v.chorus] for side, ids in sides.items()}
        for dataset, sides in words.items()
    }


def test_rows_of_two_datasets_are_those_worked_by_hand(worded: Recipe, builder: SequenceBuilder, tmp_path: Path) -> None:
    dataset, expected, met = read(worded, builder, tmp_path), ids_by_hand(builder), set()
    for step in range(8):
        for planned in dataset.plan(dataset.draw(step), step).sides:
            row = dataset.row(planned, step)
            kind = row.key.partition("-")[0]
            assert row.sequence.input_ids.tolist() == expected[kind][planned.name]
            assert len(row.sequence) == dataset.corpus.lengths.context(planned.row, planned.side_index), "as the table says"
            met.add((kind, planned.name))
    assert met == {(kind, side) for kind, sides in expected.items() for side in sides}


def test_a_conversation_stands_as_it_is(worded: Recipe, builder: SequenceBuilder, tmp_path: Path) -> None:
    talk = index().samples[-1]
    assert worded.templates.sample(talk) is talk
    plain = read(replace(worded, templates=Templates()), builder, tmp_path / "plain").corpus.lengths
    assert plain.size(6, 0) == read(worded, builder, tmp_path / "worded").corpus.lengths.size(6, 0)


def test_what_a_reranker_compares_is_worded_on_both_sides(builder: SequenceBuilder, tmp_path: Path) -> None:
    """As `pipeline.reranker` asks: the query and the candidate, each as its dataset says."""
    recipe = replace(comparing(negatives=InFile(most=2), held_out=0), templates=TEMPLATES)
    bare = replace(builder, vocabulary=replace(builder.vocabulary, chorus=()), layout=recipe.phase.layout)
    dataset, target = read(recipe, bare, tmp_path), recipe.phase.target
    assert isinstance(target, Relevance)
    planned = [each for each in dataset.plan(dataset.draw(0), 0).sides if len(each.candidates) == 1]
    assert {dataset.corpus.index.info(each.row).dataset for each in planned} <= {"DocVQA", "mine"} and planned
    for each in planned:
        sample, ((row, side),) = dataset.corpus.index.read(each.row), each.candidates
        candidate = dataset.corpus.index.read(row).sides[side]
        shown = [TEMPLATES.query(sample.query, sample.dataset), TEMPLATES.candidate(candidate, sample.dataset)]
        asked = Turn(question=target.question(1), answer=each.answer)
        grids = np.array([(1, 4, 4)] * len(sample.query.images)).reshape(-1, 3)
        expected = bare.build(target.compared(shown[0], shown[1:]), grids, [asked])
        assert dataset.row(each, 0).sequence.input_ids.tolist() == expected.input_ids.tolist()


def test_tables_of_lengths_are_named_by_what_is_said(builder: SequenceBuilder, worded: Recipe, tmp_path: Path) -> None:
    """Without instructions the name is what it was before there were any."""

    def name(recipe: Recipe) -> str:
        return table_name(index(), ruler_of(recipe, builder.vocabulary), tmp_path)  # type: ignore[arg-type]

    plain = replace(worded, templates=Templates())
    first, *rest = TEMPLATES.instructions
    other = replace(worded, templates=replace(TEMPLATES, instructions=(replace(first, candidate="so"), *rest)))
    assert len({name(plain), name(worded), name(other)}) == 3
    assert name(plain) == name(replace(plain, templates=Templates(query_template="{instruction} {text}"))), "nobody is told it"
