"""Sides put together by templates, worked by hand; and token ids of two datasets' sides, written out piece by piece."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.errors import ConfigError
from pipeline.sample import IMAGE_MARKER, Sample, Side, Turn
from pipeline.sequence import SequenceBuilder
from pipeline.templates import Instructions, Templates

TEMPLATES = Templates(
    query_template="Instruct: {instruction}\n{pictures}Query: {text}",
    candidate_template="Instruct: {instruction}\n{pictures}Text: {text}",
    instructions=(
        Instructions(of="default", query="find anything", candidate="be found"),
        Instructions(of="meta_task.vqa", query="answer it", candidate="an answer"),
        Instructions(of="dataset.DocVQA", query="answer by the page", candidate=""),
        Instructions(of="dataset.ImageNet-1K", query="name it", candidate="a name"),
    ),
)
ONE = (b"picture",)
MARKED = "<|image_1|>\n"


@pytest.mark.parametrize(
    ("dataset", "query", "candidate"),
    [
        ("DocVQA", "answer by the page", ""),
        ("ChartQA", "answer it", "an answer"),
        ("ImageNet-1K", "name it", "a name"),
        ("ImageNet_1K", "name it", "a name"),
        ("MSCOCO_t2i", "find anything", "be found"),
        ("of my own", "find anything", "be found"),
    ],
)
def test_the_nearest_instruction_counts(dataset: str, query: str, candidate: str) -> None:
    asked, found = TEMPLATES.query(Side(text="red"), dataset), TEMPLATES.candidate(Side(text="red"), dataset)
    assert asked == Side(instruction=f"Instruct: {query}\nQuery: ", text="red")
    assert found == Side(instruction=f"Instruct: {candidate}\nText: " if candidate else "", text="red")


@pytest.mark.parametrize(
    ("side", "shown"),
    [
        # The row's own instruction goes, and the picture that stood in it keeps its place before the words.
        (Side(instruction=f"{MARKED}Represent it: ", text="red", images=ONE), (f"Instruct: name it\n{MARKED}Query: ", "red")),
        (Side(text=f"{MARKED}  what is it ", images=ONE), (f"Instruct: name it\n{MARKED}Query: ", "what is it")),
        (Side(text="what", images=ONE * 2), ("Instruct: name it\n<|image_1|>\n<|image_2|>\nQuery: ", "what")),
        (Side(images=ONE), (f"Instruct: name it\n{MARKED}Query: ", "")),
        # Pictures among the words stay among them, those before them too.
        (Side(text="is <|image_1|> red", images=ONE), ("Instruct: name it\nQuery: ", "is <|image_1|> red")),
        (
            Side(instruction="<|image_1|> and: ", text="like <|image_2|>", images=ONE * 2),
            ("Instruct: name it\nQuery: ", "<|image_1|>like <|image_2|>"),
        ),
        # What is wrong stays wrong, so that it is found.
        (Side(text=f"{MARKED}red"), ("Instruct: name it\nQuery: ", f"{MARKED}red")),
        # A row cannot write a template.
        (Side(text="{instruction} {pictures}"), ("Instruct: name it\nQuery: ", "{instruction} {pictures}")),
    ],
)
def test_pictures_and_own_words_have_their_places(side: Side, shown: tuple[str, str]) -> None:
    found = TEMPLATES.query(side, "ImageNet-1K")
    assert (found.instruction, found.text, found.images) == (*shown, side.images)


@given(
    st.lists(st.sampled_from(["red", " ", "\n", "{text}", "<|image|>", "é"]), max_size=5),
    st.integers(0, 3),
    st.integers(0, 5),
    st.booleans(),
    st.sampled_from(["DocVQA", "ImageNet-1K", "mine"]),
)
@settings(max_examples=60, deadline=None)
def test_any_row_keeps_its_pictures_in_order_and_its_words(
    words: list[str], pictures: int, cut: int, marked: bool, dataset: str
) -> None:
    """Markers at any places among the words, or none; the row's instruction ends at any of them."""
    pieces = list(words)
    for number in range(1, pictures + 1) if marked else ():
        pieces.insert(min(len(pieces), 2 * number), f"<|image_{number}|>")
    row = Side(instruction="".join(pieces[:cut]), text="".join(pieces[cut:]), images=ONE * pictures)
    for shown, lead in ((TEMPLATES.query(row, dataset), "Query: "), (TEMPLATES.candidate(row, dataset), "Text: ")):
        said = shown.instruction + shown.text
        assert [int(number) for number in IMAGE_MARKER.findall(said)] in ([], list(range(1, pictures + 1)))
        own = "".join(IMAGE_MARKER.sub("", row.text).split())
        assert "".join(IMAGE_MARKER.sub("", shown.text).split()) == own and shown.images == row.images
        assert shown.instruction == "" or shown.instruction.endswith(lead)


def test_without_an_instruction_pictures_and_words_stand_alone() -> None:
    row = Side(instruction=f"{MARKED}Represent it: ", text="red", images=ONE, turns=(Turn(question="what"),))
    assert TEMPLATES.candidate(row, "DocVQA") == replace(row, instruction="")
    assert Templates().query(row, "DocVQA") is row
    named = replace(TEMPLATES, instructions=TEMPLATES.instructions[1:])
    assert named.query(row, "of my own") is row, "no instruction is for it"


def test_a_pair_has_its_sides_worded_and_a_conversation_has_not() -> None:
    pair = Sample(key="1", dataset="DocVQA", query=Side(text="a"), positive=Side(text="b"), negatives=(Side(text="c"),))
    shown = replace(TEMPLATES, instructions=TEMPLATES.instructions[:2]).sample(pair)
    assert [side.instruction + side.text for side in shown.sides] == [
        "Instruct: answer it\nQuery: a",
        "Instruct: an answer\nText: b",
        "Instruct: an answer\nText: c",
    ]
    talk = replace(pair, positive=None, negatives=())
    assert TEMPLATES.sample(talk) is talk and Templates().sample(pair) is pair


def test_token_ids_worked_by_hand(builder: SequenceBuilder) -> None:
    """In a prompt of CREM's form, of a query with a picture and of a candidate, of two datasets."""
    v, system = builder.vocabulary, builder.system_ids()
    grid = np.array([[1, 4, 4]])  # 16 patches, merged by 2 x 2
    picture = [v.vision_start, *[v.image_pad] * 4, v.vision_end]
    row = Side(instruction=f"{MARKED}Represent it: ", text="red circle", images=ONE)
    for dataset, told in (("DocVQA", "answer by the page"), ("ChartQA", "answer it")):
        ids = builder.build(TEMPLATES.query(row, dataset), grid).input_ids.tolist()
        words = [*v.encode(f"Instruct: {told}\n"), *picture, *v.encode("\nQuery: red circle")]
        assert ids == [*system, *words, *v.chorus]
    for dataset, said in (("DocVQA", "blue"), ("ChartQA", "Instruct: an answer\nText: blue")):
        ids = builder.build(TEMPLATES.candidate(Side(instruction="Told: ", text="blue"), dataset), np.zeros((0, 3))).input_ids
        assert ids.tolist() == [*system, *v.encode(said), *v.chorus]


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"query_template": "{instruction}"}, r"templates.query_template: does not end with \{text\}, the place of a side's own"),
        ({"query_template": "{instruction}{text} ?"}, "does not end with"),
        ({"candidate_template": "{text}"}, r"templates.candidate_template: has \{instruction\} 0 times, not once"),
        ({"query_template": "{instruction}{text}{text}"}, r"has \{text\} 2 times"),
        ({"query_template": "{instruction}{pictures}{pictures}{text}"}, r"has \{pictures\} 2 times"),
        ({"query_template": "{instruction}{question}{text}"}, r"\{question\} is no place; there are \{instruction\}, "),
        (
            {"query_template": "{instruction} <|image_1|>{text}"},
            r"<\|image_1\|> is a picture of a row; a template has \{pictures",
        ),
        ({"query_template": "\0{instruction}{text}"}, "it holds a NUL"),
    ],
)
def test_templates_without_their_places_are_refused(fields: dict[str, str], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Templates(**fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("of", "query", "message"),
    [
        ("other", "", r"templates.instructions, other: is not default, dataset.<name> or one of meta_task.classification, "),
        ("dataset.", "", "dataset.: is not default"),
        ("meta_task.sorting", "", "meta_task.sorting: is not default"),
        ("default", "<|image_1|> is it", r"default, query: <\|image_1\|> is a picture of a row"),
        ("default", "\ud800", "not valid UTF-8"),
        ("default", "is {text} here", r"default, query: \{text\} is a place of templates; say it there"),
    ],
)
def test_instructions_of_nothing_are_refused(of: str, query: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Instructions(of=of, query=query, candidate="")


def test_a_dataset_has_one_table_by_either_of_its_names() -> None:
    twice = [Instructions(of=f"dataset.{name}", query="", candidate="") for name in ("ImageNet_1K", "ImageNet-1K")]
    with pytest.raises(ConfigError, match=r"templates.instructions: dataset.ImageNet-1K stands there twice"):
        Templates(instructions=tuple(twice))
