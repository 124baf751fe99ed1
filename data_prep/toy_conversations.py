"""Writes the toy world's conversations in the form of ShareGPT-4V.

A row has a picture, or, as in instruction data, only words that say what a picture would show; one to four questions, each
asked plainly or as a choice; and the marker `<image>` before or, now and then, after the first question.
"""

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from data_prep.scene_maker import SceneMaker, Split
from data_prep.scene_questions import OPTIONS, YES_OR_NO, Question, as_choice, ask
from data_prep.scenes import LABELS, Scene, caption
from data_prep.toy_files import PictureBook, write_zip

_TEXT_ONLY = 0.25
_TURNS = (1, 2, 3, 3, 4, 4)
_DESCRIBED = 0.4  # Share of rows with a picture that ask for its description; pairs ask for theirs too.
_CHOICES = 0.3  # Share of the short questions that are asked as a choice, or for yes or no.
_IMAGE_LAST = 0.2
_SHORT_KINDS = (*OPTIONS, "yesno", "yesno")  # Yes or no teaches one bit an answer, so it is asked twice as often.


@dataclass(frozen=True, slots=True, kw_only=True)
class _Row:
    scene: Scene
    questions: tuple[Question, ...]
    words: str
    """What stands for the picture in a row without one; "" in a row with a picture."""


def write_conversations(root: Path, *, seed: int, rows: int, book: PictureBook) -> dict[str, int]:
    """`train.json` of `rows` rows, `eval.json` of a tenth as many, and the zip of their pictures. Returns the rows of each."""
    pictures: dict[str, bytes] = {}
    counts: dict[str, int] = {}
    splits: Sequence[tuple[Split, int]] = (("train", rows), ("eval", max(1, rows // 10)))
    for split, count in splits:
        maker = SceneMaker(rng=random.Random(f"{seed}/conversations/{split}"), split=split)
        made = [_row(maker) for _ in range(count)]
        entries = [_entry(row, f"{split}_{number:06d}", maker.rng) for number, row in enumerate(made)]
        for row, entry in zip(made, entries, strict=True):
            if "image" in entry:
                pictures[entry["image"]] = book.encode(row.scene)
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}.json").write_text(json.dumps(entries, indent=1) + "\n", encoding="utf-8")
        counts[split] = len(entries)
    write_zip(root / "images.zip", pictures)
    return counts


def _row(maker: SceneMaker) -> _Row:
    rng = maker.rng
    scene = maker.scene(rng.choice(LABELS), count=rng.choice((1, 2, 3, 4)))
    words = caption(scene, rng) if rng.random() < _TEXT_ONLY else ""
    turns = rng.choice(_TURNS)
    describes = not words and rng.random() < _DESCRIBED
    asked = [_short(scene, kind, rng) for kind in rng.sample(_SHORT_KINDS, turns - describes)]
    if describes:
        asked.insert(rng.randrange(turns), ask(scene, "describe", rng))
    return _Row(scene=scene, questions=tuple(asked), words=words)


def _short(scene: Scene, kind: str, rng: random.Random) -> Question:
    """A question as people ask or, with its options, as benchmarks do; the answer is a sentence in both."""
    question = ask(scene, kind, rng)
    if rng.random() < _CHOICES:
        text = as_choice(question, rng).text if kind in OPTIONS else question.text + YES_OR_NO
        question = replace(question, text=text)
    return replace(question, answer=question.sentence)


def _entry(row: _Row, name: str, rng: random.Random) -> dict[str, Any]:
    first, *later = (question.text for question in row.questions)
    if row.words:
        first = f"A picture shows {row.words} .\n{first}"
    else:
        first = f"{first}\n<image>" if rng.random() < _IMAGE_LAST else f"<image>\n{first}"
    turns = [
        {"from": speaker, "value": value}
        for human, question in zip((first, *later), row.questions, strict=True)
        for speaker, value in (("human", human), ("gpt", question.answer))
    ]
    image = {} if row.words else {"image": f"toy/{name}.jpg"}
    return {"id": f"toy_{name}"} | image | {"conversations": turns}
