"""A trained model's answers against whole forward passes: `CREM_CHECKPOINT` names a checkpoint folder of the toy world.

CREM_CHECKPOINT=work/tiny/train/checkpoints/step-00000900 python -m pytest tests/pipeline/test_trained_model.py
"""

import copy
import os
import random
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from data_prep.scene_maker import SceneMaker
from data_prep.scene_pictures import encode
from data_prep.scene_questions import questions as questions_about
from data_prep.scenes import LABELS, caption
from pipeline.inference import EmbeddingModel, load_model
from pipeline.model.generation import Decoding, Greedy, Sampled, answer_name
from pipeline.roles import RECONSTRUCT_TEXT
from pipeline.sample import Side
from pipeline.sequence import conversation_context, native_layout
from pipeline.train.dataloader.step_dataset import side_digest
from tests.conftest import require
from tests.pipeline.answers import Recorder, forward_greedy

MODES = {True: "compressed", False: "native"}
LENGTH = 24


@pytest.fixture(scope="module")
def model() -> EmbeddingModel:
    folder = os.environ.get("CREM_CHECKPOINT")
    if not folder:
        require("checkpoint", "CREM_CHECKPOINT names no trained checkpoint")
    return replace(load_model(Path(folder)), decode=lambda ids: " ".join(map(str, ids)))


@pytest.fixture(scope="module")
def asked() -> list[tuple[Side, str]]:
    """Twelve pictures with a question each and four texts to write out again, none of them seen in training."""
    maker = SceneMaker(rng=random.Random("trained model"), split="eval")
    scenes = [maker.scene(label, count=1 + number % 3) for number, label in enumerate(maker.rng.sample(LABELS, 16))]
    pairs = [(Side(images=(encode(scene),)), maker.rng.choice(questions_about(scene, maker.rng)).text) for scene in scenes[:12]]
    return pairs + [(Side(text=caption(scene, maker.rng)), RECONSTRUCT_TEXT) for scene in scenes[12:]]


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("compressed", [True, False], ids=MODES.get)
def test_answers_equal_the_forward_pass_s_greedy_continuation(
    model: EmbeddingModel, asked: list[tuple[Side, str]], compressed: bool, bits: int
) -> None:
    """Token by token, over the end token as well, in one batch. In 64 bits no rounding hides what differs for another reason."""
    if bits == 64:
        model = replace(model, embedder=copy.deepcopy(model.embedder).double())
    recorder = Recorder()
    sides, questions = zip(*asked, strict=True)
    answers = model.answer(sides, questions, compressed=compressed, max_new_tokens=LENGTH, decoding=recorder)
    for (side, question), answer in zip(asked, answers, strict=True):
        layout = model.builder.layout
        context = conversation_context(side, layout if compressed else native_layout(layout))
        tokens, logits = forward_greedy(model, context, question, mode=MODES[compressed], length=LENGTH)
        assert answer == " ".join(map(str, tokens))
        found = torch.stack(recorder.logits[answer_name(side_digest(context), question)])[: len(logits)]
        # The steps of a float32 grow with the number, 1e-6 at 8: what is allowed grows with it.
        torch.testing.assert_close(found, logits, atol=1e-5 if bits == 32 else 2e-6, rtol=2e-6 if bits == 32 else 0.0)
    assert len(set(answers)) > 8 and any(answers), "a trained model says different things about different items"


@pytest.mark.parametrize("decoding", [Greedy(), Sampled(temperature=1.2, top_p=0.95, seed=1)], ids=["greedy", "sampled"])
@pytest.mark.parametrize("compressed", [True, False], ids=MODES.get)
def test_batched_answers_equal_single_ones(
    model: EmbeddingModel, asked: list[tuple[Side, str]], compressed: bool, decoding: Decoding
) -> None:
    sides, questions = zip(*asked, strict=True)
    together = model.answer(sides, questions, compressed=compressed, max_new_tokens=LENGTH, decoding=decoding)
    alone = [
        model.answer([side], [question], compressed=compressed, max_new_tokens=LENGTH, decoding=decoding)[0]
        for side, question in asked
    ]
    assert together == alone


def test_native_and_compressed_logits_differ_on_the_same_items(model: EmbeddingModel, asked: list[tuple[Side, str]]) -> None:
    for side, question in asked:
        first = []
        for compressed in (True, False):
            recorder = Recorder()
            model.answer([side], [question], compressed=compressed, max_new_tokens=1, decoding=recorder)
            (row,) = recorder.answers()
            first.append(row[0])
        chosen = torch.isfinite(first[0])
        assert float((first[0] - first[1])[chosen].abs().max()) > 0.01
