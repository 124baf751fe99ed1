"""Compressed answers continue from SYSTEM and the tokens alone, and are what the mask of Eq. 2 says they must be."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch

from pipeline.batch import Row
from pipeline.errors import ConfigError
from pipeline.inference import CACHED_ROLES, EmbeddingModel
from pipeline.model.backbone import Folder
from pipeline.model.compressed_items import CompressedItems
from pipeline.model.embedder import Embedder
from pipeline.model.generation import Decoding, Ending, Greedy, Memory, Sampled, decode, proceed
from pipeline.recipe import Recipe
from pipeline.sample import Side
from pipeline.sequence import SequenceBuilder
from tests.pipeline.answers import Recorder, forward_greedy
from tests.pipeline.corpus import picture, sentence

QUESTIONS = ["what is red", "where", "what is the picture of a blue star top left", "is"]
MODES = {True: "compressed", False: "native"}
WARM = Sampled(temperature=1.5, top_p=0.95, seed=3)


@pytest.fixture(scope="module")
def model(loaded: tuple[Embedder, Folder], builder: SequenceBuilder, recipe: Recipe) -> EmbeddingModel:
    loaded[0].eval()
    return EmbeddingModel(
        embedder=loaded[0],
        folder=loaded[1].path,
        recipe=recipe,
        builder=builder,
        fingerprint="",
        encoder_fingerprint="",
        decode=lambda ids: " ".join(map(str, ids)),
    )


@pytest.fixture(scope="module")
def contexts() -> list[Side]:
    rng = np.random.default_rng(0)
    sides = [Side(text=f"<|image_1|>\n{sentence(rng)}", images=(picture(rng, 56 + 28 * n),)) for n in range(3)]
    return [*sides, Side(text=sentence(rng))]


@pytest.fixture(scope="module")
def asked(model: EmbeddingModel, contexts: list[Side]) -> tuple[Memory, torch.Tensor]:
    """What the model has read when it begins to answer, from the tokens alone, and the states of the last tokens."""
    memory = model.compress(contexts).memory(model.device)
    return proceed(model.embedder, memory, [model.builder.question_ids(question) for question in QUESTIONS])


@pytest.mark.parametrize("compressed", [True, False], ids=MODES.get)
def test_answers_and_their_logits_equal_whole_forward_passes(
    model: EmbeddingModel, contexts: list[Side], compressed: bool
) -> None:
    recorder = Recorder()
    for side, question in zip(contexts, QUESTIONS, strict=True):
        answer = model.answer([side], [question], compressed=compressed, max_new_tokens=8, decoding=recorder)[0]
        expected, logits = forward_greedy(model, side, question, mode=MODES[compressed], length=8)
        assert answer == " ".join(map(str, expected))
        torch.testing.assert_close(list(recorder.answers())[-1], logits, atol=1e-5, rtol=0)
    assert len(list(recorder.answers())) == len(contexts)


@pytest.mark.parametrize("decoding", [Greedy(), WARM], ids=["greedy", "sampled"])
def test_batched_answers_equal_single_ones_and_differ_from_native(
    model: EmbeddingModel, contexts: list[Side], decoding: Decoding
) -> None:
    together = {}
    for compressed in (True, False):
        recorder, alone = Recorder(decoding), Recorder(decoding)
        together[compressed] = model.answer(contexts, QUESTIONS, compressed=compressed, max_new_tokens=8, decoding=recorder)
        assert together[compressed] == [
            model.answer([side], [question], compressed=compressed, max_new_tokens=8, decoding=alone)[0]
            for side, question in zip(contexts, QUESTIONS, strict=True)
        ]
        assert set(recorder.logits) == set(alone.logits)
        for name, logits in alone.logits.items():
            torch.testing.assert_close(torch.stack(recorder.logits[name][: len(logits)]), torch.stack(logits), atol=1e-5, rtol=0)
    assert together[True] != together[False]


def test_compressed_answers_follow_the_tokens_that_are_put_in(model: EmbeddingModel, contexts: list[Side]) -> None:
    swapped = model.answer([contexts[1], contexts[0]], [QUESTIONS[0]] * 2, compressed=True, max_new_tokens=6)
    assert swapped == model.answer(contexts[:2], [QUESTIONS[0]] * 2, compressed=True, max_new_tokens=6)[::-1]


def test_a_context_is_compressed_once_for_all_its_questions(
    model: EmbeddingModel, contexts: list[Side], monkeypatch: pytest.MonkeyPatch
) -> None:
    pairs = [(side, question) for side in contexts for question in QUESTIONS]
    apart = [model.answer([side], [question], compressed=True, max_new_tokens=4)[0] for side, question in pairs]
    read: list[int] = []
    compress = EmbeddingModel._compress_rows

    def counted(self: EmbeddingModel, rows: list[Row]) -> CompressedItems:
        read.append(len(rows))
        return compress(self, rows)

    monkeypatch.setattr(EmbeddingModel, "_compress_rows", counted)
    # By question and not by context: what belongs together stands apart.
    order = [(side, question) for question in range(len(QUESTIONS)) for side in range(len(contexts))]
    copies = [replace(contexts[side]) for side, _ in order]
    together = model.answer(copies, [QUESTIONS[question] for _, question in order], compressed=True, max_new_tokens=4)
    assert sum(read) == len(contexts)
    assert together == [apart[side * len(QUESTIONS) + question] for side, question in order]


def test_embeddings_do_not_depend_on_the_batch(model: EmbeddingModel, contexts: list[Side]) -> None:
    together = model.embed(contexts)
    alone = np.concatenate([model.embed([side]) for side in contexts])
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(np.linalg.norm(together, axis=1), 1.0, atol=1e-5)


def test_padding_behind_a_question_is_never_seen(model: EmbeddingModel, contexts: list[Side]) -> None:
    """The state of the token after the question is the same whether longer questions stand beside it or not."""
    rows = [model.reader.row(side, slot=0) for side in contexts]
    questions = [model.builder.question_ids(question) for question in QUESTIONS]

    def next_states(places: list[int]) -> torch.Tensor:
        _, memory, _ = model._read([rows[place] for place in places], CACHED_ROLES)
        memory, _ = proceed(model.embedder, memory, [questions[place] for place in places])
        token = torch.full((len(places), 1), model.builder.vocabulary.im_end)
        visible = torch.cat([memory.seen, torch.ones(len(places), 1, dtype=torch.bool)], dim=1)[:, None, None]
        with torch.no_grad():
            return model.embedder.backbone.proceed(token, memory.position[:, None], visible, memory.cache(1))[:, 0]

    together = next_states([0, 1, 2, 3])
    alone = torch.cat([next_states([place]) for place in range(4)])
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-5)


def decoded(model: EmbeddingModel, asked: tuple[Memory, torch.Tensor], ending: Ending) -> list[list[int]]:
    return decode(model.embedder, *asked, ending, decoding=WARM, names=range(len(QUESTIONS)))


def test_rows_that_end_early_change_nothing_but_themselves(model: EmbeddingModel, asked: tuple[Memory, torch.Tensor]) -> None:
    """An answer that ends at a token is the answer that does not, cut there, whichever rows leave the batch before."""
    spoken = range(20, 28)  # few tokens, so that answers say the same ones
    banned = [token for token in range(model.embedder.backbone.vocab_size) if token not in spoken]
    endless = Ending(end=-1, banned=banned, max_new_tokens=12)
    whole = decoded(model, asked, endless)
    assert [len(row) for row in whole] == [12] * len(QUESTIONS)
    ends = {token for row in whole for token in row}
    lengths = set()
    for end in sorted(ends):
        cut = [row[: row.index(end)] if end in row else row for row in whole]
        lengths |= {tuple(map(len, cut))}
        assert decoded(model, asked, replace(endless, end=end)) == cut
    left = {sum(length > step for length in row) for row in lengths for step in range(12)}
    assert 2 in left, "two of the four rows must go on together for this to show anything"


def test_an_answer_never_says_what_is_banned_and_keeps_to_its_length(
    model: EmbeddingModel, asked: tuple[Memory, torch.Tensor]
) -> None:
    first = [row[0] for row in decoded(model, asked, Ending(end=-1, banned=(), max_new_tokens=1))]
    behind_the_head = 10**6
    again = decoded(model, asked, Ending(end=-1, banned=[*first, behind_the_head], max_new_tokens=3))
    assert not {token for row in again for token in row} & set(first)
    assert decoded(model, asked, Ending(end=-1, banned=(), max_new_tokens=0)) == [[]] * len(QUESTIONS)


def test_a_memory_can_be_asked_again(model: EmbeddingModel, asked: tuple[Memory, torch.Tensor]) -> None:
    ending = Ending(end=model.builder.vocabulary.im_end, banned=(), max_new_tokens=6)
    assert decoded(model, asked, ending) == decoded(model, asked, ending)


def test_sampled_answers_come_back_with_their_seed_and_change_with_another(model: EmbeddingModel, contexts: list[Side]) -> None:
    def answers(seed: int) -> list[str]:
        decoding = Sampled(temperature=1.5, top_p=0.95, seed=seed)
        return model.answer(contexts, QUESTIONS, compressed=True, max_new_tokens=6, decoding=decoding)

    assert answers(1) == answers(1) != answers(2)


def shares(decoding: Decoding, probabilities: list[float], draws: int = 4000) -> list[float]:
    """How often each token is chosen, over so many rows of equal logits."""
    logits = torch.tensor(probabilities).log().expand(draws, -1)
    chosen = Counter(decoding.choose(logits, range(draws), 0).tolist())
    return [chosen[token] / draws for token in range(len(probabilities))]


@pytest.mark.parametrize(
    ("decoding", "expected"),
    [
        (Greedy(), [0, 1, 0, 0]),
        (Sampled(), [0.3, 0.5, 0.15, 0.05]),
        (Sampled(top_p=0.75), [0.375, 0.625, 0, 0]),
        (Sampled(top_p=0.81), [0.3 / 0.95, 0.5 / 0.95, 0.15 / 0.95, 0]),
        (Sampled(top_p=0.01), [0, 1, 0, 0]),
        (Sampled(temperature=0.5), [0.09 / 0.365, 0.25 / 0.365, 0.0225 / 0.365, 0.0025 / 0.365]),
    ],
    ids=str,
)
def test_tokens_are_drawn_as_often_as_they_are_likely(decoding: Decoding, expected: list[float]) -> None:
    """Temperature 0.5 squares the probabilities; top_p keeps the likeliest tokens up to and with the one that reaches it."""
    np.testing.assert_allclose(shares(decoding, [0.3, 0.5, 0.15, 0.05]), expected, atol=0.025)
    assert [share > 0 for share in shares(decoding, [0.3, 0.5, 0.15, 0.05])] == [share > 0 for share in expected]


def test_a_token_without_probability_is_never_drawn() -> None:
    logits = torch.tensor([[0.0, float("-inf"), 0.0, float("-inf")]]).expand(2000, -1)
    assert set(Sampled(temperature=5.0).choose(logits, range(2000), 0).tolist()) == {0, 2}


def test_draws_change_with_the_token_s_number() -> None:
    logits = torch.zeros(1, 1000)
    assert len({int(Sampled().choose(logits, [7], step)) for step in range(20)}) > 15


@pytest.mark.parametrize(
    ("field", "value"), [("temperature", 0.0), ("temperature", float("nan")), ("top_p", 0.0), ("top_p", 1.1)]
)
def test_settings_that_draw_nothing_are_refused(field: str, value: float) -> None:
    with pytest.raises(ConfigError, match=field):
        Sampled(**{field: value})
