"""Which queries and candidates a reranker is shown in a step, and that its losses are those of the definition."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import cross_entropy

from pipeline.batch import OUTSIDE, OWN, Row
from pipeline.data.references import References
from pipeline.negatives import InFile, Judged
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder, Vocabulary
from pipeline.targets import Relevance
from pipeline.train.dataloader.held_out_work import HELD_OUT
from pipeline.train.dataloader.plan import PlannedSide
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.engine import Engine
from pipeline.train.step import train_step
from tests.pipeline.corpus import corpus, measured
from tests.pipeline.own_forward import own_states
from tests.pipeline.test_reranker import comparing
from tests.pipeline.train.ranks import make

LONE = "Does the candidate answer the query? Say Yes or No."


@pytest.fixture
def vocabulary(builder: SequenceBuilder) -> Vocabulary:
    return replace(builder.vocabulary, chorus=())


def references(of: dict[int, list[tuple[int, int]]], num_rows: int) -> References:
    counts = [len(of.get(row, ())) for row in range(num_rows)]
    flat = [each for row in range(num_rows) for each in of.get(row, ())]
    rows, sides = (np.array([each[part] for each in flat], dtype=np.int64) for part in (0, 1))
    return References(starts=np.concatenate([[0], np.cumsum(counts)]), rows=rows, sides=sides)


def judged(recipe: Recipe, vocabulary: Vocabulary) -> tuple[StepDataset, References, References]:
    """Of each pair: the positives of the next three rows of its set were said no to, that of the fourth yes."""
    read = measured(corpus(), recipe, vocabulary)
    pairs = [rows for name, rows in read.index.datasets.items() if read.index.kind(name) == "pairs"]

    def following(steps: range) -> References:
        found = {row: [(rows[(at + step) % len(rows)], 1) for step in steps] for rows in pairs for at, row in enumerate(rows)}
        return references(found, len(read.index))

    wrong, right = following(range(1, 4)), following(range(4, 5))
    return StepDataset(replace(read, references=wrong, right=right), recipe, vocabulary), wrong, right


def kind(planned: PlannedSide) -> str:
    return planned.answer if planned.loss_group == OWN else "list"


def test_of_a_pair_one_right_one_wrong_and_a_list_are_shown(vocabulary: Vocabulary) -> None:
    recipe = comparing(negatives=Judged(most=3, top=4))
    one, wrong, right = judged(recipe, vocabulary)
    places, sizes, chosen = Counter[int](), Counter[int](), Counter[bool]()
    for step in range(60):
        plan = one.plan(one.draw(step), step)
        assert plan.num_pairs == plan.num_slots == 0 and plan.language_weight == 1.0 and plan == one.plan(one.draw(step), step)
        assert [kind(side) for side in plan.sides] == ["Yes", "No", "list"] * 4
        for side in plan.sides:
            gold, noes = (side.row, 1), set(wrong.of(side.row))
            assert side.asks and side.slot == -1 and side.side_index == 0
            assert not {row for row, _ in side.candidates if row != side.row} & set(one.held_out.pairs)
            if kind(side) == "Yes":
                assert side.candidates[0] in (gold, *right.of(side.row))
                chosen[side.candidates[0] == gold] += 1
            elif kind(side) == "No":
                assert len(side.candidates) == 1 and side.candidates[0] in noes
            else:
                assert side.candidates[int(side.answer) - 1] == gold
                assert {each for each in side.candidates if each != gold} <= noes and len(set(side.candidates)) == len(
                    side.candidates
                )
                sizes[len(side.candidates)] += 1
                places[int(side.answer)] += 1
    assert set(sizes) == {2, 3} and set(places) == {1, 2, 3} and min(places.values()) > 20, "the place is drawn"
    assert min(chosen[True], chosen[False]) > 60, "what a judge said yes to is as right as the positive"
    held = one.plan(one.held_out, HELD_OUT)
    assert {side.row for side in held.sides} == set(one.held_out.pairs)


def test_a_judge_that_is_not_believed_makes_nothing_right(vocabulary: Vocabulary) -> None:
    """Yes is learnt of the pair's own positive alone; what the judge said yes to is no negative either."""
    recipe = comparing(negatives=Judged(most=3, top=4), target=Relevance(least=1, most=2, judged_right=False))
    one, wrong, right = judged(recipe, vocabulary)
    for step in range(20):
        for side in one.plan(one.draw(step), step).sides:
            gold, others = (side.row, 1), [each for each in side.candidates if each != (side.row, 1)]
            assert kind(side) != "Yes" or side.candidates == (gold,)
            assert set(others) <= set(wrong.of(side.row)) and not set(others) & set(right.of(side.row))


def test_what_is_learnt_of_a_comparison(vocabulary: Vocabulary) -> None:
    """Every row says the query, its candidates in order, the question and the answer; the answer alone is scored."""
    recipe = comparing(negatives=Judged(most=3, top=4))
    one, _, _ = judged(recipe, vocabulary)
    index, builder, target = one.corpus.index, one.rows.builder, recipe.phase.target
    seen = Counter[str]()
    for planned in one.plan(one.draw(0), 0).sides:
        row = one.row(planned, 0)
        sides = [index.read(number).sides[side] for number, side in planned.candidates]
        side = target.compared(index.read(planned.row).query, sides)  # type: ignore[attr-defined]
        assert side.text.count("Candidate") == len(sides) and side.images == sum(
            (each.images for each in sides), index.read(planned.row).query.images
        )
        is_list = planned.loss_group == OUTSIDE
        words = "Which candidate answers the query? Say its number." if is_list else LONE
        answer = [*builder.vocabulary.encode(planned.answer), builder.vocabulary.im_end]
        ids, asked = row.sequence.input_ids, builder.question_ids(words)
        assert ids.tolist()[-len(asked) - len(answer) :] == [*asked, *answer] and row.slot == -1
        assert ids[row.sequence.scored_tokens()].tolist() == answer
        seen[kind(planned)] += 1
    assert seen == {"Yes": 4, "No": 4, "list": 4}


def test_a_list_that_does_not_fit_is_shorter_or_left_out(vocabulary: Vocabulary) -> None:
    recipe = comparing(negatives=Judged(most=3, top=4))
    free, _, _ = judged(recipe, vocabulary)
    longest = max(len(row.sequence) for step in range(20) for row in free.global_rows(free.draw(step), step))
    shorter, left_out = 0, 0
    for cap in range(longest // 3, longest + 40, 8):
        capped, _, _ = judged(replace(recipe, max_length=cap), vocabulary)
        for step in range(3):
            sides = capped.plan(capped.draw(step), step).sides
            rows = [capped.row(side, step) for side in sides]  # none raises, and none is cut
            assert all(len(row.sequence) <= cap and not row.sequence.cut for row in rows)
            shorter += sum(kind(side) == "list" and len(side.candidates) == 2 for side in sides)
            left_out += sum(kind(side) == "list" for side in sides) < 4
    assert shorter and left_out


def test_a_pair_without_negatives_teaches_yes_alone(vocabulary: Vocabulary) -> None:
    recipe = comparing(negatives=InFile(most=0))
    one = StepDataset(measured(corpus(), recipe, vocabulary), recipe, vocabulary)
    assert [kind(side) for side in one.plan(one.draw(0), 0).sides] == ["Yes"] * 4


@torch.no_grad()
def _reference(engine: Engine, row: Row) -> float:
    """Cross entropy of a row's answer, by its tokens' mean."""
    logits = engine.module.backbone.model.lm_head(own_states(engine.module, row)).float()
    at = row.sequence.scored_tokens()
    return float(cross_entropy(logits[at - 1], torch.from_numpy(row.sequence.input_ids[at])))


def test_losses_are_the_sum_of_both_means_by_the_definition(model_folder: Path) -> None:
    """Each row alone, in transformers' own forward: cross entropy of its answer, a mean over the rows of either kind."""
    recipe = comparing(negatives=InFile(most=3))
    engine, dataset = make(model_folder, recipe)
    draw = dataset.draw(0)
    planned = dataset.plan(draw, 0).sides
    expected: dict[str, list[float]] = {"one": [], "list": []}
    for side in planned:
        expected["list" if side.loss_group == OUTSIDE else "one"].append(_reference(engine, dataset.row(side, 0)))
    assert min(map(len, expected.values())) > 0
    report = train_step(engine, dataset.work(draw, 0), recipe.phase, 1e-3)
    assert report.own_language == pytest.approx(np.mean(expected["one"]), rel=1e-5)
    assert report.outside_language == pytest.approx(np.mean(expected["list"]), rel=1e-5)
    assert report.contrastive is None and report.gradient_norm > 0
