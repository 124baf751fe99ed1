"""The layouts of the methods beside CREM's: their words, who sees whom, what is scored, and where positions go on."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from pipeline.batch import Row, pack
from pipeline.errors import ConfigError
from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.attention import SpanPlan
from pipeline.model.backbone import Folder, Inputs
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.roles import Continues, Hide, Layout, Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, conversation_context, native_layout
from tests.pipeline.answers import Recorder, forward_greedy
from tests.pipeline.corpus import picture, small_recipe

S, X, C, Q, A = Role
CUT = (Hide((Q, A), (X,)),)
COMA = Layout(order=(X, C, Q, A), hidden=CUT, template="turns", cue="Summarize the input.", scored=(Q, A))
MATCH = Layout(order=(X, C), template="turns")
TARGET = Layout(order=(X, C, Q, A), hidden=CUT, template="target", continues="count")
SIDE = Side(instruction="<|image_1|>\n", text="red star", images=(b"x",))
GRID = np.array([(1, 4, 6)])
TWO = [Turn(question="what is red", answer="circle"), Turn(question="where", answer="top left")]
PICTURE = "<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>"


def parts_of(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, layout: Layout, turns: list[Turn]
) -> list[tuple[Role, str]]:
    """Runs of one role with their text."""
    sequence = replace(builder, layout=layout).build(SIDE, GRID, turns)
    ids, roles = sequence.input_ids.tolist(), sequence.roles.tolist()
    runs: list[tuple[Role, list[int]]] = []
    for token, role in zip(ids, roles, strict=True):
        if not runs or runs[-1][0] != role:
            runs.append((Role(role), []))
        runs[-1][1].append(token)
    return [(role, "<chorus>" if role is C else str(loaded[1].tokenizer.decode(run))) for role, run in runs]


def test_comas_dialogue_has_no_system_line_and_a_chat_behind_the_tokens(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder
) -> None:
    assert parts_of(loaded, builder, COMA, TWO) == [
        (X, f"{PICTURE}\nred star\nSummarize the input."), (C, "<chorus>"),
        (Q, "<|im_start|>user\nwhat is red<|im_end|>\n<|im_start|>assistant\n"), (A, "circle<|im_end|>"),
        (Q, "\n<|im_start|>user\nwhere<|im_end|>\n<|im_start|>assistant\n"), (A, "top left<|im_end|>"),
    ]  # fmt: skip
    assert parts_of(loaded, builder, MATCH, []) == [(X, f"{PICTURE}\nred star"), (C, "<chorus>")]


def test_a_target_has_the_assistant_s_header_alone(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    assert parts_of(loaded, builder, TARGET, [Turn(question="", answer="blue")]) == [
        (X, f"{PICTURE}\nred star"), (C, "<chorus>"), (Q, "<|im_start|>assistant\n"), (A, "blue<|im_end|>"),
    ]  # fmt: skip


def test_words_of_a_template_are_values(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    other = replace(builder.layout, system="You see.", represent="")
    assert parts_of(loaded, builder, other, [])[0] == (S, "<|im_start|>system\nYou see.<|im_end|>\n<|im_start|>user\n")
    bare, told = (conversation_context(Side(images=(b"x",)), layout) for layout in (other, builder.layout))
    assert bare == Side(images=(b"x",)) and told.instruction == "<|image_1|>\nRepresent the given image."
    assert native_layout(other).system == "You see." and native_layout(builder.layout).represent == ""


@pytest.mark.parametrize(
    ("layout", "sees"),
    [
        # Who sees whom, written out by role from the papers' figures: S X C Q A.
        (COMA, {X: "X", C: "XC", Q: "CQA", A: "CQA"}),
        (MATCH, {X: "X", C: "XC"}),
        (TARGET, {X: "X", C: "XC", Q: "CQA", A: "CQA"}),
    ],
)
def test_who_sees_whom(builder: SequenceBuilder, layout: Layout, sees: dict[Role, str]) -> None:
    """Token by token over the packed spans of two rows: the earlier tokens of the roles in the table, and no others."""
    letters = dict(zip(Role, "SXCQA", strict=True))
    build = replace(builder, layout=layout).build
    rows = [
        Row(key="", sequence=build(SIDE, GRID, TWO), compressed=True),
        Row(key="", sequence=build(SIDE, GRID), compressed=True),
    ]
    spans = pack([replace(row, pixels=(np.zeros((3, 56, 84), np.uint8),)) for row in rows], layout, lambda roles: roles[:0]).spans
    starts, gather, take = spans.cu_seqlens.tolist(), spans.gather.tolist(), spans.take.tolist()
    offset = 0
    for row in rows:
        roles = row.sequence.roles.tolist()
        for token, role in enumerate(roles):
            out = take[offset + token]
            begin = max(start for start in starts if start <= out)
            seen = gather[begin : out + 1]
            expected = [offset + key for key in range(token + 1) if letters[Role(roles[key])] in sees[Role(role)]]
            assert seen == expected
        offset += len(roles)


def test_what_is_scored_is_a_value(builder: SequenceBuilder) -> None:
    """CoMa's code scores all behind the tokens, its figure the answers; a target's header is not scored, its end tag is."""
    everything = replace(builder, layout=COMA).build(SIDE, GRID, TWO)
    answers = replace(builder, layout=replace(COMA, scored=(A,))).build(SIDE, GRID, TWO)
    behind = int((everything.roles < Q).sum())
    assert everything.scored_tokens().tolist() == list(range(behind, len(everything)))
    assert [int(everything.roles[token]) for token in answers.scored_tokens()] == [A] * int((answers.roles == A).sum())
    target = replace(builder, layout=TARGET).build(SIDE, GRID, [Turn(question="", answer="blue")])
    assert target.input_ids[target.scored_tokens()][-1] == builder.vocabulary.im_end
    row = Row(key="", sequence=everything, pixels=(np.zeros((3, 56, 84), np.uint8),))
    batch = pack([row], COMA, lambda roles: roles[:0])
    assert row.num_scored == len(batch.score_index) and batch.score_index[0] == behind - 1
    assert not set(batch.score_target.tolist()) & {builder.vocabulary.image_pad}


@pytest.mark.parametrize("continues", ["next", "count"])
def test_positions_behind_the_tokens_by_hand(builder: SequenceBuilder, continues: Continues) -> None:
    """<start> at 0, a picture of 2 x 3 tokens at 1, so <end> at 4 (M-RoPE), then words, then four tokens of compression."""
    layout = replace(TARGET, continues=continues)
    sequence = replace(builder, layout=layout).build(Side(text="red", images=(b"x",)), GRID, [Turn(question="", answer="blue")])
    words = int((sequence.roles == X).sum()) - 8
    behind = 8 + words + 4
    first = {"next": 4 + 1 + words + 4, "count": behind}[continues]
    positions = sequence.positions()
    assert positions[:, behind - 1].tolist() == [4 + words + 4] * 3, "the tokens themselves go on as M-RoPE says"
    assert positions[:, behind:].tolist() == [list(range(first, first + len(sequence) - behind))] * 3
    assert sequence.until(C).next_position() == first


MODELS = {
    "turns": COMA,
    "turns by count": replace(COMA, continues="count"),
    "target": TARGET,
    "target next": replace(TARGET, continues="next"),
}


@pytest.fixture(scope="module", params=MODELS)
def model(request: pytest.FixtureRequest, model_folder: Path) -> EmbeddingModel:
    recipe = small_recipe().with_phase(layout=MODELS[request.param])
    return load_model(model_folder, recipe=recipe)


def test_answers_from_the_cut_cache_equal_the_masked_forward(model: EmbeddingModel) -> None:
    rng, recorder = np.random.default_rng(1), Recorder()
    sides = [Side(text="red star", images=(picture(rng, 84, 56),)), Side(text="blue circle top")]
    questions = ["what is red", "where"]
    model.answer(sides, questions, compressed=True, max_new_tokens=4, decoding=recorder)
    for side, question, found in zip(sides, questions, recorder.answers(), strict=True):
        context = conversation_context(side, model.builder.layout)
        _, expected = forward_greedy(model, context, question, mode="compressed", length=4)
        torch.testing.assert_close(found[: len(expected)], expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name", MODELS)
def test_scored_tokens_reach_the_context_through_the_tokens_alone(
    embedder: Embedder, builder: SequenceBuilder, name: str
) -> None:
    """With the tokens closed to the context the gradient is exactly zero, whatever is scored; open, it is not."""
    open_, closed = (replace(MODELS[name], hidden=hidden) for hidden in (CUT, (*CUT, Hide((C,), (X,)))))
    sequence = replace(builder, layout=open_).build(Side(text="red star left"), np.zeros((0, 3)), TWO[: 2 - ("target" in name)])
    context = torch.from_numpy(sequence.roles == X)
    gradients = []
    for layout in (open_, closed):
        batch = pack([Row(key="", sequence=sequence, compressed=True)], layout, lambda roles: roles[:0])
        inputs = embedder.inputs(batch).embeddings.detach().requires_grad_()
        states = embedder.backbone.hidden(Inputs(inputs), batch.position_ids, SpanPlan.of(batch.spans))
        losses = embedder.backbone.token_losses(states[batch.score_index], batch.score_target)
        gradients.append(torch.autograd.grad(losses.sum(), inputs)[0][context])
    assert gradients[0].abs().sum(dim=1).min() > 0 and not gradients[1].any()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"order": (S, X, C, Q, A)}, r"layout\.template: turns has no system line; take SYSTEM out"),
        ({"scored": (X,)}, r"layout\.scored: give ANSWER, or QUESTION and ANSWER"),
        ({"scored": ()}, r"layout\.scored"),
        ({"order": (X, Q, A), "continues": "count"}, r"layout\.continues: nothing is counted without COMPRESSION"),
        ({"continues": "later"}, r"layout\.continues: 'later' is not one of next, count"),
        ({"order": (X, C), "template": "plain", "hidden": ()}, r"layout\.template: a plain prompt is CONTEXT alone"),
    ],
)
def test_a_layout_that_cannot_be_is_refused(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        replace(COMA, **fields)  # type: ignore[arg-type]


def test_a_recipe_of_before_has_crems_words(recipe: Recipe) -> None:
    assert (recipe.phase.layout.scored, recipe.phase.layout.cue, recipe.phase.layout.continues) == ((A,), "", "next")
