"""Span attention against the dense mask of Eq. 2, written out here independently, through transformers' own eager model."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.batch import Row, pack, row_places
from pipeline.model.attention import SpanPlan
from pipeline.model.compression import Chorus
from pipeline.model.embedder import Embedder
from pipeline.model.pooling import LastToken
from pipeline.recipe import Recipe
from pipeline.roles import Hide, Layout, Role
from pipeline.sequence import SequenceBuilder, native_layout
from tests.pipeline.corpus import random_row


def dense_mask(row: Row) -> torch.Tensor:
    """Eq. 2, entry by entry: causal, and QUESTION or ANSWER may not see CONTEXT when the coin says so."""
    roles = row.sequence.roles
    mask = torch.zeros(len(roles), len(roles), dtype=torch.bool)
    for i in range(len(roles)):
        for j in range(i + 1):
            hidden = row.compressed and roles[i] in (Role.QUESTION, Role.ANSWER) and roles[j] == Role.CONTEXT
            mask[i, j] = not hidden
    return mask


def eager_states(embedder: Embedder, row: Row, recipe: Recipe) -> torch.Tensor:
    """Hidden states (T, D) of one unpacked row from an eager copy of the model with the dense mask."""
    model = embedder.backbone.model
    eager = type(model)(type(model.config).from_dict(model.config.to_dict()))
    eager.load_state_dict(model.state_dict())
    eager.set_attn_implementation("eager")
    batch = pack([row], recipe.layout, recipe.pooling.positions)
    additive = torch.where(dense_mask(row), 0.0, torch.finfo(torch.float32).min)[None, None]
    with torch.no_grad():
        embeddings = embedder.bank(batch.input_ids, eager.model.language_model.embed_tokens(batch.input_ids))
        if row.pixels:
            patches = torch.cat([embedder.cutter(torch.from_numpy(picture)[None]) for picture in row.pixels])
            features = eager.model.visual(patches, grid_thw=batch.grid_thw).pooler_output
            embeddings[batch.image_index] = features
        kind = (batch.input_ids == embedder.backbone.model.config.image_token_id).int()[None]
        grids = batch.grid_thw if len(batch.grid_thw) else None
        positions, _ = eager.model.get_rope_index(batch.input_ids[None], kind, grids)
        output = eager.model.language_model(
            inputs_embeds=embeddings[None], position_ids=positions, attention_mask={"full_attention": additive}
        )
    return output.last_hidden_state[0]


def packed_states(embedder: Embedder, rows: list[Row], recipe: Recipe) -> list[torch.Tensor]:
    batch = pack(rows, recipe.layout, recipe.pooling.positions)
    with torch.no_grad():
        states = embedder.backbone.hidden(embedder.input_embeddings(batch), batch.position_ids, SpanPlan.of(batch.spans))
    return [states[torch.from_numpy(place)] for place in row_places(rows)]


@pytest.mark.parametrize("seed", range(4))
def test_packed_spans_equal_the_dense_mask_row_by_row(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    rows = [random_row(builder, rng, slot=slot, compressed=bool(slot % 2)) for slot in range(5)]
    for row, states in zip(rows, packed_states(embedder, rows, recipe), strict=True):
        torch.testing.assert_close(states, eager_states(embedder, row, recipe), atol=1e-5, rtol=1e-5)


def test_native_rows_are_packed_beside_plain_prompts(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """Rows of two layouts in one packed row, in either order, are causal each."""
    plain = Layout(order=(Role.CONTEXT,), template="plain")
    beside = replace(recipe, layout=plain, tokens=Chorus(count=0), pooling=LastToken(Role.CONTEXT), phases=())
    rng = np.random.default_rng(6)
    native = replace(builder, layout=native_layout(plain))
    rows = [random_row(replace(builder, layout=plain), rng, slot=0), random_row(native, rng, num_turns=2)]
    rows = [rows[0], replace(rows[1], compressed=False, slot=-1)]
    for order in (rows, rows[::-1]):
        for row, states in zip(order, packed_states(embedder, order, beside), strict=True):
            torch.testing.assert_close(states, eager_states(embedder, row, beside), atol=1e-5, rtol=1e-5)


def test_the_mask_matters(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """The comparison above has teeth: with and without compression answers differ, and nothing before the question does."""
    rng = np.random.default_rng(9)
    row = random_row(builder, rng, num_images=1, num_turns=1)
    open_row = Row(key="open", sequence=row.sequence, pixels=row.pixels, compressed=False, slot=0)
    hidden, plain = packed_states(embedder, [row, open_row], recipe)
    before = torch.from_numpy(row.sequence.roles) < Role.QUESTION
    torch.testing.assert_close(hidden[before], plain[before], atol=1e-6, rtol=1e-6)
    assert (hidden[~before] - plain[~before]).abs().max() > 1e-2


def test_answers_have_exactly_no_gradient_to_context_once_the_tokens_are_hidden(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe
) -> None:
    """The tokens are the only way: hide COMPRESSION too, and the gradient from the answers to the context is exactly zero."""
    row = random_row(builder, np.random.default_rng(3), num_images=1, num_turns=2)
    context = torch.from_numpy(row.sequence.roles == Role.CONTEXT)
    closed = Layout(order=recipe.layout.order, hidden=(Hide((Role.QUESTION, Role.ANSWER), (Role.CONTEXT, Role.COMPRESSION)),))
    gradients = {}
    for name, layout in {"through tokens": recipe.layout, "closed": closed}.items():
        batch = pack([replace(row, compressed=True)], layout, recipe.pooling.positions)
        embeddings = embedder.input_embeddings(batch).detach().requires_grad_()
        states = embedder.backbone.hidden(embeddings, batch.position_ids, SpanPlan.of(batch.spans))
        states[batch.score_index].square().sum().backward()
        assert embeddings.grad is not None
        gradients[name] = embeddings.grad[context]
    assert float(gradients["closed"].abs().max()) == 0.0
    assert float(gradients["through tokens"].abs().max()) > 0.0


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
