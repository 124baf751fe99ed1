"""What a step trains on, by the weights of its losses."""

from dataclasses import replace

import pytest

from pipeline.batch import OUTSIDE, OWN
from pipeline.data.sampler import Draw
from pipeline.errors import ConfigError
from pipeline.losses.weights import Stepwise
from pipeline.phase import Mixture, Phase
from pipeline.recipes.crem import LAYOUT
from pipeline.train.dataloader.plan import least_rows, make_plan, plan_step

DRAW = Draw(pairs=(11, 12, 13), outside=(91, 92))
NONE: tuple[tuple[tuple[int, int], ...], ...] = ((), (), ())
NEGATIVES = (((11, 2), (11, 3)), (), ((40, 1),))
"""Two of the first pair's own row, and the positive of another row for the third."""
MIXTURE = Mixture(pairs=3, sub_batch=3, outside=2)


def test_both_losses_read_everything_with_queries_before_candidates() -> None:
    plan = make_plan(DRAW, NONE, MIXTURE, (1.0, 0.5))
    assert [(side.row, side.name, side.slot, side.loss_group, side.asks) for side in plan.sides] == [
        (11, "query", 0, OWN, True), (12, "query", 1, OWN, True), (13, "query", 2, OWN, True),
        (11, "positive", 3, OWN, True), (12, "positive", 4, OWN, True), (13, "positive", 5, OWN, True),
        (91, "query", -1, OUTSIDE, True), (92, "query", -1, OUTSIDE, True),
    ]  # fmt: skip
    assert (plan.num_pairs, plan.num_slots) == (3, 6)


def test_without_the_language_loss_nothing_is_asked_and_no_conversation_read() -> None:
    plan = make_plan(DRAW, NEGATIVES, MIXTURE, (1.0, 0.0))
    assert [(side.row, side.slot) for side in plan.sides] == [
        (11, 0), (12, 1), (13, 2), (11, 3), (12, 4), (13, 5), (11, 6), (11, 7), (40, 8)
    ]  # fmt: skip
    assert not any(side.asks for side in plan.sides)


def test_without_the_contrastive_loss_only_asked_sides_are_read() -> None:
    plan = make_plan(DRAW, NEGATIVES, replace(MIXTURE, own_sides=("positive",)), (0.0, 0.5))
    assert [(side.row, side.name, side.slot) for side in plan.sides] == [
        (11, "positive", -1), (12, "positive", -1), (13, "positive", -1), (91, "query", -1), (92, "query", -1)
    ]  # fmt: skip
    assert (plan.num_pairs, plan.num_slots) == (0, 0)


def test_hard_negatives_follow_the_positives_and_are_asked_nothing() -> None:
    plan = make_plan(DRAW, NEGATIVES, MIXTURE, (1.0, 0.5))
    hard = [side for side in plan.sides if side.slot >= 6]
    found = [(side.row, side.side_index, side.name, side.slot) for side in hard]
    assert found == [(11, 2, "negative_0", 6), (11, 3, "negative_1", 7), (40, 1, "positive", 8)]
    assert not any(side.asks for side in hard)
    assert (plan.num_pairs, plan.num_slots, plan.owners) == (3, 9, (0, 0, 2))


def test_a_phase_is_planned_by_the_weights_of_the_step() -> None:
    phase = Phase(layout=LAYOUT, name="a", steps=9, mixture=MIXTURE, language_weight=Stepwise(((0, 5.0), (4, 0.0))))
    assert [plan_step(DRAW, NONE, phase, step).language_weight for step in (3, 4)] == [5.0, 0.0]
    assert [len(plan_step(DRAW, NONE, phase, step).sides) for step in (3, 4)] == [8, 6]
    assert least_rows(phase) == 6


def test_steps_that_would_train_nothing_are_refused() -> None:
    with pytest.raises(ConfigError, match=r"phase.contrastive_weight, phase.language_weight: .* from step 4 on"):
        Phase(layout=LAYOUT, name="a", steps=9, contrastive_weight=0.0, language_weight=Stepwise(((0, 5.0), (4, 0.0))))
    with pytest.raises(ConfigError, match="from step 0 on"):
        Phase(layout=LAYOUT, name="a", steps=9, contrastive_weight=0.0, mixture=replace(MIXTURE, outside=0, own_sides=()))
