"""What evaluation reads of a side is what training reads of the same row, token for token, whatever instructions there are."""

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest

from eval.retrieval_set import retrieval_sets
from pipeline.data.mmeb_rows import worded_side
from pipeline.inference import load_untrained
from pipeline.negatives import InFile
from pipeline.sample import Sample, Side
from pipeline.template_file import named_templates
from pipeline.templates import Templates
from pipeline.train.dataloader.step_dataset import StepDataset
from tests.eval.fakes import FakeModel, png, write_eval, write_pictures
from tests.pipeline.conftest import model_folder as model_folder
from tests.pipeline.corpus import MemoryIndex, measured, variant

WORDS = ("cat", "dog", "owl", "fox")
ASKED = "<|image_1|>\nRepresent the given image with the following question: is it a {}"
FOUND = "Find me an everyday image that matches the given caption: a {}."
SHOWN = "<|image_1|>\nRepresent the given image.\n"


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A set of questions about pictures and one of captions that look for them, by names that our own file knows."""
    write_pictures(tmp_path, {f"{word}.png": png((9 * at, 5, 7), (56, 56)) for at, word in enumerate(WORDS)})
    rolled = [[*WORDS[at:], *WORDS[:at]] for at in range(4)]
    write_eval(tmp_path, "DocVQA", [(ASKED.format(own[0]), f"{own[0]}.png", own, [""] * 4) for own in rolled])
    finding = [(FOUND.format(own[0]), "", [SHOWN] * 4, [f"{each}.png" for each in own]) for own in rolled]
    write_eval(tmp_path, "MSCOCO_t2i", finding)
    return tmp_path


def rows() -> MemoryIndex:
    """The same pairs as rows of a corpus, read as MMEB-train is."""
    pictures = {word: png((9 * at, 5, 7), (56, 56)) for at, word in enumerate(WORDS)}

    def side(text: str, word: str) -> Side:
        images = (pictures[word],) if "<|image_1|>" in text else ()
        return replace(worded_side(text, Counter(), has_picture=bool(images)), images=images)

    asked = [
        Sample(key=f"a-{at}", dataset="DocVQA", query=side(ASKED.format(word), word), positive=side(word, word))
        for at, word in enumerate(WORDS)
    ]
    found = [
        Sample(key=f"f-{at}", dataset="MSCOCO_t2i", query=side(FOUND.format(word), word), positive=side(SHOWN, word))
        for at, word in enumerate(WORDS)
    ]
    return MemoryIndex([*asked, *found])


@pytest.mark.parametrize("templates", [Templates(), named_templates("magic")], ids=["none", "our own file"])
def test_training_and_evaluation_read_the_same(templates: Templates, data: Path, model_folder: Path) -> None:
    plain = variant("retrieval", held_out=0)
    mixture = replace(plain.phase.mixture, pairs=4, sub_batch=4)
    recipe = replace(plain, templates=templates).with_phase(mixture=mixture, negatives=InFile(most=0))
    model = load_untrained(model_folder, recipe)
    dataset = StepDataset(measured(rows(), recipe, model.builder.vocabulary), recipe, model.builder.vocabulary)
    trained = {
        (row.key[0], tuple(row.sequence.input_ids.tolist()))
        for step in range(4)
        for row in dataset.global_rows(dataset.draw(step), step)
    }
    evaluated = set()
    for each in retrieval_sets(data):
        sides = each.sides(each.read(), model.templates)
        assert len(sides) == 8
        names = {"DocVQA": "a", "MSCOCO_t2i": "f"}
        evaluated |= {(names[each.dataset], tuple(model.reader.row(side, slot=0).sequence.input_ids.tolist())) for side in sides}
    assert trained == evaluated and len(evaluated) == 13, "pictures alone are the same tokens"


def test_every_side_of_a_set_is_worded(data: Path) -> None:
    model = FakeModel(templates=named_templates("magic"))
    for each in retrieval_sets(data, blank=True):
        each.measure(model, None, lambda *_: None)
    assert len(model.embedded) == 13, "four grey pictures are one"
    assert all(side.instruction.startswith("Instruct: ") for side in model.embedded)
    by_hand = "Instruct: Answer the question by what is written on the page.\n<|image_1|>\nQuery: "
    assert {side.text for side in model.embedded if side.instruction == by_hand} == {f"is it a {word}" for word in WORDS}
