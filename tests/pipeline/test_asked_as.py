"""A model asked in another way than its recipe's: what it reads then, token by token, and what it says of it."""

from dataclasses import replace

import numpy as np
import pytest

from eval.prompts import as_conversation
from eval.questions import QuestionRow
from pipeline.asked_as import OWN_SYSTEM_LINE, AskedAs
from pipeline.errors import ConfigError
from pipeline.inference import EmbeddingModel
from pipeline.sample import Side, Turn
from pipeline.sequence import native_layout
from tests.pipeline.corpus import picture
from tests.pipeline.test_inference import WARM
from tests.pipeline.test_inference import model as model

SIDE = Side(images=(picture(np.random.default_rng(1), 84, 56),))


def question(model: EmbeddingModel, words: str) -> list[int]:
    return model.builder.question_ids(words)


def test_nothing_asked_otherwise_is_the_model_itself(model: EmbeddingModel) -> None:
    assert model.asked_as(AskedAs()) is model


def test_limits_of_pixels_decide_the_visual_tokens(model: EmbeddingModel) -> None:
    assert (84 // 28) * (56 // 28) == 6
    asked = model.asked_as(AskedAs(min_tokens=20, max_tokens=30))
    visual = [int(each.reader.row(SIDE, slot=0).sequence.grid_thw.prod()) // 4 for each in (model, asked)]
    assert visual[0] == 6 and 20 <= visual[1] <= 30
    assert asked.conditions == {
        "min_tokens": 20,
        "max_tokens": 30,
        "min_pixels": 20 * 28 * 28,
        "max_pixels": 30 * 28 * 28,
        "dtype": "float32",
        "system": model.recipe.phase.layout.system,
    }
    with pytest.raises(ConfigError, match="max_tokens"):
        model.asked_as(AskedAs(min_tokens=30, max_tokens=20))


def test_the_system_line_is_the_family_s_own(model: EmbeddingModel) -> None:
    asked = model.asked_as(AskedAs(system="model"))
    vocabulary = model.builder.vocabulary
    wanted = [vocabulary.im_start, *vocabulary.encode(f"system\n{OWN_SYSTEM_LINE}"), vocabulary.im_end]
    native = replace(asked.builder, layout=native_layout(asked.recipe.phase.layout))
    for builder in (asked.builder, native):
        assert builder.system_ids()[: len(wanted)] == wanted
    assert model.builder.system_ids()[: len(wanted)] != wanted


def test_white_space_around_a_question_stays_where_it_is_told(model: EmbeddingModel) -> None:
    asked = model.asked_as(AskedAs(keeps_space=True))
    assert question(model, "where \n") == question(model, "where")
    assert question(asked, "where \n") != question(asked, "where") == question(model, "where")


@pytest.mark.parametrize("compressed", [False, True])
def test_answers_follow_what_is_asked(model: EmbeddingModel, compressed: bool) -> None:
    """Each of the settings reaches the answer, natively and from the tokens."""
    ways = (AskedAs(), AskedAs(min_tokens=20, max_tokens=30), AskedAs(system="model"), AskedAs(keeps_space=True))
    asked = [model.asked_as(way) for way in ways]
    said = [each.answer([SIDE], ["where \n"], compressed=compressed, decoding=WARM)[0] for each in asked]
    assert said[0] not in said[1:]


def test_pictures_in_mid_sentence_reach_the_model_in_their_places(model: EmbeddingModel) -> None:
    """The tokens of a whole text with two pictures in it, as a processor would make them of one user turn."""
    words = ("Question: Compare ", " with ", ".\nWhich? \n")
    rng = np.random.default_rng(2)
    pictures = (picture(rng, 84, 56), picture(rng, 56, 56))
    row = QuestionRow(index="0", question="", answer="x", options={}, images=pictures)
    side, asked = as_conversation(row, [words[0], 1, words[1], 2, words[2]])
    way = model.asked_as(AskedAs(keeps_space=True))
    builder = replace(way.builder, layout=native_layout(way.recipe.phase.layout))
    reader = replace(way.reader, builder=builder)
    found = reader.row(side, (Turn(question=asked),), slot=0).sequence.input_ids.tolist()
    v = builder.vocabulary
    blocks = [[v.vision_start, *[v.image_pad] * count, v.vision_end] for count in (6, 4)]
    turn = [*v.encode(words[0]), *blocks[0], *v.encode(words[1]), *blocks[1], *v.encode(words[2])]
    assert found == [*builder.system_ids(), *turn, v.im_end, *v.encode("\n"), v.im_start, *v.encode("assistant\n")]
    (said,) = way.answer([side], [asked], compressed=False, decoding=WARM)
    (swapped,) = way.answer([replace(side, images=side.images[::-1])], [asked], compressed=False, decoding=WARM)
    assert said != swapped
