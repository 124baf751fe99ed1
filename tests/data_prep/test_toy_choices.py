import base64
import io
from collections import Counter, defaultdict
from collections.abc import Callable
from typing import Any

from PIL import Image

from data_prep.scenes import LABELS


def test_choice_rows_have_the_columns_of_the_benchmarks(toy_world: Any) -> None:
    rows = toy_world.tsv("ToyMC")
    assert list(rows[0]) == ["index", "question", "A", "B", "C", "D", "answer", "category", "image"]
    assert [row["index"] for row in rows] == [str(number) for number in range(64)]
    for row in rows:
        with Image.open(io.BytesIO(base64.b64decode(row["image"]))) as image:
            assert image.size == (56, 56)


def test_categories_letters_and_both_together_are_balanced(toy_world: Any) -> None:
    rows = toy_world.tsv("ToyMC")
    assert Counter((row["category"], row["answer"]) for row in rows) == {
        (category, letter): 4 for category in ("colour", "shape", "position", "count") for letter in "ABCD"
    }
    counted = Counter(row[row["answer"]] for row in rows if row["category"] == "count")
    assert set(counted.values()) == {4}


def test_exactly_one_option_is_right(toy_world: Any, answer_again: Callable[..., str | None]) -> None:
    for row in toy_world.tsv("ToyMC"):
        right = answer_again(toy_world.scene(base64.b64decode(row["image"])), row["question"])
        assert [letter for letter in "ABCD" if row[letter] == right] == [row["answer"]]


def test_yes_no_answers_are_right(toy_world: Any, answer_again: Callable[..., str | None]) -> None:
    rows = toy_world.tsv("ToyYN")
    assert list(rows[0]) == ["index", "category", "l2-category", "question", "answer", "image"]
    for row in rows:
        assert answer_again(toy_world.scene(base64.b64decode(row["image"])), row["question"]) == row["answer"]


def test_yes_no_questions_are_asked_of_two_figures_with_opposite_answers(toy_world: Any) -> None:
    pairs, figures = defaultdict(list), defaultdict(list)
    for row in toy_world.tsv("ToyYN"):
        _, _, _, group, figure, question = row["index"].split("_")
        pairs[group, question].append((row["question"], row["answer"]))
        figures[group, figure].append((row["image"], row["answer"]))
    assert len(pairs) == len(figures) == 32
    for (one, first), (two, second) in pairs.values():
        assert one == two
        assert {first, second} == {"Yes", "No"}
    for (one, first), (two, second) in figures.values():
        assert one == two
        assert {first, second} == {"Yes", "No"}


def test_figures_that_swapped_colours_are_told_apart_by_label_and_the_others_by_less(toy_world: Any) -> None:
    """An odd set differs by one thing's colour or shape, an even one by a swap."""
    for row in toy_world.tsv("ToyYN"):
        group = int(row["index"].split("_")[3])
        by_label = " ".join(row["question"].removesuffix("?").split()[3:]) in LABELS
        assert by_label == (group % 2 == 0), row["question"]
