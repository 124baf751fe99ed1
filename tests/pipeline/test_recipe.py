"""Settings that cannot work are refused with the field named."""

from dataclasses import replace
from typing import Any

import pytest

from pipeline.errors import ConfigError
from pipeline.phase import Mixture
from pipeline.recipes import load
from pipeline.roles import Role


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pairs": 0, "outside": 0}, "mixture.pairs, mixture.outside: both are 0"),
        ({"pairs": -64}, "mixture.pairs: -64 is less than 0"),
        ({"outside": -1}, "mixture.outside: -1 is less than 0"),
        ({"sub_batch": 0}, "mixture.sub_batch: 0 is less than 1"),
        ({"sub_batch": 60}, "mixture.sub_batch: 60 does not divide mixture.pairs = 1024"),
        ({"weights": (("A", -2.0),)}, "mixture.weights, A: -2.0 is not a weight"),
        ({"weights": (("A", 2.0), ("A", 3.0))}, "mixture.weights: A stands there twice"),
        ({"outside_sets": ("A", "B", "A")}, "mixture.outside_sets: A stands there twice"),
        ({"native_share": 1.5}, "mixture.native_share: 1.5 is not between 0 and 1"),
    ],
)
def test_a_mixture_that_cannot_be_drawn_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Mixture(**fields)


def test_questions_need_a_layout_that_has_them() -> None:
    crem = load("crem_2b")
    plain = replace(crem.phase.layout, order=(Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION), hidden=())
    with pytest.raises(ConfigError, match=r"layout.order: has no QUESTION and ANSWER, but phase 'joint' asks"):
        crem.with_phase(layout=plain)
    phase = replace(crem.phase, layout=plain, mixture=Mixture(outside=0, own_sides=()))
    assert replace(crem, phases=(phase,)).phases == (phase,)


def test_either_kind_of_rows_may_be_missing() -> None:
    assert Mixture(pairs=0).outside == 128 and Mixture(outside=0).pairs == 1024
