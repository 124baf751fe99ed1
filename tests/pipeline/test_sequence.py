"""The template, roles, cap and positions of a sequence."""

from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.errors import DataError
from pipeline.model.backbone import Folder
from pipeline.model.embedder import Embedder
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sample import Side, Turn
from pipeline.sequence import SequenceBuilder, native_layout
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
    from pipeline.sequence import SYSTEM_PROMPT

    messages = [{"role": "system", "content": SYSTEM_PROMPT}] + [{"role": role, "content": content} for role, content in turns]
    expected = loaded[1].tokenizer.apply_chat_template(messages, tokenize=False)
    assert text_of(loaded, sequence.input_ids) + "\n" == expected


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
