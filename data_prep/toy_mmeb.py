"""Writes the toy world's pairs in the layout of MMEB-train and MMEB-eval."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa

from data_prep.scene_maker import SceneMaker
from data_prep.scenes import Scene
from data_prep.toy_files import PictureBook, write_parquet, write_zip
from data_prep.toy_pairs import Half, Pair
from data_prep.toy_tasks import TASKS, Task

POOL = 64
"""Candidates of a query whose answers are not a fixed list; labels give a pool of 56."""

_ROWS_PER_FILE = 500
_TRAIN_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("qry", "qry_image_path", "pos_text", "pos_image_path", "neg_text", "neg_image_path")]
)
_EVAL_SCHEMA = pa.schema(
    [
        ("qry_text", pa.string()),
        ("qry_img_path", pa.string()),
        ("tgt_text", pa.list_(pa.string())),
        ("tgt_img_path", pa.list_(pa.string())),
    ]
)
_EVAL_FILE = "test-00000-of-00001.parquet"


@dataclass(frozen=True, slots=True, kw_only=True)
class _Shelf:
    """The pictures of one zip: member name -> file. `folder` begins every member's name."""

    book: PictureBook
    folder: str
    members: dict[str, bytes] = field(default_factory=dict)

    def add(self, scene: Scene | None, *, row: int, part: str = "") -> str:
        """Encodes a picture and returns its member name, or "" where there is no picture."""
        if scene is None:
            return ""
        tail = f"_object_{scene.things[0].label}" if scene.is_crop else part
        name = f"{self.folder}/{row:06d}{tail}.jpg"
        assert name not in self.members, name
        self.members[name] = self.book.encode(scene)
        return name


@dataclass(frozen=True, slots=True, kw_only=True)
class _Candidate:
    text: str
    path: str
    meaning: frozenset[str]


def write_train(root: Path, name: str, *, seed: int, rows: int, book: PictureBook) -> None:
    """One data set of MMEB-train below `root`: both splits and the zip of pictures, which the rows name below `images/`."""
    task = TASKS[name]
    pairs = _pairs(task, SceneMaker(rng=random.Random(f"{seed}/{name}/train"), split="train", styles=task.styles), rows)
    shelf = _Shelf(book=book, folder=f"{name}/Train")
    table = [_train_row(task, pair, row, shelf) for row, pair in enumerate(pairs)]
    for split, wordings in (("original", task.wordings[:1]), ("diverse_instruction", task.wordings)):
        worded = [
            cells | {"qry": wordings[row % len(wordings)].format(text=pair.query.text)}
            for row, (pair, cells) in enumerate(zip(pairs, table, strict=True))
        ]
        _write_parts(root / name, split, worded)
    write_zip(root / "images_zip" / f"{name}.zip", shelf.members)


def write_eval(root: Path, name: str, *, seed: int, rows: int, book: PictureBook, apart: Path) -> dict[str, bytes]:
    """One data set of MMEB-eval below `root`, and in the instruction layout below `apart`.

    Returns its pictures, member name -> file, for the one zip of all sets.
    """
    task = TASKS[name]
    maker = SceneMaker(rng=random.Random(f"{seed}/{name}/eval"), split="eval", styles=task.styles)
    pairs = _pairs(task, maker, rows if task.is_closed else max(rows, POOL))
    shelf = _Shelf(book=book, folder=name)
    if task.is_closed:
        pools = [_closed_pool(task, pair, maker.rng) for pair in pairs]
    else:
        pools = _open_pools(task, pairs, shelf, maker.rng)
    cells = [_eval_row(task, pairs[row], pools[row], shelf.add(pairs[row].query.scene, row=row)) for row in range(rows)]
    write_parquet(root / name / _EVAL_FILE, cells, _EVAL_SCHEMA)
    write_parquet(apart / name / _EVAL_FILE, [_in_columns(task, row) for row in cells], _columns_of(task))
    return shelf.members


def _pairs(task: Task, maker: SceneMaker, count: int) -> list[Pair]:
    """`count` pairs whose answers are about each of the task's words in turn, reshuffled every round."""
    about: list[str] = []
    while len(about) < count:
        about += maker.rng.sample(task.about, len(task.about))
    return [task.make(maker, word) for word in about[:count]]


def _train_row(task: Task, pair: Pair, row: int, shelf: _Shelf) -> dict[str, str]:
    cells = {"qry_image_path": shelf.add(pair.query.scene, row=row), "neg_text": "", "neg_image_path": ""}
    cells["pos_text"] = task.target_text(pair.target.text, in_eval=False)
    cells["pos_image_path"] = shelf.add(pair.target.scene, row=row, part="_target")
    if task.has_negatives:
        cells["neg_text"] = task.target_text(pair.near[0].text, in_eval=False)
        cells["neg_image_path"] = shelf.add(pair.near[0].scene, row=row, part="_negative")
    return {key: f"images/{cell}" if cell and key.endswith("path") else cell for key, cell in cells.items()}


def _write_parts(folder: Path, split: str, rows: Sequence[dict[str, str]]) -> None:
    parts = [rows[first : first + _ROWS_PER_FILE] for first in range(0, len(rows), _ROWS_PER_FILE)]
    for number, part in enumerate(parts):
        write_parquet(folder / f"{split}-{number:05d}-of-{len(parts):05d}.parquet", part, _TRAIN_SCHEMA)


def _closed_pool(task: Task, pair: Pair, rng: random.Random) -> list[_Candidate]:
    """The right answer, then all the others of the task in random order."""
    others = [word for word in rng.sample(task.about, len(task.about)) if word != pair.target.text]
    return [_Candidate(text=word, path="", meaning=frozenset({word})) for word in (pair.target.text, *others)]


def _open_pools(task: Task, pairs: Sequence[Pair], shelf: _Shelf, rng: random.Random) -> list[list[_Candidate]]:
    """Per pair: its answer, its near ones, then answers of other pairs."""
    own = [_own_candidates(task, pair, row, shelf) for row, pair in enumerate(pairs)]
    ring = [candidate for candidates in own for candidate in candidates]
    rng.shuffle(ring)
    return [_pool(candidates, ring, start=rng.randrange(len(ring))) for candidates in own]


def _own_candidates(task: Task, pair: Pair, row: int, shelf: _Shelf) -> list[_Candidate]:
    def candidate(half: Half, part: str) -> _Candidate:
        text = task.target_text(half.text, in_eval=True)
        return _Candidate(text=text, path=shelf.add(half.scene, row=row, part=part), meaning=half.meaning)

    return [candidate(pair.target, "_target"), *(candidate(half, f"_near{k}") for k, half in enumerate(pair.near))]


def _pool(own: Sequence[_Candidate], ring: Sequence[_Candidate], *, start: int) -> list[_Candidate]:
    """`own`, filled up from the ring with candidates of other meanings that are not right as well; at most `POOL`."""
    right, pool = own[0].meaning, list(own)
    seen = {candidate.meaning for candidate in pool}
    for candidate in (*ring[start:], *ring[:start]):
        if len(pool) == POOL:
            break
        if candidate.meaning not in seen and not candidate.meaning <= right and not right <= candidate.meaning:
            pool.append(candidate)
            seen.add(candidate.meaning)
    return pool


def _eval_row(task: Task, pair: Pair, pool: Sequence[_Candidate], picture: str) -> dict[str, Any]:
    return {
        "qry_text": task.wordings[0].format(text=pair.query.text),
        "qry_img_path": picture,
        "tgt_text": [candidate.text for candidate in pool],
        "tgt_img_path": [candidate.path for candidate in pool],
    }


def _in_columns(task: Task, row: Mapping[str, Any]) -> dict[str, object]:
    """A row in the instruction layout: wordings stand in columns of their own, and texts are what is left."""
    instruction, words = _apart(task.wordings[0], row["qry_text"])
    targets = [_apart(task.eval_target or task.target, text) for text in row["tgt_text"]]
    found = dict(row) | {"qry_inst": instruction, "qry_text": words, "tgt_text": [words for _, words in targets]}
    return found | ({"tgt_inst": targets[0][0]} if targets[0][0] else {})


def _apart(template: str, text: str) -> tuple[str, str]:
    """The wording of a text that a template gave, and the words in it; wordings of evaluation end with these."""
    head, slot, tail = template.partition("{text}")
    return (head.strip(), text[len(head) : len(text) - len(tail)]) if slot else (template.strip(), "")


def _columns_of(task: Task) -> pa.Schema:
    """Labels, answers and captions have no instruction, so that their sets have no column for it."""
    names = ["qry_inst", *(["tgt_inst"] if _apart(task.target, task.target)[0] else [])]
    return pa.schema([*((name, pa.string()) for name in names), *_EVAL_SCHEMA])
