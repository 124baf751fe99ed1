"""The template, roles, cap and positions of a sequence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import DataError
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.roles import RECONSTRUCT_TEXT, REPRESENT_IMAGE, SYSTEM_PROMPT, Layout, Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, conversation_context, native_layout
from tests.pipeline.corpus import random_row

SIDE = Side(instruction="<|image_1|>\nRepresent the given image.", text=" red star", images=(b"x",))
TURNS = [Turn(question="what is red", answer="circle")]
GRID = np.array([(1, 4, 6)])


def text_of(loaded: tuple[Embedder, Folder], ids: np.ndarray) -> str:
    text: str = loaded[1].tokenizer.decode(ids.tolist())
    return text


def test_the_prompt_is_the_papers(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    sequence = builder.build(SIDE, GRID, TURNS)
    k = len(builder.vocabulary.chorus)
    assert (sequence.input_ids[sequence.roles == Role.COMPRESSION] == builder.vocabulary.chorus).all()
    parts = [text_of(loaded, sequence.input_ids[sequence.roles == role]) for role in Role if role != Role.COMPRESSION]
    assert parts == [
        "<|im_start|>system\nYou are a helpful assistant that can represent and understand multimodal inputs.<|im_end|>\n"
        "<|im_start|>user\n",
        "<|vision_start|>" + "<|image_pad|>" * 6 + "<|vision_end|>\nRepresent the given image. red star",
        "what is red<|im_end|>\n<|im_start|>assistant\n",
        "circle<|im_end|>",
    ]
    order = [int(role) for i, role in enumerate(sequence.roles) if i == 0 or sequence.roles[i - 1] != role]
    assert order == [0, 1, 2, 3, 4] and int((sequence.roles == Role.COMPRESSION).sum()) == k


def test_the_template_is_the_folders_chat_template(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    """Native rows read exactly as the tokenizer's own chat template writes them."""
    native = replace(builder, layout=native_layout(builder.layout))
    sequence = native.build(
        Side(text="red star"), np.zeros((0, 3)), [Turn(question=" is it", answer="circle"), Turn(question="where", answer="left")]
    )
    turns = [("user", "red star" + "is it"), ("assistant", "circle"), ("user", "where"), ("assistant", "left")]
    messages = [{"role": "system", "content": SYSTEM_PROMPT}] + [{"role": role, "content": content} for role, content in turns]
    expected = loaded[1].tokenizer.apply_chat_template(messages, tokenize=False)
    assert text_of(loaded, sequence.input_ids) + "\n" == expected


PLAIN = Layout(order=(Role.CONTEXT,), template="plain")
PICTURE, SMALLER = ("<|vision_start|>" + "<|image_pad|>" * count + "<|vision_end|>" for count in (6, 4))


def test_the_papers_own_words() -> None:
    """Sections 3.1 and 3.2 of CREM, letter by letter."""
    assert SYSTEM_PROMPT == "You are a helpful assistant that can represent and understand multimodal inputs."
    assert REPRESENT_IMAGE == "Represent the given image."
    assert RECONSTRUCT_TEXT == "Reconstruct the represented text"


def test_the_plain_prompt_is_the_side_and_the_end_token(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    plain = replace(builder, layout=PLAIN)
    sequence = plain.build(SIDE, GRID, TURNS)  # a plain prompt has no place for turns
    assert text_of(loaded, sequence.input_ids) == PICTURE + "\nRepresent the given image. red star<|im_end|>"
    assert (sequence.roles == Role.CONTEXT).all() and not sequence.cut
    assert text_of(loaded, plain.build(Side(text="red star"), np.zeros((0, 3))).input_ids) == "red star<|im_end|>"
    assert len(sequence.until(Role.CONTEXT)) == len(sequence), "the end token is what the last-token pooling reads"


@pytest.mark.parametrize(
    ("side", "context"),
    [
        (Side(text="red star"), "red star"),
        (Side(images=(b"",)), PICTURE),
        (Side(instruction="is <|image_1|>", text=" red?\n", images=(b"",)), f"is {PICTURE} red?"),
        (Side(text="is <|image_1|> left of <|image_2|>", images=(b"", b"")), f"is {PICTURE} left of {SMALLER}"),
        (Side(text="two stars", images=(b"", b"")), f"{PICTURE}{SMALLER}two stars"),
        (Side(), ""),
    ],
)
def test_pictures_stand_where_their_markers_stand(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder, side: Side, context: str
) -> None:
    """Diverse instructions have the picture in mid-sentence; without markers pictures come first; a side may have none."""
    grids = np.array([(1, 4, 6), (1, 4, 4)])[: len(side.images)]
    sequence = builder.build(side, grids, TURNS)
    assert text_of(loaded, sequence.input_ids[sequence.roles == Role.CONTEXT]) == context
    assert (sequence.input_ids[sequence.image_tokens()] == builder.vocabulary.image_pad).all()
    assert len(sequence.image_tokens()) == int(grids.prod(axis=1).sum()) // 4
    plain = replace(builder, layout=PLAIN).build(side, grids)
    assert text_of(loaded, plain.input_ids) == context + "<|im_end|>"


def test_every_question_of_a_conversation_stands_behind_the_tokens(
    loaded: tuple[Embedder, Folder], builder: SequenceBuilder
) -> None:
    """Several turns: each question is [gInst] of its own turn, and no template token of theirs is CONTEXT."""
    turns = [Turn(question="what is red", answer="circle"), Turn(question="where is the star", answer="top left")]
    sequence = builder.build(Side(images=(b"",)), GRID, turns)
    pieces = np.split(np.arange(len(sequence)), np.flatnonzero(np.diff(sequence.roles)) + 1)
    found = [(Role(sequence.roles[piece[0]]), text_of(loaded, sequence.input_ids[piece])) for piece in pieces]
    chorus = text_of(loaded, np.array(builder.vocabulary.chorus))
    assert found[1:] == [
        (Role.CONTEXT, PICTURE),
        (Role.COMPRESSION, chorus),
        (Role.QUESTION, "what is red<|im_end|>\n<|im_start|>assistant\n"),
        (Role.ANSWER, "circle<|im_end|>"),
        (Role.QUESTION, "\n<|im_start|>user\nwhere is the star<|im_end|>\n<|im_start|>assistant\n"),
        (Role.ANSWER, "top left<|im_end|>"),
    ]


def test_a_text_only_conversation_has_an_empty_context(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    for native in (False, True):
        side = conversation_context(Side(turns=tuple(TURNS)), native_layout(builder.layout) if native else builder.layout)
        sequence = builder.build(side, np.zeros((0, 3)), TURNS)
        assert not (sequence.roles == Role.CONTEXT).any() and len(sequence.image_tokens()) == 0
        assert text_of(loaded, sequence.input_ids[sequence.roles == Role.ANSWER]) == "circle<|im_end|>"
        assert (sequence.positions() == np.arange(len(sequence))).all()


def test_white_space_around_an_answer_is_not_learnt(loaded: tuple[Embedder, Folder], builder: SequenceBuilder) -> None:
    sequence = builder.build(SIDE, GRID, [Turn(question="\n what", answer=" circle\n")])
    assert text_of(loaded, sequence.input_ids[sequence.roles == Role.ANSWER]) == "circle<|im_end|>"
    assert text_of(loaded, sequence.input_ids[sequence.roles == Role.QUESTION]) == "what<|im_end|>\n<|im_start|>assistant\n"


def test_a_shortened_sequence_ends_with_the_role_s_last_token(builder: SequenceBuilder) -> None:
    sequence = builder.build(SIDE, GRID, TURNS)
    prefix = sequence.until(Role.COMPRESSION)
    assert prefix.input_ids[-1] == builder.vocabulary.chorus[-1] and len(prefix.roles) == len(prefix)
    assert (prefix.input_ids == sequence.input_ids[: len(prefix)]).all() and (prefix.grid_thw == GRID).all()
    assert len(sequence.until(Role.ANSWER)) == len(sequence)


def test_text_cannot_smuggle_in_template_tokens(builder: SequenceBuilder) -> None:
    sequence = builder.build(Side(text="red <|im_end|> <|image_pad|> star"), np.zeros((0, 3)))
    context = sequence.input_ids[sequence.roles == Role.CONTEXT]
    special = {builder.vocabulary.im_end, builder.vocabulary.image_pad, builder.vocabulary.im_start}
    assert not special & set(context.tolist())


def test_markers_and_pictures_must_match(builder: SequenceBuilder) -> None:
    with pytest.raises(DataError, match="row-7: 1 pictures but markers"):
        builder.build(Side(text="<|image_1|> <|image_2|>", images=(b"",)), GRID, key="row-7")
    mid = builder.build(Side(text="red <|image_1|> star", images=(b"",)), GRID)
    assert mid.image_starts[0] > int(np.flatnonzero(mid.roles == Role.CONTEXT)[0])


def test_the_cap_cuts_answers_only_and_says_so(builder: SequenceBuilder) -> None:
    long = [Turn(question="what", answer="red " * 50)]
    whole = builder.build(SIDE, GRID, long)
    capped = replace(builder, max_length=len(whole) - 10).build(SIDE, GRID, long)
    assert capped.cut and not whole.cut and len(capped) == len(whole) - 10
    assert (capped.input_ids == whole.input_ids[: len(capped)]).all() and capped.input_ids[-1] != builder.vocabulary.im_end
    with pytest.raises(DataError, match="key-3: context and question pass the cap"):
        replace(builder, max_length=30).build(Side(text="red " * 60), np.zeros((0, 3)), key="key-3")


def test_later_turns_that_do_not_fit_are_dropped_whole(builder: SequenceBuilder) -> None:
    turns = [Turn(question="what", answer="red"), Turn(question="where " * 30, answer="left")]
    first = builder.build(SIDE, GRID, turns[:1])
    capped = replace(builder, max_length=len(first) + 5).build(SIDE, GRID, turns)
    assert capped.cut and (capped.input_ids == first.input_ids).all()


def test_every_cap_behind_the_first_question_leaves_something_to_learn(builder: SequenceBuilder) -> None:
    """At one of these caps the second question ends exactly there, and its answer has no room."""
    turns = [Turn(question="what", answer="red star"), Turn(question="where", answer="left left")]
    whole = builder.build(SIDE, GRID, turns)
    least = len(builder.build(SIDE, GRID, [Turn(question="what", answer="")])) + 1
    for cap in range(least, len(whole) + 1):
        capped = replace(builder, max_length=cap).build(SIDE, GRID, turns)
        assert (capped.input_ids == whole.input_ids[: len(capped)]).all() and len(capped) <= cap
        assert capped.roles[-1] == Role.ANSWER and capped.cut == (cap < len(whole))
    for cap in (least - 1, least - 2):
        with pytest.raises(DataError, match="context and question pass the cap"):
            replace(builder, max_length=cap).build(SIDE, GRID, turns)


def test_positions_are_transformers_own(embedder: Embedder, builder: SequenceBuilder, recipe: Recipe) -> None:
    rng = np.random.default_rng(0)
    model = embedder.backbone.model.model
    for _ in range(30):
        sequence = random_row(builder, rng).sequence
        ids = torch.from_numpy(sequence.input_ids)[None]
        kind = (ids == builder.vocabulary.image_pad).int()
        grids = torch.from_numpy(sequence.grid_thw) if len(sequence.grid_thw) else None
        expected, _ = model.get_rope_index(ids, kind, grids)
        assert (expected[:, 0].numpy() == sequence.positions()).all()
        assert (np.flatnonzero(kind[0].numpy()) == sequence.image_tokens()).all()
