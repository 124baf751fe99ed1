import json
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from eval.option_matcher import yes_or_no
from tests.data_prep.conftest import DESCRIBE, things_told


def entries(world: Any, split: str) -> list[dict[str, Any]]:
    return json.loads((world.root / "conversations" / f"{split}.json").read_text(encoding="utf-8"))


def turns(entry: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Questions without marker or told picture, and their answers."""
    values = [turn["value"] for turn in entry["conversations"]]
    for human, gpt in zip(values[::2], values[1::2], strict=True):
        told = human.split("\n", 1)[1] if human.startswith("A picture shows ") else human
        yield told.removeprefix("<image>\n").removesuffix("\n<image>"), gpt


def all_turns(world: Any) -> list[tuple[str, str]]:
    return [turn for entry in entries(world, "train") for turn in turns(entry)]


@pytest.mark.parametrize(("split", "count"), [("train", 400), ("eval", 40)])
def test_rows_have_the_form_of_the_release(toy_world: Any, split: str, count: int) -> None:
    rows = entries(toy_world, split)
    pictures = toy_world.zipped("conversations/images.zip")
    assert len(rows) == len({row["id"] for row in rows}) == count
    for row in rows:
        speakers = [turn["from"] for turn in row["conversations"]]
        assert speakers == ["human", "gpt"] * (len(speakers) // 2) != []
        texts = [turn["value"] for turn in row["conversations"]]
        assert sum(text.count("<image>") for text in texts) == texts[0].count("<image>") == ("image" in row)
        assert row.get("image", next(iter(pictures))) in pictures


def test_one_and_several_turns_with_and_without_pictures(toy_world: Any) -> None:
    rows = entries(toy_world, "train")
    assert set(Counter(len(row["conversations"]) // 2 for row in rows)) == {1, 2, 3, 4}
    assert 0.18 < sum("image" not in row for row in rows) / len(rows) < 0.32
    first = [row["conversations"][0]["value"] for row in rows if "image" in row]
    assert any(text.endswith("\n<image>") for text in first)
    assert any(text.startswith("<image>\n") for text in first)


def test_answers_agree_with_an_independent_reading(toy_world: Any, sentence_again: Callable[..., str | None]) -> None:
    pictures = toy_world.zipped("conversations/images.zip")
    for row in entries(toy_world, "train"):
        if "image" not in row:
            continue
        scene = toy_world.scene(pictures[row["image"]])
        for question, answer in turns(row):
            plain = question.removeprefix("Question: ").split("\n")[0]
            assert sentence_again(scene, plain, answer) == answer
            if plain != question:
                options = [line[3:] for line in question.split("\n")[2:6]]
                assert sum(option in answer for option in options) == 1
                assert len(set(options)) == 4


def test_told_pictures_hold_the_answer(toy_world: Any, sentence_again: Callable[..., str | None]) -> None:
    for row in entries(toy_world, "train"):
        if "image" in row:
            continue
        told = row["conversations"][0]["value"].split(" .\n")[0].removeprefix("A picture shows ")
        scene = {"things": [dict(zip(("position", "colour", "shape"), thing, strict=True)) for thing in things_told(told)]}
        for question, answer in turns(row):
            assert sentence_again(scene, question.removeprefix("Question: ").split("\n")[0], answer) == answer


def test_shares_of_descriptions_choices_and_yes(toy_world: Any) -> None:
    found = all_turns(toy_world)
    assert 0.05 < sum(question in DESCRIBE for question, _ in found) / len(found) < 0.16
    assert 0.15 < sum("\nOptions:\n" in question for question, _ in found) / len(found) < 0.3
    closed = [(question, answer) for question, answer in found if question.startswith("Is there ")]
    assert 0.2 < len(closed) / len(found) < 0.35
    polite = [question for question, _ in closed if question.endswith(" Please answer yes or no.")]
    assert 0.2 < len(polite) / len(closed) < 0.4
    assert 0.4 < sum(answer.endswith(" , yes") for _, answer in closed) / len(closed) < 0.6


def test_answers_say_what_they_were_read_from(toy_world: Any) -> None:
    """Read by the matcher of the benchmarks, a sentence is the short answer."""
    for question, answer in all_turns(toy_world):
        if question in DESCRIBE or question.startswith("Question: How many") or question == "How many shapes are there?":
            continue
        assert 3 <= len(answer.split()) <= 5
        if question.startswith("Is there "):
            assert yes_or_no(answer) == ("Yes" if answer.endswith(" , yes") else "No")
