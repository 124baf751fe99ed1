"""Span attention of packed rows against single rows under a dense mask (tests/pipeline/dense.py), over random layouts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import nn

from pipeline.batch import PoolPositions, Row, pack, row_places, shared_system
from pipeline.model import attention
from pipeline.model.attention import SpanPlan
from pipeline.model.compression import Chorus
from pipeline.model.embedder import Embedder
from pipeline.model.generation import proceed, remember
from pipeline.model.pooling import LastToken
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.roles import Hide, Layout, Role
from pipeline.sequence import SequenceBuilder, native_layout
from tests.pipeline.cases import Case, random_case
from tests.pipeline.corpus import random_row
from tests.pipeline.dense import DenseModel

NUM_CASES = 200
BLOCK = 10
POOLED = PoolPositions(Role.CONTEXT, last=True)
"""Any one position of a row: pooling is not what is compared here."""


@pytest.fixture(scope="module")
def dense(embedder: Embedder) -> DenseModel:
    return DenseModel(embedder)


def packed_states(embedder: Embedder, rows: list[Row], recipe: Recipe) -> list[torch.Tensor]:
    batch = pack(rows, recipe.phase.layout, POOLED)
    with torch.no_grad():
        states = embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))
    return [states[torch.from_numpy(place)] for place in row_places(rows)]


def weights(text: nn.Module) -> list[nn.Parameter]:
    """Every weight of the language model but its table, which is read before."""
    return [weight for name, weight in text.named_parameters() if not name.startswith("embed_tokens")]


def check_case(embedder: Embedder, dense: DenseModel, case: Case, generator: torch.Generator) -> None:
    """Inputs, states, and the gradients of all weights and inputs: packed with spans, and row by row under the dense mask."""
    batch, places = pack(case.rows, case.layout, POOLED), [torch.from_numpy(place) for place in row_places(case.rows)]
    read = embedder.inputs(batch)
    inputs = read.embeddings.detach().requires_grad_()
    states = embedder.backbone.hidden(read._replace(embeddings=inputs), batch.position_ids, SpanPlan.of(batch.spans))
    ours = theirs = torch.zeros(())
    for row, place in zip(case.rows, places, strict=True):
        torch.testing.assert_close(inputs.detach()[place], dense.embeddings(row), atol=1e-5, rtol=0)
        expected = dense.states(row, case.layout, inputs[place])
        torch.testing.assert_close(states[place], expected, atol=1e-5, rtol=0)
        factors = torch.randn(expected.shape, generator=generator) / expected.numel() ** 0.5
        ours, theirs = ours + (states[place] * factors).sum(), theirs + (expected * factors).sum()
    found = torch.autograd.grad(ours, [inputs, *weights(embedder.backbone.text)])
    wanted = torch.autograd.grad(theirs, [inputs, *weights(dense.text)])
    for gradient, expected in zip(found, wanted, strict=True):
        torch.testing.assert_close(gradient, expected, atol=1e-5, rtol=2e-6)


@pytest.mark.parametrize("block", range(NUM_CASES // BLOCK))
def test_packed_rows_equal_single_rows_under_the_dense_mask(
    embedder: Embedder, dense: DenseModel, builder: SequenceBuilder, block: int
) -> None:
    generator = torch.Generator().manual_seed(block)
    for seed in range(block * BLOCK, (block + 1) * BLOCK):
        check_case(embedder, dense, random_case(seed, builder.vocabulary), generator)


def test_the_random_cases_hold_what_they_promise(builder: SequenceBuilder) -> None:
    """Each kind of case that the comparison is meant for is among the 200, and not by a hair."""
    cases = [random_case(seed, builder.vocabulary) for seed in range(NUM_CASES)]
    rows = [row for case in cases for row in case.rows]
    roles = [row.sequence.roles for row in rows]
    answers = [int((np.diff(part == Role.ANSWER) == 1).sum()) for part in roles]
    counts = {
        "nothing hidden": sum(not case.layout.hidden for case in cases),
        "several hidden pairs": sum(len(case.layout.hidden) > 1 for case in cases),
        "head in another order": sum(sorted(case.layout.order) != list(case.layout.order) for case in cases),
        "rows that are cut": sum(row.compressed and bool(case.layout.hidden) for case in cases for row in case.rows),
        "rows that are not": sum(not row.compressed for row in rows),
        "several turns": sum(number > 1 for number in answers),
        "no turn": sum(number == 0 for number in answers),
        "no compression": sum(not (part == Role.COMPRESSION).any() for part in roles),
        "no picture": sum(len(row.pixels) == 0 for row in rows),
        "two pictures": sum(len(row.pixels) == 2 for row in rows),
        "a common head": sum(len(case.rows) > 1 and shared_system(case.rows) > 0 for case in cases),
        "no common head": sum(len(case.rows) > 1 and shared_system(case.rows) == 0 for case in cases),
    }
    assert {name: count for name, count in counts.items() if count < 20} == {}


def test_native_rows_are_packed_beside_plain_prompts(
    embedder: Embedder, dense: DenseModel, builder: SequenceBuilder, recipe: Recipe
) -> None:
    """Rows of two layouts in one packed row, in either order, are causal each."""
    plain = Layout(order=(Role.CONTEXT,), template="plain")
    phase = replace(retrieval(recipe), layout=plain)
    beside = replace(recipe, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=(phase,))
    rng = np.random.default_rng(6)
    native = replace(builder, layout=native_layout(plain))
    rows = [random_row(replace(builder, layout=plain), rng, slot=0), random_row(native, rng, num_turns=2)]
    rows = [rows[0], replace(rows[1], compressed=False, slot=-1)]
    for order in (rows, rows[::-1]):
        for row, states in zip(order, packed_states(embedder, order, beside), strict=True):
            torch.testing.assert_close(states, dense.states(row, plain, dense.embeddings(row)), atol=1e-5, rtol=1e-5)


def retrieval(recipe: Recipe) -> Phase:
    """The recipe's phase without questions."""
    (phase,) = recipe.phases
    return replace(phase, language_weight=0.0, mixture=replace(phase.mixture, own_sides=(), outside=0))


def test_the_mask_matters(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """The comparison above has teeth: with and without compression answers differ, and nothing before the question does."""
    rng = np.random.default_rng(9)
    row = random_row(builder, rng, num_images=1, num_turns=1)
    open_row = Row(key="open", sequence=row.sequence, pixels=row.pixels, compressed=False, slot=0)
    hidden, plain = packed_states(embedder, [row, open_row], recipe)
    before = torch.from_numpy(row.sequence.roles) < Role.QUESTION
    torch.testing.assert_close(hidden[before], plain[before], atol=1e-6, rtol=1e-6)
    assert (hidden[~before] - plain[~before]).abs().max() > 1e-2


def closed_to_tokens(layout: Layout) -> Layout:
    """The same layout with COMPRESSION hidden from every other role: what went through the tokens has no way any more."""
    if Role.COMPRESSION not in layout.order:
        return layout
    others = tuple(role for role in layout.order if role != Role.COMPRESSION)
    return replace(layout, hidden=(*layout.hidden, Hide(others, (Role.COMPRESSION,))))


def gradient_of(embedder: Embedder, case: Case, readers: torch.Tensor) -> torch.Tensor:
    """Gradient (T, D) from the states at `readers`, a (T,) mask, to what enters the language model."""
    batch = pack(case.rows, case.layout, POOLED)
    read = embedder.inputs(batch)
    inputs = read.embeddings.detach().requires_grad_()
    states = embedder.backbone.hidden(read._replace(embeddings=inputs), batch.position_ids, SpanPlan.of(batch.spans))
    return torch.autograd.grad(states[readers].square().sum(), inputs)[0]


def at(case: Case, row: int, roles: tuple[Role, ...]) -> torch.Tensor:
    """Mask (T,) of the packed positions where a row has one of the roles."""
    places = row_places(case.rows)
    mask = torch.zeros(max(int(place[-1]) for place in places) + 1, dtype=torch.bool)
    mask[torch.from_numpy(places[row][np.isin(case.rows[row].sequence.roles, roles)])] = True
    return mask


@pytest.mark.parametrize("seed", range(60))
def test_what_is_hidden_has_exactly_no_gradient_but_through_the_tokens(
    embedder: Embedder, builder: SequenceBuilder, seed: int
) -> None:
    """For each hidden pair of a random layout; and the other rows of a packed row have none at all, but for a common head."""
    case = random_case(seed, builder.vocabulary)
    case = Case(layout=closed_to_tokens(case.layout), rows=[replace(row, compressed=True) for row in case.rows])
    common = torch.arange(len(at(case, 0, ()))) < shared_system(case.rows)
    for number in range(len(case.rows)):
        own = at(case, number, tuple(Role))
        assert not gradient_of(embedder, case, own & ~common)[~own].any()
        for hide in case.layout.hidden[:-1]:
            if Role.COMPRESSION in hide.queries or Role.COMPRESSION in hide.keys:
                continue  # the promise is about what goes around the tokens
            gradient = gradient_of(embedder, case, at(case, number, hide.queries))
            assert not gradient[at(case, number, hide.keys)].any()


@pytest.mark.parametrize("seed", range(10))
def test_answers_reach_the_context_through_the_tokens_alone(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe, seed: int
) -> None:
    """CREM's own layout: with the tokens in place there is a gradient from answers to the context, without them exactly none."""
    row = replace(random_row(builder, np.random.default_rng(seed), num_turns=2), compressed=True)
    through = Case(layout=recipe.phase.layout, rows=[row])
    closed = Case(layout=closed_to_tokens(recipe.phase.layout), rows=[row])
    answers, context = at(through, 0, (Role.QUESTION, Role.ANSWER)), at(through, 0, (Role.CONTEXT,))
    assert gradient_of(embedder, through, answers)[context].abs().sum(dim=1).min() > 0.0
    assert not gradient_of(embedder, closed, answers)[context].any()


def other_turns(row: Row, donor: Row) -> Row:
    """The head of a row with another row's questions and answers behind it, and the coin turned over."""
    kept, taken = row.sequence.roles < Role.QUESTION, donor.sequence.roles >= Role.QUESTION
    ids = np.concatenate([row.sequence.input_ids[kept], donor.sequence.input_ids[taken]])
    roles = np.concatenate([row.sequence.roles[kept], donor.sequence.roles[taken]])
    return replace(row, sequence=replace(row.sequence, input_ids=ids, roles=roles), compressed=not row.compressed)


@pytest.mark.parametrize("seed", range(40))
def test_questions_and_answers_never_move_what_stands_before_them(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe, seed: int
) -> None:
    """Neither their words nor the coin nor the company; and the gradient of the tokens to them is exactly zero."""
    case = random_case(seed, builder.vocabulary, layout=recipe.phase.layout)
    donors = random_case(1000 + seed, builder.vocabulary, layout=recipe.phase.layout).rows
    changed = [other_turns(row, donors[number % len(donors)]) for number, row in enumerate(case.rows)]
    before, after = packed_states(embedder, case.rows, recipe), packed_states(embedder, [*changed, *donors], recipe)
    for row, old, new in zip(case.rows, before, after, strict=False):
        head = int((row.sequence.roles < Role.QUESTION).sum())
        torch.testing.assert_close(new[:head], old[:head], atol=1e-5, rtol=0)
    for number in range(len(case.rows)):
        gradient = gradient_of(embedder, case, at(case, number, (Role.COMPRESSION,)))
        assert not gradient[at(case, number, (Role.QUESTION, Role.ANSWER))].any()


@pytest.mark.parametrize("seed", range(30))
def test_continuing_from_system_and_tokens_equals_the_masked_forward(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe, seed: int
) -> None:
    """Keys and values of SYSTEM and COMPRESSION are kept, all else is dropped, and any part of the turns is read on top."""
    rng = np.random.default_rng(seed)
    rows = [replace(random_row(builder, rng, num_turns=int(rng.integers(1, 4))), compressed=True) for _ in range(3)]
    places = [torch.from_numpy(place) for place in row_places(rows)]
    roles = [row.sequence.roles for row in rows]
    ends = [int(rng.integers(int((part < Role.QUESTION).sum()) + 1, len(part) + 1)) for part in roles]
    kept = [place[np.isin(part, (Role.SYSTEM, Role.COMPRESSION))] for place, part in zip(places, roles, strict=True)]
    memory, _ = remember(embedder, pack(rows, recipe.phase.layout, POOLED), kept)
    asked = [
        row.sequence.input_ids[(row.sequence.roles < Role.QUESTION).sum() : end] for row, end in zip(rows, ends, strict=True)
    ]
    _, states = proceed(embedder, memory, [ids.tolist() for ids in asked])
    expected = [masked[end - 1] for masked, end in zip(packed_states(embedder, rows, recipe), ends, strict=True)]
    torch.testing.assert_close(states, torch.stack(expected), atol=1e-5, rtol=0)


def alone(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor, lengths: list[int], scale: float) -> torch.Tensor:
    """Softmax inside each sequence by itself, (1, P, H, d)."""
    pieces = zip(*(part[0].split(lengths, dim=1) for part in (query, key, value)), strict=True)
    outputs = [(q @ k.transpose(1, 2) * scale).softmax(dim=2) @ v for q, k, v in pieces]
    return torch.cat(outputs, dim=1).transpose(0, 1)[None]


@pytest.mark.parametrize(
    ("lengths", "calls"), [([4, 4, 4], 1), ([4, 6], 2), ([4, 2, 4, 2, 2, 4], 2), ([6, 4, 1, 4, 6, 1, 1], 3), ([5], 1)]
)
def test_sequences_of_one_length_are_one_call_wherever_they_stand(
    lengths: list[int], calls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As the windows of a tower stand: those at the edges of each picture are smaller. Outputs and gradients."""
    counted: list[int] = []
    kernel = attention.scaled_dot_product_attention
    monkeypatch.setattr(
        attention, "scaled_dot_product_attention", lambda *given, **how: counted.append(1) or kernel(*given, **how)
    )
    generator = torch.Generator().manual_seed(0)
    given = [torch.randn(1, 2, sum(lengths), 8, generator=generator).requires_grad_() for _ in range(3)]
    starts = torch.tensor([0, *np.cumsum(lengths)], dtype=torch.int32)
    found, _ = attention.picture_attention(
        nn.Identity(), *given, None, cu_seq_lens_q=starts, max_length_q=max(lengths), scaling=0.3
    )
    expected = alone(*given, lengths, 0.3)
    torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-5)
    factors = torch.randn(found.shape, generator=generator)
    for ours, theirs in zip(*(torch.autograd.grad((out * factors).sum(), given) for out in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-6, rtol=1e-5)
    assert len(counted) == calls


def test_the_tower_attends_inside_each_picture(embedder: Embedder) -> None:
    """Pictures of mixed sizes in one call equal transformers' own sdpa tower, picture by picture."""
    rng = np.random.default_rng(5)
    pictures = [
        torch.from_numpy(rng.integers(0, 255, (3, h * 28, w * 28), dtype=np.uint8)) for h, w in [(2, 2), (2, 2), (3, 2), (2, 2)]
    ]
    patches = [embedder.cutter(picture[None]) for picture in pictures]
    grids = torch.tensor([(1, p.shape[1] // 14, p.shape[2] // 14) for p in pictures])
    tower = embedder.backbone.tower
    with torch.no_grad():
        together = embedder.backbone.features(torch.cat(patches), grids)
        ours, tower.config._attn_implementation = tower.config._attn_implementation, "sdpa"
        try:
            alone = [tower(part, grid_thw=grid[None]).pooler_output for part, grid in zip(patches, grids, strict=True)]
        finally:
            tower.config._attn_implementation = ours
    torch.testing.assert_close(together, torch.cat(alone), atol=1e-5, rtol=1e-5)
