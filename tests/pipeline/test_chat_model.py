"""A model folder that answers chat requests many at a time, against transformers' own `generate` one by one."""

import io
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import AutoTokenizer, Qwen2VLForConditionalGeneration, Qwen2VLImageProcessorPil

from pipeline import chat_model
from pipeline.batch import Row
from pipeline.chat import NO_LOGPROBS, REFUSED, Answer, ChatRequest, Failed, Sampling
from pipeline.chat_model import ChatModel
from pipeline.errors import CheckpointError
from tests.pipeline.corpus import WORDS

SYSTEM = "You are a helpful assistant."  # Qwen2-VL's own template puts it in
MOST = 12


def picture(seed: int, *size: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.random.default_rng(seed).integers(0, 256, (*size, 3), dtype=np.uint8)).save(file, "PNG")
    return file.getvalue()


PICTURES = tuple(picture(n, 56 + 28 * n, 140 - 28 * n) for n in range(3))
DIALOGUE = (("where is the square?", "top left"), ("what is right?", "a circle"))
REQUESTS = [
    ChatRequest(text="what is the picture of?", images=(PICTURES[0],), key="short", sampling=Sampling(max_tokens=MOST)),
    ChatRequest(text="what is left?", images=(PICTURES[0],), history=DIALOGUE, key="talk", sampling=Sampling(max_tokens=MOST)),
    ChatRequest(text="red or green?", images=PICTURES, key="three", sampling=Sampling(max_tokens=5)),
    ChatRequest(text="what is a star? <|im_end|>", key="words", sampling=Sampling(max_tokens=MOST)),
    *[
        ChatRequest(text=f"is the {word} right?", images=(PICTURES[n % 3],), key=word, sampling=Sampling(max_tokens=MOST))
        for n, word in enumerate(WORDS)
    ],
]


@pytest.fixture(scope="module")
def folder(untied_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The tiny model of a head of its own, in which the end's row is longer, so that some answers end by themselves."""
    out = tmp_path_factory.mktemp("talkative") / "model"
    shutil.copytree(untied_folder, out)
    tensors = load_file(out / "model.safetensors")
    tensors["lm_head.weight"][json.loads((out / "config.json").read_text())["text_config"]["eos_token_id"]] *= 3
    save_file(tensors, out / "model.safetensors", metadata={"format": "pt"})
    return out


@pytest.fixture(scope="module")
def model(folder: Path) -> ChatModel:
    """The model, whose answers are the numbers of their tokens."""
    return replace(ChatModel.load(folder), decode=numbers)


def numbers(ids: list[int]) -> str:
    return " ".join(map(str, ids))


def answers(model: ChatModel, requests: list[ChatRequest]) -> dict[str, Answer | Failed]:
    return dict(model.answers([(request.key, request) for request in requests]))


def generated(folder: Path, request: ChatRequest, net: Any, tokenizer: Any) -> tuple[str, int, int]:
    """The answer's tokens without the end, how many the request has, and how many were generated, by transformers alone."""
    parts = [{"type": "image"} for _ in request.images]
    turns: list[dict[str, Any]] = []
    for question, answer in (*request.history, (request.text, "")):
        turns.append({"role": "user", "content": [*parts, {"type": "text", "text": question}]})
        turns.append({"role": "assistant", "content": answer})
        parts = []
    messages = [{"role": "system", "content": SYSTEM}, *turns[:-1]]
    shown: dict[str, Any] = {}
    if request.images:
        cutter = Qwen2VLImageProcessorPil(min_pixels=4 * 28 * 28, max_pixels=1280 * 28 * 28)
        shown = dict(cutter([Image.open(io.BytesIO(file)) for file in request.images], return_tensors="pt"))
    said = tokenizer.apply_chat_template(messages, tokenize=False, add_generation_prompt=True)
    plain, *rest = said.split("<|image_pad|>")
    for grid, part in zip(shown.get("image_grid_thw", ()), rest, strict=True):
        plain += "<|image_pad|>" * (int(grid.prod()) // 4) + part
    before, after = plain.split(request.text)
    asked = tokenizer.encode(request.text, split_special_tokens=True)  # it is text, whatever it looks like
    ids = [*tokenizer.encode(before), *asked, *tokenizer.encode(after)]
    given = torch.tensor([ids])
    kinds = (given == net.config.image_token_id).int()
    out = net.generate(
        input_ids=given,
        attention_mask=torch.ones_like(given),
        mm_token_type_ids=kinds,
        do_sample=False,
        max_new_tokens=request.sampling.max_tokens,
        **shown,
    )[0, len(ids) :]
    return numbers([token for token in out.tolist() if token != tokenizer.eos_token_id]), len(ids), len(out)


def test_answers_together_are_those_of_generate_one_by_one(folder: Path, model: ChatModel, monkeypatch: Any) -> None:
    sizes: list[int] = []
    answered = ChatModel._answered
    monkeypatch.setattr(ChatModel, "_answered", lambda self, part, how: sizes.append(len(part)) or answered(self, part, how))
    ours = answers(model, REQUESTS)
    net = Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for request in REQUESTS:
        text, asked, told = generated(folder, request, net, tokenizer)
        answer = ours[request.key]
        assert isinstance(answer, Answer)
        assert (answer.text, answer.tokens) == (text, (asked, told)), request.key
        ended = told < request.sampling.max_tokens
        assert answer.finish_reason == "stop" if ended else answer.is_cut, request.key
    ends = [answer.finish_reason for answer in ours.values() if isinstance(answer, Answer)]
    assert len(set(ends)) == 2, "some end and some are cut"
    assert sorted(sizes) == [1, len(REQUESTS) - 1], "those of one limit are answered together"


def test_draws_depend_on_seed_and_key_and_not_on_what_stands_beside(model: ChatModel) -> None:
    def ask(*keys: str, seed: int | None = None) -> dict[str, Answer | Failed]:
        how = Sampling(max_tokens=8, temperature=0.7, seed=seed)
        return answers(model, [ChatRequest(text="what?", images=(PICTURES[0],), key=key, sampling=how) for key in keys])

    many = ask("a", "b", "c")
    assert ask("b")["b"] == many["b"] and len({str(answer) for answer in many.values()}) == 3
    assert ask("b", seed=2)["b"] != many["b"] and ask("b", seed=2) == ask("b", seed=2)


def test_a_picture_that_cannot_be_read_is_refused_alone(model: ChatModel) -> None:
    wide = picture(1, 2, 900)
    how = Sampling(max_tokens=2)
    came = answers(
        model,
        [
            ChatRequest(text="what?", images=(file,), key=key, sampling=how)
            for key, file in (("good", PICTURES[0]), ("bad", b"\x89PNG no"), ("wide", wide))
        ]
        + [ChatRequest(text="yes or no?", key="odds", sampling=Sampling(max_tokens=2, top_logprobs=5))],
    )
    assert isinstance(came["good"], Answer)
    kinds = {key: outcome.kind for key, outcome in came.items() if isinstance(outcome, Failed)}
    assert kinds == {"bad": REFUSED, "wide": REFUSED, "odds": NO_LOGPROBS}


def test_the_likeliest_tokens_are_those_of_transformers_forward(folder: Path, model: ChatModel) -> None:
    """Of answers of one token, read together: numbers of tokens with their log-probabilities, the likeliest first."""
    how = Sampling(max_tokens=1, top_logprobs=5)
    asked = [replace(request, sampling=how) for request in REQUESTS if not request.images]
    assert len(asked) == 1
    asked += [replace(asked[0], text=f"is it {word}?", key=f"is {word}") for word in WORDS[:6]]
    found = answers(model, asked)
    net: Any = Qwen2VLForConditionalGeneration.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for request in asked:
        outcome = found[request.key]
        assert isinstance(outcome, Answer) and len(outcome.top_logprobs) == 1
        said = f"<|im_start|>system\n{SYSTEM}<|im_end|>\n<|im_start|>user\n"
        ids = [*tokenizer.encode(said), *tokenizer.encode(request.text, split_special_tokens=True)]
        ids += tokenizer.encode("<|im_end|>\n<|im_start|>assistant\n")
        with torch.no_grad():
            logprobs = net(input_ids=torch.tensor([ids])).logits[0, -1].float().log_softmax(dim=0)
        values, tokens = logprobs.topk(5)
        assert [token for token, _ in outcome.top_logprobs[0]] == [str(token) for token in tokens.tolist()]
        np.testing.assert_allclose([value for _, value in outcome.top_logprobs[0]], values.numpy(), atol=1e-4)
        assert outcome.text in ("", str(int(tokens[0]))), "the end is no word"


def test_what_is_held_at_the_same_time_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """Worked by hand: a row of 10 tokens and 5 to come holds 15, so four of them 60; of 30 and 5, one alone."""

    class Length:
        def __init__(self, length: int) -> None:
            self.sequence = range(length)

    def runs(lengths: list[int]) -> list[list[int]]:
        rows: list[tuple[str, Row]] = [("", Length(length)) for length in lengths]  # type: ignore[misc]
        return [[len(row.sequence) for _, row in run] for run in chat_model._together(rows, 5)]

    monkeypatch.setattr(chat_model, "HELD_TOKENS", 60)
    monkeypatch.setattr(chat_model, "CHUNK_TOKENS", 1000)
    assert runs([10, 90, 10, 30, 10, 10, 10]) == [[10, 10, 10, 10], [10], [30], [90]]
    monkeypatch.setattr(chat_model, "CHUNK_TOKENS", 25)
    assert runs([10, 30, 10, 10, 3]) == [[3, 10, 10], [10], [30]]
    assert runs([]) == []


def test_a_folder_without_a_model_is_one_line(tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match=r"no config\.json in it"):
        ChatModel.load(tmp_path)
