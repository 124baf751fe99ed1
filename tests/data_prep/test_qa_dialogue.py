"""What a dialogue is made of: its script is answered by hand, and what it asks and how it ends is compared."""

import pytest

from data_prep.qa_dialogue import LIST_PROMPT, hold_dialogue
from data_prep.qa_script import Failure, Request, Told
from pipeline.chat import Answer
from pipeline.sample import Side, Turn

SIDE = Side(instruction="Find it: ", text="<|image_1|>", images=(b"a picture",))
FIVE = ("What is on the table?", "Where was it taken?", "What does the sign say?", "Who is on the left?", "How many cups?")


def run(listed: str | Answer, *replies: str | Answer, side: Side = SIDE) -> tuple[list[Request], Told | Failure]:
    """The requests of the script and its end, where the model says these things; more requests than replies fail."""
    script, requests = hold_dialogue(side), []
    told = iter((listed, *replies))
    try:
        requests.append(next(script))
        while True:
            said = next(told, None)
            assert said is not None, f"one request too many: {requests[-1].text}"
            requests.append(script.send(Answer(text=said, finish_reason="stop") if isinstance(said, str) else said))
    except StopIteration as end:
        assert next(told, None) is None, "one request too few"
        return requests, end.value


def lines(*questions: str) -> str:
    return "\n".join(f"{number}. {question}" for number, question in enumerate(questions, start=1))


def test_questions_are_asked_one_after_another_each_behind_the_turns_before() -> None:
    requests, told = run(lines(*FIVE), "a cup", "in a hall", "EXIT", "a man", "three")
    turns = tuple(Turn(question=q, answer=a) for q, a in zip(FIVE, ("a cup", "in a hall", "EXIT", "a man", "three"), strict=True))
    assert told == Told(turns=turns, unmarked=False)
    assert [request.text for request in requests] == [LIST_PROMPT, *FIVE]
    assert [request.history for request in requests] == [(), *(turns[:n] for n in range(5))]
    assert {request.about for request in requests} == {Side(images=SIDE.images)}, "what the side says is none of its picture"


@pytest.mark.parametrize("count", [3, 4])
def test_three_or_four_questions_will_do(count: int) -> None:
    _, told = run(lines(*FIVE[:count]), *["a cup"] * count)
    assert isinstance(told, Told) and len(told.turns) == count


def test_questions_beyond_five_and_repeated_ones_are_not_asked() -> None:
    listed = lines(FIVE[0], "what is on the  table ?", *FIVE[1:], "Why?", "When?")
    requests, told = run(listed, *["a cup"] * 5)
    assert [request.text for request in requests[1:]] == list(FIVE)
    assert isinstance(told, Told) and told.left_out == ("repeated", "surplus", "surplus")


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        ("", "empty"),
        ("I'm sorry, but I can't help with that.", "refusal"),
        ("ha" * 60, "loop"),
        ("Where was it taken?", "echo"),
        ("a cat<|im_end|>", "markup"),
        (Answer(text="A long st", finish_reason="length"), "cut"),
        (Answer(text="A man", finish_reason="content_filter"), "withheld"),
    ],
)
def test_an_answer_that_is_no_target_leaves_its_turn_out_and_is_not_seen_later(answer: str | Answer, kind: str) -> None:
    requests, told = run(lines(*FIVE), "a cup", answer, "EXIT", "a man", "three")
    assert isinstance(told, Told) and told.left_out == (kind,)
    assert [turn.question for turn in told.turns] == [FIVE[0], *FIVE[2:]]
    assert [turn.question for turn in requests[-1].history] == [FIVE[0], FIVE[2], FIVE[3]]


def test_too_few_answers_end_it_as_soon_as_that_is_sure() -> None:
    requests, end = run(lines(*FIVE), "", "a hall", "I'm sorry.", "")
    assert end == Failure("few_turns", "1 of 5 questions have an answer to learn, fewer than 3 (2 empty, 1 refusal)")
    assert len(requests) == 5, "the fifth question could not save it"


@pytest.mark.parametrize(
    ("listed", "kind"),
    [
        (lines(*FIVE[:2]), "short_list"),
        (lines(FIVE[0], FIVE[1], FIVE[0]), "short_list"),
        ("A cup stands on a table.", "short_list"),
        ("", "empty"),
        ("I'm sorry, but I can't see the picture.", "refusal"),
        (lines(*["What is on the table?"] * 6), "loop"),
        (Answer(text=lines(*FIVE), finish_reason="length"), "cut"),
        (Answer(text=lines(*FIVE), finish_reason="content_filter"), "withheld"),
    ],
)
def test_a_list_that_is_none_ends_it_before_anything_else_is_asked(listed: str | Answer, kind: str) -> None:
    requests, end = run(listed)
    assert isinstance(end, Failure) and end.kind == kind and len(requests) == 1
    assert "list" in end.reason


def test_an_answer_without_its_end_marks_the_dialogue_unless_it_is_left_out() -> None:
    def told(listed: Answer, first: Answer) -> Told | Failure:
        return run(listed, first, "b", "c", "d")[1]

    whole, bare, empty = (Answer(text=lines(*FIVE[:4]), finish_reason="stop"), Answer(text="a cup"), Answer(text=""))
    marks = [
        told(whole, Answer(text="a cup", finish_reason="stop")),
        told(whole, bare),
        told(whole, empty),
        told(Answer(text=whole.text), whole),
    ]
    assert [end.unmarked for end in marks if isinstance(end, Told)] == [False, True, False, True]


def test_requests_are_told_apart_by_pictures_words_and_what_was_said_before() -> None:
    """Equal for sides that share a picture, whatever else they say."""
    first, _ = run(lines(*FIVE[:3]), "a", "b", "c")
    others = [
        run(lines(*FIVE[:3]), "a", "b", "c", side=Side(text="other words", images=SIDE.images))[0],
        run(lines(*FIVE[:3]), "a", "x", "c")[0],
        run(lines(*FIVE[:3]), "a", "b", "c", side=Side(images=(b"another picture",)))[0],
    ]
    identities = [[request.identity("m") for request in requests] for requests in (first, *others)]
    assert identities[0] == identities[1]
    assert [a == b for a, b in zip(identities[0], identities[2], strict=True)] == [True, True, True, False]
    assert not set(identities[0]) & set(identities[3])
    assert len({*identities[0], *(request.identity("n") for request in first)}) == 8
