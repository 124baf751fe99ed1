"""The split into causal attentions is exact for any layout whose roles see themselves: a property over random layouts."""

import numpy as np
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.roles import Hide, Layout, Role
from pipeline.spans import UNREAD, causal_spans

ROLES = st.sampled_from(list(Role))


@st.composite
def layouts(draw: st.DrawFn) -> Layout:
    order = tuple(draw(st.permutations(list(Role))))
    hides = []
    for _ in range(draw(st.integers(0, 2))):
        queries = tuple(draw(st.sets(ROLES, min_size=1, max_size=3)))
        keys = tuple(draw(st.sets(ROLES, min_size=1, max_size=3)) - set(queries))
        if keys:
            hides.append(Hide(queries, keys))
    try:
        return Layout(order=order, hidden=tuple(hides))
    except ConfigError:
        return Layout(order=order)


@settings(max_examples=200, deadline=None)
@given(
    layout=layouts(),
    lengths=st.lists(st.lists(st.integers(0, 4), min_size=5, max_size=7), min_size=1, max_size=3),
    seed=st.integers(0, 99),
)
def test_each_query_sees_exactly_the_keys_of_the_dense_mask(layout: Layout, lengths: list[list[int]], seed: int) -> None:
    """For each token, the earlier tokens of its causal sequence are the visible ones, by definition of the mask."""
    rng = np.random.default_rng(seed)
    rows, unread = [], int(rng.integers(3))
    for counts in lengths:
        order = [layout.order[i % 5] for i in range(len(counts))]  # later turns repeat roles
        roles = np.repeat(order, counts).astype(np.int8)
        last = np.flatnonzero(roles == Role.COMPRESSION)[::-1][:unread]
        rows.append((np.where(np.isin(np.arange(len(roles)), last), UNREAD, roles), bool(rng.integers(2))))
    rows = [(roles, compressed) for roles, compressed in rows if len(roles)]
    if not rows:
        return
    ends = np.cumsum([len(roles) for roles, _ in rows])
    places = [np.arange(end - len(roles), end) for (roles, _), end in zip(rows, ends, strict=True)]
    spans = causal_spans(rows, places, layout)
    sequence_of = torch.bucketize(torch.arange(len(spans.gather)), spans.cu_seqlens[1:], right=True)
    offset = 0
    for roles, compressed in rows:
        for place, role in enumerate(roles):
            output = int(spans.take[offset + place])
            start = int(spans.cu_seqlens[sequence_of[output]])
            seen = set((spans.gather[start : output + 1] - offset).tolist())
            visible = layout.visible(_role(role), compressed=compressed)
            blind = UNREAD if role in (Role.QUESTION, Role.ANSWER) else None
            assert seen == {j for j in range(place + 1) if _role(roles[j]) in visible and roles[j] != blind}
            assert int(spans.gather[output]) == offset + place
        offset += len(roles)


def _role(number: int) -> Role:
    return Role.COMPRESSION if number == UNREAD else Role(number)


def test_a_row_without_compression_is_one_causal_sequence() -> None:
    from pipeline.recipes.crem import LAYOUT

    roles = np.array([0, 1, 1, 2, 2, 3, 4], dtype=np.int8)
    plain, cut = (causal_spans([(roles, flag)], [np.arange(7)], LAYOUT) for flag in (False, True))
    assert plain.gather.tolist() == list(range(7)) == plain.take.tolist()
    assert cut.gather.tolist() == [0, 1, 1 + 1, 3, 4, 0, 3, 4, 5, 6] and cut.take.tolist() == [0, 1, 2, 3, 4, 8, 9]


def test_tokens_that_no_question_reads_are_read_by_themselves_alone() -> None:
    from pipeline.recipes.crem import LAYOUT

    roles = np.array([0, 1, 2, 2, UNREAD, 3, 4], dtype=np.int8)
    plain, cut = (causal_spans([(roles, flag)], [np.arange(7)], LAYOUT) for flag in (False, True))
    assert plain.gather.tolist() == [0, 1, 2, 3, 4, 0, 1, 2, 3, 5, 6] and plain.take.tolist() == [0, 1, 2, 3, 4, 9, 10]
    assert cut.gather.tolist() == [0, 1, 2, 3, 4, 0, 2, 3, 5, 6] and cut.take.tolist() == [0, 1, 2, 3, 4, 8, 9]
