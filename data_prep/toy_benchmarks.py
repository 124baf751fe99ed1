"""The toy world's questions in each comprehension benchmark's own columns, so that every one of them is read, asked and scored.

They are rows of `ToyMC` put otherwise, over the same pictures: a rotation of its options, an open question, a judged one.
"""

from collections.abc import Mapping, Sequence

from data_prep.scene_questions import LETTERS

Row = Mapping[str, str]

ROTATION = 1_000_000
_SHARE, _LEAST = 8, 4
_ABILITIES = {"colour": "attribute_reasoning", "shape": "coarse_perception", "position": "relation_reasoning"}
_CAPABILITIES = {"colour": "rec", "shape": "rec", "position": "rec,spat", "count": "rec,math"}
_SUBJECTS = {"colour": ("Art & Design", "Art"), "shape": ("Art & Design", "Design")}
_OTHER = "logic_reasoning", ("Science", "Math")


def benchmark_tables(choices: Sequence[Row]) -> dict[str, list[dict[str, str]]]:
    """Tables by name, of an eighth of the choice rows, at least four; HallusionBench's form is that of `ToyYN`."""
    rows = choices[: max(_LEAST, len(choices) // _SHARE)]
    return {
        "ToyMMBench": [_rotated(row, turn) for turn in range(len(LETTERS)) for row in rows],
        "ToyAI2D": [_plain(row) | {"category": f"{row['category']}Diagram"} for row in rows],
        "ToyMMStar": [_plain(row) | _star(row) for row in rows],
        "ToyMMMU": [_college(row, rows[number - 1], number) for number, row in enumerate(rows)],
        "ToyMMVet": [_free(row) for row in rows],
    }


def _plain(row: Row) -> dict[str, str]:
    return {name: row[name] for name in ("index", "question", *LETTERS, "answer", "image")}


def _rotated(row: Row, turn: int) -> dict[str, str]:
    """The options moved on by so many places; a rotation's picture is that of the unrotated row, by its index."""
    texts = [row[letter] for letter in LETTERS]
    moved = dict(zip(LETTERS, [*texts[turn:], *texts[:turn]], strict=True))
    answer = LETTERS[(LETTERS.index(row["answer"]) - turn) % len(LETTERS)]
    return {
        "index": str(int(row["index"]) + turn * ROTATION),
        "question": row["question"],
        "hint": "",
        **moved,
        "answer": answer,
        "category": row["category"],
        "image": row["image"] if turn == 0 else row["index"],
        "source": "toy",
        "l2-category": _ABILITIES.get(row["category"], _OTHER[0]),
        "comment": "",
        "split": "dev",
    }


def _star(row: Row) -> dict[str, str]:
    return {"category": "coarse perception", "l2_category": row["category"], "bench": "toy"}


def _college(row: Row, other: Row, number: int) -> dict[str, str]:
    """Two pictures in mid-sentence, or an open question about one; every fourth row is of `dev`."""
    discipline, subject = _SUBJECTS.get(row["category"], _OTHER[1])
    split = "dev" if number % 4 == 3 else "validation"
    is_open = number % 2 == 1
    asked = f"{row['question']} <image 1>" if is_open else f"Beside <image 2> lies <image 1>. Of the latter: {row['question']}"
    return {
        "id": f"{split}_{subject}_{row['index']}",
        "index": row["index"],
        "question": asked,
        "split": split,
        **(dict.fromkeys(LETTERS, "") if is_open else {letter: row[letter] for letter in LETTERS}),
        "answer": row[row["answer"]] if is_open else row["answer"],
        "topic_difficulty": "Easy",
        "subfield": subject,
        "image_type": "['Drawings']",
        "question_type": "open" if is_open else "multiple-choice",
        "explanation": "",
        "image": row["image"] if is_open else repr([row["image"], other["image"]]),
        "category": discipline,
        "l2-category": subject,
    }


def _free(row: Row) -> dict[str, str]:
    """The right text as a free answer, alone or after an article."""
    right = row[row["answer"]]
    return {
        "index": f"v1_{row['index']}",
        "question": row["question"],
        "answer": f"{right}<OR>the {right}",
        "category": _CAPABILITIES[row["category"]],
        "image": row["image"],
    }
