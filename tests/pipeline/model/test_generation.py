"""Compressed answers continue from SYSTEM and the tokens alone, and are what the mask of Eq. 2 says they must be."""

import numpy as np
import torch

from pipeline.batch import Row, pack
from pipeline.inference import EmbeddingModel
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.model.generation import proceed
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder
from tests.pipeline.corpus import picture, sentence

QUESTIONS = ["what is red", "where", "what is the picture of a blue star top left", "is"]


def model_of(loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe) -> EmbeddingModel:
    loaded[0].eval()
    return EmbeddingModel(
        embedder=loaded[0], recipe=recipe, builder=builder, fingerprint="", decode=lambda ids: " ".join(map(str, ids))
    )


def contexts() -> list[Side]:
    rng = np.random.default_rng(0)
    sides = [Side(text=f"<|image_1|>\n{sentence(rng)}", images=(picture(rng, 56 + 28 * n),)) for n in range(3)]
    return [*sides, Side(text=sentence(rng))]


def forward_greedy(model: EmbeddingModel, side: Side, question: str, *, compressed: bool, length: int) -> list[int]:
    """Greedy continuation by whole forward passes under the mask, no cache: the slow, plain definition."""
    answer: list[int] = []
    for _ in range(length):
        row = model._row(model.builder, side, [Turn(question=question)])
        sequence = row.sequence
        ids = np.concatenate([sequence.input_ids, np.array(answer, dtype=np.int64)])
        roles = np.concatenate([sequence.roles, np.full(len(answer), Role.ANSWER, dtype=np.int8)])
        longer = type(sequence)(ids, roles, sequence.grid_thw, sequence.image_starts)
        batch = pack(
            [Row(key="", sequence=longer, pixels=row.pixels, compressed=compressed)],
            model.recipe.layout,
            model.recipe.pooling.positions,
        )
        with torch.no_grad():
            states = model.embedder.backbone.hidden(
                model.embedder.input_embeddings(batch), batch.position_ids, SpanPlan.of(batch.spans)
            )
            logits = model.embedder.backbone.logits(states[-1])
        logits[list(model.builder.vocabulary.chorus)] = float("-inf")
        if int(logits.argmax()) == model.builder.vocabulary.im_end:
            break
        answer.append(int(logits.argmax()))
    return answer


def test_compressed_answers_equal_the_masked_forward(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe
) -> None:
    model = model_of(loaded, builder, recipe)
    answers = model.answer(contexts(), QUESTIONS, compressed=True, max_new_tokens=8)
    expected = [
        forward_greedy(model, side, question, compressed=True, length=8)
        for side, question in zip(contexts(), QUESTIONS, strict=True)
    ]
    assert answers == [" ".join(map(str, ids)) for ids in expected]


def test_batched_answers_equal_single_ones_and_differ_from_native(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe
) -> None:
    model = model_of(loaded, builder, recipe)
    together = {flag: model.answer(contexts(), QUESTIONS, compressed=flag, max_new_tokens=6) for flag in (True, False)}
    for flag, answers in together.items():
        assert answers == [
            model.answer([side], [question], compressed=flag, max_new_tokens=6)[0]
            for side, question in zip(contexts(), QUESTIONS, strict=True)
        ]
    assert together[True] != together[False]


def test_compressed_answers_follow_the_tokens_that_are_put_in(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe
) -> None:
    model = model_of(loaded, builder, recipe)
    sides = contexts()
    swapped = model.answer([sides[1], sides[0]], [QUESTIONS[0]] * 2, compressed=True, max_new_tokens=6)
    assert swapped == model.answer(sides[:2], [QUESTIONS[0]] * 2, compressed=True, max_new_tokens=6)[::-1]


def test_embeddings_do_not_depend_on_the_batch(loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe) -> None:
    model = model_of(loaded, builder, recipe)
    together = model.embed(contexts())
    alone = np.concatenate([model.embed([side]) for side in contexts()])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_padding_behind_a_question_is_never_seen(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe
) -> None:
    """The state of the token after the question is the same whether longer questions stand beside it or not."""
    model = model_of(loaded, builder, recipe)
    rows = [model._row(builder, side, ()) for side in contexts()]
    asked = [builder.question_ids(question) for question in QUESTIONS]

    def next_states(places: list[int]) -> torch.Tensor:
        memory, _ = model._remember([rows[place] for place in places], (Role.SYSTEM, Role.COMPRESSION))
        memory, _ = proceed(model.embedder, memory, [asked[place] for place in places])
        token = torch.full((len(places), 1), builder.vocabulary.im_end)
        visible = torch.cat([memory.seen, torch.ones(len(places), 1, dtype=torch.bool)], dim=1)[:, None, None]
        with torch.no_grad():
            return model.embedder.backbone.proceed(token, memory.position[:, None], visible, memory.cache())[:, 0]

    together = next_states([0, 1, 2, 3])
    alone = torch.cat([next_states([place]) for place in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)
