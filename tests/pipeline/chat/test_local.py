"""The engine over a model of this process: made-up models, so that every answer and every order is known."""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from pipeline.chat import Answer, ChatRequest, Failed, Journal, LocalEngine, Sampling, Script
from pipeline.chat import local as local_module


class Shouting:
    """Answers in capitals, the last first; refuses what has a question mark."""

    def __init__(self) -> None:
        self.asked: list[list[str]] = []

    def answers(self, requests: Sequence[tuple[str, ChatRequest]]) -> Iterator[tuple[str, Answer | Failed]]:
        self.asked.append([request.text for _, request in requests])
        for key, request in reversed(requests):
            if "?" in request.text:
                yield key, Failed("refused", "no questions")
            else:
                limit = request.sampling.max_tokens
                is_cut = len(request.text) > limit
                end = "length" if is_cut else "stop"
                yield key, Answer(text=request.text[:limit].upper(), finish_reason=end, max_tokens=limit, tokens=(3, 2))


def one(text: str, limit: int = 256) -> Script[tuple[str, Answer | Failed]]:
    answer = yield ChatRequest(text=text, sampling=Sampling(max_tokens=limit), key=text)
    return text, answer


def ask(journal: Path, model: Shouting, *texts: str, limit: int = 256) -> tuple[list[tuple[str, Answer | Failed]], LocalEngine]:
    with Journal(journal) as kept:
        engine = LocalEngine(model, name="m", journal=kept)
        return list(engine.run(one(text, limit) for text in texts)), engine


def test_each_key_is_asked_once_and_failures_anew_by_the_next(tmp_path: Path) -> None:
    model, journal = Shouting(), tmp_path / "answers.jsonl"
    came, engine = ask(journal, model, *"a b a why? b why?".split())
    assert Counter(text for text, _ in came) == Counter("a b a why? b why?".split())
    told = dict(came)
    assert told["why?"] == Failed("refused", "no questions")
    assert told["a"] == Answer(text="A", finish_reason="stop", max_tokens=256, tokens=(3, 2))
    assert model.asked == [["a", "b", "why?"]]
    totals = engine.totals
    assert (totals.answers, totals.failed, totals.calls, totals.prompt_tokens, totals.answer_tokens) == (2, 1, 3, 6, 4)
    ask(journal, model, "a", "why?", "c")
    assert model.asked[1:] == [["why?", "c"]]


def test_a_cut_answer_is_asked_for_again_under_a_higher_limit(tmp_path: Path) -> None:
    model, journal = Shouting(), tmp_path / "answers.jsonl"
    for limit in (3, 3, 2, 9, 3):
        ((_, answer),), _ = ask(journal, model, "words", limit=limit)
    assert len(model.asked) == 2 and isinstance(answer, Answer) and answer.text == "WORDS"


def test_scripts_go_on_together_and_no_more_wait_than_may(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local_module, "MOST_WAITING", 4)
    begun: list[int] = []

    def talk(number: int) -> Script[int]:
        begun.append(number)
        for turn in range(3):
            answer = yield ChatRequest(text=f"{number}, {turn}", key=f"{number}, {turn}")
            assert isinstance(answer, Answer) and answer.text == f"{number}, {turn}"
        return number

    model = Shouting()
    with Journal(tmp_path / "answers.jsonl") as journal:
        assert sorted(LocalEngine(model, name="m", journal=journal).run(map(talk, range(10)))) == list(range(10))
    assert begun == list(range(10)) and max(map(len, model.asked)) == 4
    assert model.asked[0] == [f"{n}, 0" for n in range(4)], "the first turns of four, then their second ones"


def test_an_answer_is_kept_before_anybody_hears_of_it(tmp_path: Path) -> None:
    """Whoever is stopped between two answers of one batch has lost none that came."""
    model = Shouting()
    with Journal(tmp_path / "answers.jsonl") as journal:
        text, _ = next(LocalEngine(model, name="m", journal=journal).run(one(text) for text in "a b c".split()))
        assert (text, len(journal)) == ("c", 1)
    ask(tmp_path / "answers.jsonl", model, "a", "b", "c")
    assert model.asked == [["a", "b", "c"], ["a", "b"]]
