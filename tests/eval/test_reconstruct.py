"""Reconstruction: which texts, what counts as seen, and that another text's tokens must fail."""

from collections.abc import Iterator
from pathlib import Path

import pytest

from eval import reconstruct
from eval.reconstruct import ReconstructResult, evaluate, seen_texts, table, training_texts
from eval.results import read_result, write_result
from pipeline.data.keys import make_key
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError
from pipeline.sample import Sample, Side, Turn
from pipeline.templates import Instructions, Templates
from tests.eval.fakes import FakeModel, png, write_eval, write_pictures
from tests.shards import write_shards

CAPTIONS = [f"a red square number {number} left of two blue circles" for number in range(10)]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Ten captions of ten words as queries, some short labels, and texts that stand beside a picture."""
    write_pictures(tmp_path, {"t2i/0.png": png((9, 9, 9))})
    finding = [
        (f"Find me an everyday image that matches the given caption: {text}\n", "", ["<|image_1|>\n"], ["t2i/0.png"])
        for text in CAPTIONS
    ]
    write_eval(tmp_path, "t2i", finding)
    write_eval(
        tmp_path,
        "naming",
        [("<|image_1|>\nthis text of eight words has a picture", "t2i/0.png", ["short label", CAPTIONS[0]], ["", ""])],
    )
    return tmp_path


class TrainingTexts(list[str]):
    """Stands for the index of shards."""

    fingerprint = "of the shards"


@pytest.fixture
def training(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The texts that training has seen; a test fills them in."""
    texts = TrainingTexts()

    def opened(folder: Path) -> TrainingTexts:
        return texts

    def all_texts(index: list[str]) -> Iterator[str]:
        return iter(index)

    monkeypatch.setattr(ShardIndex, "open", opened)
    monkeypatch.setattr(reconstruct, "training_texts", all_texts)
    return texts


def remembering(context: Side, question: str, compressed: bool) -> str:
    assert compressed, "reconstruction must go through the tokens"
    return f"  {context.text.strip()} "


@pytest.mark.usefixtures("training")
def test_every_text_once_and_only_long_ones_without_picture(data: Path) -> None:
    model = FakeModel(answer_one=remembering)
    result = evaluate(model, data, data)
    assert result.num_texts == 10
    assert result.mean_words == 10
    assert set(model.asked) == {"Reconstruct the represented text"}
    assert (result.own.value, result.swapped.value, result.unseen) == (1.0, 0.0, 1.0)


@pytest.mark.usefixtures("training")
def test_a_model_that_ignores_the_tokens_gains_nothing_from_them(data: Path) -> None:
    result = evaluate(FakeModel(answer_one=lambda context, question, compressed: CAPTIONS[3]), data, data)
    assert result.own.value == pytest.approx(0.1)
    assert result.swapped.value == pytest.approx(0.1)


@pytest.mark.usefixtures("training")
def test_exact_means_every_word(data: Path) -> None:
    almost = FakeModel(answer_one=lambda context, question, compressed: context.text.replace("red", "Red"))
    assert evaluate(almost, data, data).own.value == 0.0


def test_seen_texts_are_told_apart(data: Path, training: list[str]) -> None:
    training += [f"Which picture shows this: {CAPTIONS[0]} , please", CAPTIONS[1].replace(" ", "  "), CAPTIONS[2][:-1]]
    half = {CAPTIONS[0], CAPTIONS[1]}
    model = FakeModel(answer_one=lambda context, question, compressed: context.text if context.text.strip() in half else "")
    result = evaluate(model, data, data)
    assert result.unseen == pytest.approx(0.8)
    assert result.own.value == pytest.approx(0.2)
    assert result.own_unseen is not None
    assert (result.own_unseen.value, result.own_unseen.count) == (0.0, 8)


def test_where_everything_was_seen_there_is_no_unseen_score(data: Path, training: list[str]) -> None:
    training += CAPTIONS
    result = evaluate(FakeModel(answer_one=remembering), data, data)
    assert (result.unseen, result.own_unseen) == (0.0, None)
    assert "unseen ones" not in table(result)


@pytest.mark.usefixtures("training")
def test_limit_takes_the_same_texts_every_time(data: Path) -> None:
    first, second = (evaluate(FakeModel(answer_one=remembering), data, data, limit=4) for _ in range(2))
    assert first == second
    assert first.num_texts == 4


def test_seen_needs_the_whole_text() -> None:
    text = "one two three four five six seven eight nine"
    assert seen_texts([text], iter(["zero one two three four five six seven eight nine ten"])) == {text}
    assert seen_texts([text], iter(["one two three four five six seven eight", "one two"])) == set()
    least = "one two three four five six seven eight"
    for corpus in (least, f"zero {least}", f"{least} nine"):
        assert seen_texts([least], iter([corpus])) == {least}


@pytest.mark.usefixtures("training")
def test_result_reads_back(data: Path, tmp_path: Path) -> None:
    result = evaluate(FakeModel(answer_one=remembering), data, data)
    write_result(result, tmp_path / "r.json")
    assert read_result(ReconstructResult, tmp_path / "r.json") == result


@pytest.mark.usefixtures("training")
def test_nothing_to_reconstruct(tmp_path: Path) -> None:
    write_eval(tmp_path, "labels", [("short", "", ["also short"], [""])])
    with pytest.raises(DataError, match="nothing to reconstruct"):
        evaluate(FakeModel(), tmp_path, tmp_path)


def test_training_texts_are_those_of_every_side_and_turn(tmp_path: Path) -> None:
    turns = (Turn(question="what is it", answer="a circle"),)
    samples = [
        Sample(
            key=make_key("pairs", 0),
            dataset="pairs",
            query=Side(instruction="Find: ", text="query words", images=(png((1, 2, 3)),)),
            positive=Side(text="positive words"),
            negatives=(Side(text="negative words"),),
        ),
    ]
    talks = [Sample(key=make_key("talks", 0), dataset="talks", query=Side(images=(png((3, 2, 1)),), turns=turns))]
    write_shards(samples, tmp_path, dataset="pairs", kind="pairs")
    write_shards(talks, tmp_path, dataset="talks", kind="conversations")
    texts = set(training_texts(ShardIndex.open(tmp_path)))
    assert {"query words", "positive words", "negative words", "what is it", "a circle"} <= texts


def test_texts_are_read_in_the_models_words(data: Path, training: list[str]) -> None:
    """The first caption is a candidate of the first set too, and counts as that."""
    told = Instructions(of="default", query="find the picture", candidate="a name")
    contexts: list[Side] = []

    def answer(context: Side, question: str, compressed: bool) -> str:
        contexts.append(context)
        return context.text

    result = evaluate(FakeModel(answer_one=answer, templates=Templates(instructions=(told,))), data, Path("shards"))
    assert result.own.value == 1.0
    assert {(side.instruction, side.text) for side in contexts} == {
        ("a name\n" if text == CAPTIONS[0] else "find the picture\n", text) for text in CAPTIONS
    }
