"""One forward for both losses: questions never move an embedding, the truncated pass equals the full one."""

import math
from dataclasses import replace

import numpy as np
import torch

from pipeline.batch import pack, truncate
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from tests.pipeline.corpus import random_row


def test_the_first_pass_may_stop_at_the_tokens(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    rng = np.random.default_rng(0)
    rows = [random_row(builder, rng, slot=slot, compressed=bool(slot % 2), num_turns=1) for slot in range(4)]
    pooled = recipe.pooling.positions
    with torch.no_grad():
        full = embedder(pack(rows, recipe.phase.layout, pooled))
        prefix = embedder(pack(truncate(rows, Role.COMPRESSION), recipe.phase.layout, pooled))
    torch.testing.assert_close(prefix.embeddings, full.embeddings, atol=1e-6, rtol=1e-6)
    assert prefix.token_losses.numel() == 0 and full.token_losses.numel() > 0
    torch.testing.assert_close(full.embeddings.norm(dim=1), torch.ones(4))


def test_an_embedding_is_the_normed_sum_of_its_tokens_states_alone(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe
) -> None:
    """transformers' own states of one row with a causal mask, every compression token's added up by a loop."""
    rng = np.random.default_rng(3)
    rows = [random_row(builder, rng, slot=slot, num_images=slot, num_turns=0, compressed=False) for slot in range(3)]
    for row in rows:
        batch = pack([row], recipe.phase.layout, recipe.pooling.positions)
        num_tokens = len(row.sequence)
        with torch.no_grad():
            states = embedder.backbone.text(
                inputs_embeds=embedder.inputs(batch).embeddings[None],
                position_ids=batch.position_ids[:, None],
                attention_mask={"full_attention": None},
                visible=torch.ones(num_tokens, num_tokens, dtype=torch.bool).tril()[None, None],
            ).last_hidden_state[0]
            found = embedder(pack(rows, recipe.phase.layout, recipe.pooling.positions)).embeddings[row.slot]
        total = [0.0] * embedder.width
        for token in np.flatnonzero(np.isin(row.sequence.input_ids, builder.vocabulary.chorus)):
            total = [sum_so_far + float(value) for sum_so_far, value in zip(total, states[token], strict=True)]
        length = math.sqrt(sum(value * value for value in total))
        torch.testing.assert_close(found, torch.tensor([value / length for value in total]), atol=1e-6, rtol=1e-5)


def test_changing_question_or_answer_never_moves_the_embedding(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe
) -> None:
    side = Side(text="red circle top left")
    turns = [
        [],
        [Turn(question="what is red", answer="circle")],
        [Turn(question="where", answer="left"), Turn(question="is", answer="a star")],
    ]
    row = random_row(builder, np.random.default_rng(0))
    for compressed in (True, False):
        sequences = [builder.build(side, np.zeros((0, 3)), turn) for turn in turns]
        rows = [
            replace(row, sequence=sequence, pixels=(), compressed=compressed, slot=slot)
            for slot, sequence in enumerate(sequences)
        ]
        with torch.no_grad():
            embeddings = embedder(pack(rows, recipe.phase.layout, recipe.pooling.positions)).embeddings
        torch.testing.assert_close(embeddings[0].expand(3, -1), embeddings, atol=1e-6, rtol=0)


def test_a_text_only_conversation_answers_alike_compressed_or_not(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe
) -> None:
    """Its context is empty, so there is nothing to hide; and it is packed beside rows with pictures."""
    sequence = builder.build(Side(), np.zeros((0, 3)), [Turn(question="what is red", answer="a circle")])
    beside = random_row(builder, np.random.default_rng(0), num_images=1, num_turns=0)
    losses = []
    for compressed in (True, False):
        row = replace(beside, sequence=sequence, pixels=(), compressed=compressed, slot=-1)
        with torch.no_grad():
            outputs = embedder(pack([beside, row], recipe.phase.layout, recipe.pooling.positions))
        assert len(outputs.embeddings) == 1 and torch.isfinite(outputs.token_losses).all()
        losses.append(outputs.token_losses)
    assert len(losses[0]) > 1
    torch.testing.assert_close(losses[0], losses[1], atol=1e-6, rtol=0)


def test_token_losses_are_the_negative_log_likelihood_of_the_answers(
    embedder: Embedder, builder: SequenceBuilder, recipe: Recipe
) -> None:
    row = random_row(builder, np.random.default_rng(4), num_images=0, num_turns=1, compressed=False)
    batch = pack([row], recipe.phase.layout, recipe.pooling.positions)
    answer = np.flatnonzero(row.sequence.roles == Role.ANSWER)
    with torch.no_grad():
        losses = embedder(batch).token_losses
        embeddings = embedder.inputs(batch).embeddings
        output = embedder.backbone.text(
            inputs_embeds=embeddings[None],
            position_ids=batch.position_ids[:, None],
            attention_mask={"full_attention": None},
            visible=torch.ones(len(row.sequence), len(row.sequence), dtype=torch.bool).tril()[None, None],
        )
        log_probabilities = embedder.backbone.logits(output.last_hidden_state[0]).log_softmax(-1)
    expected = [-float(log_probabilities[t - 1, row.sequence.input_ids[t]]) for t in answer]
    torch.testing.assert_close(losses, torch.tensor(expected), atol=1e-5, rtol=1e-5)
    assert row.sequence.input_ids[answer[-1]] == builder.vocabulary.im_end  # the end token is learnt too
