from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pipeline.data import mmeb_registry
from pipeline.data.mmeb_registry import META, OPENINGS, WHOLES, DatasetInfo, split_instruction

IMAGE = "<|image_1|>\n"


def test_the_36_sets() -> None:
    counts = Counter((info.meta_task, info.split) for info in META.values())
    # Sets per meta-task, IND and OOD, as the VLM2Vec paper's table has them: 20 and 16 in all.
    expected = {"classification": (5, 5), "vqa": (6, 4), "retrieval": (8, 4), "grounding": (1, 3)}
    assert {task: (counts[task, "IND"], counts[task, "OOD"]) for task in expected} == expected
    assert len(META) == 36
    assert META["RefCOCO-Matching"] == DatasetInfo("grounding", "OOD")


# Texts of real rows (MMEB-train, `original`; MMEB-eval), cut by hand.
REAL = [
    (IMAGE + "Represent the given image for classification\n", ""),
    (IMAGE + "Represent the given image with the following question: ", "What sport is this?\n"),
    (IMAGE + "Represent the given image.\n", ""),
    (IMAGE + "Represent the given image\n", ""),
    (IMAGE + "Represent the given cropped image of the object", ""),
    (IMAGE + "Select the portion of the image that isolates the object labeled as ", '"potted plant"\n'),
    (IMAGE + "Select the portion of the image that follows the language expressions. ", '"bowl"\n'),
    (IMAGE + "Given an image, find a similar everyday image with the described changes: ", "Sliced oranges in a white table.\n"),
    ("Find me an everyday image that matches the given caption: ", "A man that is standing on a plate.\n"),
    ("Represent the given dialogue about an image, which is used for image retrieval: ", "Q:is this a child\nA:adult\n"),
    ("Find a Wikipedia image that answers this question: ", "Where?\n"),
    (IMAGE + "Represent the given Wikipedia image with related text information: ", "King William St.\n"),
    (IMAGE + "Represent the given news image with the following caption for domain classification: ", "\n"),
    ("Retrieve an image of this news caption. ", "A fire.\n"),
    ("", "plane, carpenter's plane, woodworking plane"),
    ("", IMAGE + "Identify the grocery item shown in the image\n"),
    ("", IMAGE + "Represent the given image in the style of a dream\n"),
    ("", "Select the portion of the image that follows the language expressions"),
    ("", ""),
]


@pytest.mark.parametrize(("instruction", "text"), REAL)
def test_real_texts_are_cut_where_the_wording_ends(instruction: str, text: str) -> None:
    assert split_instruction(instruction + text) == (instruction, text)


def test_the_longest_wording_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mmeb_registry, "OPENINGS", ("Find ", "Find a picture of ", "Find a "))
    assert split_instruction("Find a picture of a cat") == ("Find a picture of ", "a cat")


KNOWN = st.sampled_from([*OPENINGS, *sorted(WHOLES), IMAGE, "Represent", " ", "."])


@given(st.lists(KNOWN | st.text(max_size=8), max_size=5).map("".join))
def test_a_cut_loses_nothing(text: str) -> None:
    assert "".join(split_instruction(text)) == text
