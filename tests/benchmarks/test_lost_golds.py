"""Right answers among negatives, counted on pairs of which one knows what each means."""

import random
from pathlib import Path

import pyarrow as pa

from benchmarks import lost_golds
from data_prep.scene_maker import SceneMaker
from data_prep.toy_files import PictureBook
from data_prep.toy_tasks import TASKS
from pipeline.data.keys import make_key
from pipeline.data.references import SCHEMA, references_file, write_references
from pipeline.sample import Sample, Side
from tests.shards import write_shards

NAME = "MSCOCO"
ABOUT = ("red circle", "blue square", "red circle", "lime ring")
"""Labels whose crop is asked for: rows 0 and 2 would take each other's."""


def references(folder: Path, found: dict[int, tuple[int, ...]]) -> None:
    rows = [
        {"row": row, "rank": rank, "candidate": candidate, "side": 1, "similarity": 0.5}
        for row, candidates in found.items()
        for rank, candidate in enumerate(candidates, start=1)
    ]
    folder.mkdir()
    write_references(references_file(folder, NAME), pa.Table.from_pylist(rows, schema=SCHEMA))


def test_a_negative_that_is_an_answer_is_counted(tmp_path: Path) -> None:
    task, maker, book = TASKS[NAME], SceneMaker(rng=random.Random(1), split="train"), PictureBook()
    samples = []
    for row, label in enumerate(ABOUT):
        pair = task.make(maker, label)
        assert pair.query.scene is not None and pair.target.scene is not None
        query = Side(text=task.wordings[0].format(text=pair.query.text), images=(book.encode(pair.query.scene),))
        positive = Side(text=task.target_text("", in_eval=False), images=(book.encode(pair.target.scene),))
        samples.append(Sample(key=make_key(NAME, row), dataset=NAME, query=query, positive=positive))
    write_shards(samples, tmp_path / "shards", dataset=NAME, kind="pairs")
    (tmp_path / "toy").mkdir()
    book.write(tmp_path / "toy" / "scene_facts.jsonl")
    references(tmp_path / "mine-judged", {0: (2, 1, 3), 1: (0, 2, 3), 2: (1, 3, 0)})
    references(tmp_path / "judge-judged", {0: (1, 3), 1: (0,), 2: (1, 3, 0)})
    assert list(lost_golds.lines(tmp_path, "judged", 2)) == [
        "MSCOCO       mined 1 of 6 (16.7 %), judged 0 of 5 (0.0 %)",
        "all          mined 1 of 6 (16.7 %), judged 0 of 5 (0.0 %)",
    ]
    assert next(lost_golds.lines(tmp_path, "judged", 3)).endswith("mined 2 of 9 (22.2 %), judged 1 of 6 (16.7 %)")
