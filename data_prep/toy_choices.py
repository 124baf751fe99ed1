"""Writes the toy world's benchmarks in the form of VLMEvalKit: choice questions, and yes/no questions like HallusionBench's."""

import base64
import csv
import random
from collections.abc import Mapping, Sequence
from pathlib import Path

from data_prep.scene_maker import SceneMaker
from data_prep.scene_questions import LETTERS, OPTIONS, ask, is_there, names, options
from data_prep.scenes import LABELS, Scene
from data_prep.toy_benchmarks import benchmark_tables
from data_prep.toy_files import PictureBook

_ROWS_PER_SET = 4


def write_choices(root: Path, *, seed: int, rows: int, book: PictureBook) -> dict[str, int]:
    """`ToyMC.tsv` with `rows` rows, `ToyYN.tsv` with as many, rounded up to whole sets of four, and a file in each other
    benchmark's columns (data_prep.toy_benchmarks). Returns the rows of each.
    """
    maker = SceneMaker(rng=random.Random(f"{seed}/mcq"), split="eval")
    tables = {"ToyMC": _choice_rows(maker, rows, book), "ToyYN": _yes_no_rows(maker, -(-rows // _ROWS_PER_SET), book)}
    tables |= benchmark_tables(tables["ToyMC"])
    root.mkdir(parents=True, exist_ok=True)
    for name, table in tables.items():
        _write_tsv(root / f"{name}.tsv", table)
    return {name: len(table) for name, table in tables.items()}


def _choice_rows(maker: SceneMaker, count: int, book: PictureBook) -> list[dict[str, str]]:
    """Categories, right letters and the number of things each in equal shares, independent of one another."""
    plan = [(kind, letter, things) for things in (1, 2, 3, 4) for letter in LETTERS for kind in OPTIONS]
    rounds = [plan[row % len(plan)] for row in range(count)]
    table = []
    for index, (kind, letter, things) in enumerate(maker.rng.sample(rounds, count)):
        scene = maker.scene(maker.rng.choice(LABELS), count=things)
        question = ask(scene, kind, maker.rng)
        choices = dict(zip(LETTERS, options(question, letter, maker.rng), strict=True))
        cells = {"index": str(index), "question": question.text, **choices, "answer": letter, "category": kind}
        table.append(cells | {"image": _base64(scene, book)})
    return table


def _yes_no_rows(maker: SceneMaker, sets: int, book: PictureBook) -> list[dict[str, str]]:
    """Sets of two figures and two questions: what one figure has, the other has not, so that words alone tell nothing.

    In half of the sets a colour or a shape alone tells the figures apart; in the others two things have exchanged their colours,
    so that only a thing's whole label does. The index has HallusionBench's form: its last three numbers are set, figure and
    question.
    """
    table = []
    for number in range(1, sets + 1):
        first, second = _twins(maker, swaps=number % 2 == 0)
        asked = [_telling(maker, one, other) for one, other in ((first, second), (second, first))]
        for figure, scene in enumerate((first, second), start=1):
            for question, name in enumerate(asked, start=1):
                cells = {"index": f"VD_toy_1_{number}_{figure}_{question}", "category": "VD", "l2-category": "VD_toy"}
                cells["question"] = is_there(name)
                cells["answer"] = "Yes" if name in names(scene) else "No"
                table.append(cells | {"image": _base64(scene, book)})
    return table


def _telling(maker: SceneMaker, one: Scene, other: Scene) -> str:
    """What the one scene has and the other has not, by colour or shape where that is enough, else by label."""
    return maker.rng.choice(_brief(one, other) or sorted(names(one) - names(other)))


def _brief(one: Scene, other: Scene) -> list[str]:
    """The colours and the shapes that only the first scene has."""
    return sorted(name for name in names(one) - names(other) if name not in LABELS)


def _twins(maker: SceneMaker, *, swaps: bool) -> tuple[Scene, Scene]:
    """Two scenes that differ by two exchanged colours, or by a colour or shape that is nowhere else in either."""
    while True:
        scene = maker.scene(maker.rng.choice(LABELS), count=maker.rng.choice((2, 3)))
        other = maker.swapped(scene) if swaps else maker.near(scene)
        if other is not None and other.labels != scene.labels and (swaps or (_brief(scene, other) and _brief(other, scene))):
            return scene, other


def _base64(scene: Scene, book: PictureBook) -> str:
    return base64.b64encode(book.encode(scene)).decode("ascii")


def _write_tsv(path: Path, table: Sequence[Mapping[str, str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(table[0]), delimiter="\t", lineterminator="\n")
        writer.writeheader()
        writer.writerows(table)
