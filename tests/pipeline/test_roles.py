"""The layout's reachability check, and what a role may see."""

import pytest

from pipeline.errors import ConfigError
from pipeline.recipes.crem import LAYOUT
from pipeline.roles import Hide, Layout, Role, reachable

S, X, C, Q, A = Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION, Role.QUESTION, Role.ANSWER


def test_crem_hides_context_from_question_and_answer_only_when_compressed() -> None:
    assert LAYOUT.visible(A, compressed=True) == {S, C, Q, A}
    assert LAYOUT.visible(Q, compressed=True) == {S, C, Q, A}
    assert LAYOUT.visible(C, compressed=True) == {S, X, C, Q, A}
    assert all(LAYOUT.visible(role, compressed=False) == {S, X, C, Q, A} for role in LAYOUT.order)


def test_no_path_from_context_to_answer_without_compression() -> None:
    assert reachable(LAYOUT, X, without=C) == {X}
    assert A in reachable(LAYOUT, X, without=S)  # with the tokens in place there is a path, or nothing would be learnt


def test_a_two_hop_leak_is_refused() -> None:
    with pytest.raises(ConfigError, match="CONTEXT still reaches ANSWER"):
        Layout(order=(S, X, C, Q, A), hidden=(Hide((A,), (X,)),))  # QUESTION still sees CONTEXT


def test_a_leak_through_the_answer_of_an_earlier_turn_is_refused() -> None:
    with pytest.raises(ConfigError, match="CONTEXT still reaches QUESTION"):
        Layout(order=(S, X, C, Q, A), hidden=(Hide((Q,), (X,)),))  # the first ANSWER sees CONTEXT, the second QUESTION sees it


def test_system_before_context_is_no_leak_but_after_it_would_be() -> None:
    Layout(order=(S, X, C, Q, A), hidden=(Hide((Q, A), (X,)),))
    with pytest.raises(ConfigError, match="CONTEXT still reaches"):
        Layout(order=(X, S, C, Q, A), hidden=(Hide((Q, A), (X,)),))


def test_roles_outside_of_the_order_see_and_are_seen() -> None:
    """Native rows are packed beside those of any layout, and attend causally."""
    plain = Layout(order=(X,), template="plain")
    assert all(plain.visible(role, compressed=False) == {S, X, C, Q, A} for role in Role)


def test_a_plain_prompt_is_context_alone() -> None:
    with pytest.raises(
        ConfigError, match=r"layout\.template: a plain prompt is CONTEXT alone, and layout\.order is SYSTEM, CONTEXT"
    ):
        Layout(order=(S, X), template="plain")
    with pytest.raises(ConfigError, match=r"layout\.template: 'bare' is not one of chat, plain"):
        Layout(order=(X,), template="bare")


def test_impossible_settings_are_refused() -> None:
    with pytest.raises(ConfigError, match="between 0 and 1"):
        Layout(order=(S, X, C, Q, A), hidden=(Hide((Q, A), (X,)),), gate_probability=1.5)
    with pytest.raises(ConfigError, match="see itself"):
        Layout(order=(S, X, C, Q, A), hidden=(Hide((A,), (A,)),))
