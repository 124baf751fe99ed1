"""The weights of compression tokens in one layer against transformers' eager attention; the families collect the first again."""

from collections.abc import Iterator

import numpy as np
import pytest
import torch

from pipeline.batch import PoolPositions, Row, pack
from pipeline.errors import ConfigError
from pipeline.model.attention import TEXT_ATTENTION, SpanPlan
from pipeline.model.embedder import Embedder
from pipeline.model.token_attention import token_attention
from pipeline.recipe import Recipe
from pipeline.roles import Layout, Role
from pipeline.sample import Side
from pipeline.sequence import SequenceBuilder
from pipeline.side_reader import SideReader
from tests.pipeline.cases import random_case
from tests.pipeline.corpus import picture, random_row, sentence
from tests.pipeline.dense import DenseModel, dense_mask
from tests.pipeline.own_forward import own_attentions


def rows_of(builder: SequenceBuilder, recipe: Recipe) -> list[Row]:
    """Rows without a picture, with one, and with two of different sizes."""
    rng = np.random.default_rng(0)
    encoded = (picture(rng, 84, 140), picture(rng, 112, 56))
    sides = [Side(text=sentence(rng), images=encoded[:count]) for count in range(3)]
    reader = SideReader(builder=builder, pixels=recipe.pixels, pooled=recipe.pooling.positions)
    return [reader.row(side, slot=0) for side in sides]


def tokens_of(row: Row) -> np.ndarray:
    return np.flatnonzero(row.sequence.roles == Role.COMPRESSION)


def test_weights_are_those_of_transformers_own_forward(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    """Of every layer and head, with transformers' own features, positions and mask."""
    for row in rows_of(builder, recipe):
        theirs = own_attentions(embedder, row)
        assert len(theirs) == len(embedder.backbone.text.layers) and float((theirs[0] - theirs[1]).abs().max()) > 1e-3
        for layer, expected in enumerate(theirs):
            found = token_attention(embedder, row, builder.layout, layer)
            torch.testing.assert_close(found, expected[:, tokens_of(row)].detach(), atol=1e-5, rtol=0)


def hiding(builder: SequenceBuilder) -> Iterator[tuple[Row, Layout]]:
    """Random rows with compression tokens, from some of which the layout hides something."""
    for seed in range(60):
        case = random_case(seed, builder.vocabulary)
        hides = any(Role.COMPRESSION in hide.queries for hide in case.layout.hidden)
        yield from ((row, case.layout) for row in case.rows if row.has_compression and hides)


def test_hidden_roles_have_no_weight(embedder: Embedder, builder: SequenceBuilder) -> None:
    """The mask entry by entry, in transformers' eager layers over the same inputs."""
    dense, found = DenseModel(embedder), {True: 0, False: 0}
    for row, layout in hiding(builder):
        mask = dense_mask(row, layout)
        additive = torch.where(mask, 0.0, torch.finfo(torch.float32).min)[None, None]
        positions = torch.from_numpy(row.sequence.positions())[:, None]
        with torch.no_grad():
            output = dense.text(
                inputs_embeds=dense.embeddings(row)[None],
                position_ids=positions,
                attention_mask={"full_attention": additive},
                output_attentions=True,
            )
        weights = token_attention(embedder, row, layout, 1)
        torch.testing.assert_close(weights, output.attentions[1][0][:, tokens_of(row)], atol=1e-5, rtol=0)
        torch.testing.assert_close(weights.sum(dim=-1), torch.ones(weights.shape[:2]))
        assert not bool(weights[:, ~mask[tokens_of(row)]].any())
        found[row.compressed] += 1
    assert min(found.values()) > 5


def test_the_usual_attention_is_back_afterwards(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    row = rows_of(builder, recipe)[1]
    batch = pack([row], builder.layout, PoolPositions(Role.COMPRESSION))

    def states() -> torch.Tensor:
        with torch.no_grad():
            return embedder.backbone.hidden(embedder.inputs(batch), batch.position_ids, SpanPlan.of(batch.spans))

    before = states()
    token_attention(embedder, row, builder.layout, 0)
    assert torch.equal(states(), before)
    assert embedder.backbone.text.config._attn_implementation == TEXT_ATTENTION


def test_what_has_no_such_layer_or_token_is_refused(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    row = rows_of(builder, recipe)[0]
    for layer in (2, -1):
        with pytest.raises(ConfigError, match=rf"layer {layer}: the model has 2 layers, 0 to 1"):
            token_attention(embedder, row, builder.layout, layer)
    layout = Layout(order=(Role.SYSTEM, Role.CONTEXT))
    bare = SequenceBuilder(vocabulary=builder.vocabulary, layout=layout, max_length=200)
    with pytest.raises(ConfigError, match="no compression tokens"):
        token_attention(embedder, random_row(bare, np.random.default_rng(0), num_turns=0), layout, 0)
