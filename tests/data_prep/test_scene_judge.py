"""The stand-in judge: right answers are those of the toy world's own pairs, and a tenth of what it says is false."""

import random
from pathlib import Path

import pytest

from data_prep.negatives.judge_words import judge_request, margin
from data_prep.scene_judge import Shown, is_right, judge
from data_prep.scene_maker import SceneMaker
from data_prep.scene_server import MODEL_NAME, serve
from data_prep.scenes import Scene
from data_prep.toy_files import PictureBook
from data_prep.toy_pairs import Half, Pair
from data_prep.toy_tasks import TASKS
from pipeline.chat import Answer
from pipeline.sample import Side
from tests.chat_server import told

TRAINED = [name for name, task in TASKS.items() if task.is_trained]


def pairs(name: str, count: int) -> list[Pair]:
    task = TASKS[name]
    maker = SceneMaker(rng=random.Random(name), split="train", styles=task.styles)
    return [task.make(maker, task.about[number % len(task.about)]) for number in range(count)]


@pytest.mark.parametrize("name", TRAINED)
def test_a_candidate_is_right_where_it_means_what_the_answer_means(name: str) -> None:
    """Every wording, against all answers of the others and what is near to each."""
    task, made = TASKS[name], pairs(name, 20)
    others = [half for pair in made for half in (pair.target, *pair.near)]
    rights = 0
    for pair in made:
        for wording in task.wordings:
            query = Shown(words=wording.format(text=pair.query.text), scene=pair.query.scene)
            for other in others:
                right = is_right(query, Shown(words=task.target_text(other.text, in_eval=False), scene=other.scene))
                assert right == (other.meaning == pair.target.meaning), (query, other)
                rights += right
    assert rights >= len(made) * len(task.wordings)


def side(half: Half, text: str, book: PictureBook) -> Side:
    return Side(text=text, images=(book.encode(half.scene),) if half.scene else ())


def test_it_answers_over_the_protocol_and_errs_in_a_tenth_the_same_each_time(tmp_path: Path) -> None:
    book, requests, rights = PictureBook(), [], []
    for name in TRAINED:
        task, made = TASKS[name], pairs(name, 6)
        for pair in made:
            query = side(pair.query, task.wordings[0].format(text=pair.query.text), book)
            for other in made:
                candidate = side(other.target, task.target_text(other.target.text, in_eval=False), book)
                requests.append(judge_request(query, candidate))
                rights.append(other.target.meaning == pair.target.meaning)
    book.write(tmp_path / "facts.jsonl")
    with serve(tmp_path / "facts.jsonl") as url:
        first = told(url, requests, journal=tmp_path / "one", model=MODEL_NAME)
        assert told(url, requests[:40], journal=tmp_path / "two", model=MODEL_NAME) == first[:40]
    margins = [margin(answer) for answer in first if isinstance(answer, Answer)]
    false = [isinstance(value, float) and (value > 0) != right for value, right in zip(margins, rights, strict=True)]
    assert 0.05 < sum(false) / len(false) < 0.15, "of 360 pairs: three standard deviations are 0.047"
    assert any(wrong and right for wrong, right in zip(false, rights, strict=True))


def test_other_words_are_none_of_its_business_and_lost_pictures_are_told() -> None:
    scene = pairs("MSCOCO_t2i", 1)[0].target.scene
    assert isinstance(scene, Scene) and judge("Describe the picture.", [scene]) is None
    with pytest.raises(ValueError, match="one each at most"):
        judge(judge_request(Side(text="a", images=(b"x",)), Side(text="b")).text, [])
