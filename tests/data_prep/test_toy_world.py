import hashlib
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from data_prep.scene_maker import content_split
from data_prep.toy_world import write_toy_world
from pipeline.errors import ConfigError, DataError

SMALL = {"train_rows": 3, "eval_rows": 2, "conversations": 6, "mcq_rows": 5}


def digests(root: Path) -> dict[str, str]:
    files = [path for path in sorted(root.rglob("*")) if path.is_file()]
    return {str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def content(scene: dict[str, Any]) -> frozenset[str]:
    return frozenset(f"{thing['colour']} {thing['shape']} {thing['position']}" for thing in scene["things"])


def test_the_seed_decides_every_byte(tmp_path: Path) -> None:
    for name, seed in (("one", 1), ("again", 1), ("two", 2)):
        write_toy_world(tmp_path / name, seed=seed, **SMALL)
    one, again, two = (digests(tmp_path / name) for name in ("one", "again", "two"))
    assert one == again
    assert one.keys() == two.keys()
    drawn = [name for name in one if name.endswith((".zip", ".tsv", ".jsonl"))]
    assert len(drawn) == 21
    assert all(one[name] != two[name] for name in drawn)


def test_a_data_set_does_not_depend_on_the_size_of_another_part(tmp_path: Path) -> None:
    write_toy_world(tmp_path / "few", seed=1, **SMALL)
    write_toy_world(tmp_path / "many", seed=1, **SMALL | {"conversations": 9, "eval_rows": 5})
    few, many = digests(tmp_path / "few"), digests(tmp_path / "many")
    same = {name for name in few if few[name] == many[name]}
    assert {name for name in few if name.startswith(("MMEB-train", "mcq"))} <= same


def test_the_folder_holds_the_release_layout_and_the_facts_alone(toy_world: Any) -> None:
    assert sorted(path.name for path in toy_world.root.iterdir()) == [
        "MMEB-eval",
        "MMEB-train",
        "conversations",
        "cross-domain",
        "instruction-layout",
        "mcq",
        "scene_facts.jsonl",
    ]
    assert sorted(path.name for path in (toy_world.root / "conversations").iterdir()) == ["eval.json", "images.zip", "train.json"]
    assert sorted(path.name for path in (toy_world.root / "mcq").iterdir()) == [
        "ToyAI2D.tsv",
        "ToyMC.tsv",
        "ToyMMBench.tsv",
        "ToyMMMU.tsv",
        "ToyMMStar.tsv",
        "ToyMMVet.tsv",
        "ToyYN.tsv",
    ]
    for path in toy_world.root.glob("MMEB-*/*/*.parquet"):
        assert pq.read_table(path).num_rows > 0


def test_columns_are_those_of_the_real_releases(toy_world: Any, real_mini: Path) -> None:
    for pattern in ("MMEB-train/*/original-00000*.parquet", "MMEB-eval/*/test-*.parquet"):
        real = {str(pq.read_schema(path).remove_metadata()) for path in real_mini.glob(pattern)}
        toy = {str(pq.read_schema(path).remove_metadata()) for path in toy_world.root.glob(pattern)}
        assert len(toy) == 1
        assert toy <= real


def test_counts_are_what_was_written(toy_world: Any) -> None:
    assert toy_world.counts == {
        "train_pairs": 1120,
        "eval_queries": 900,
        "train_conversations": 400,
        "eval_conversations": 40,
        "ToyMC": 64,
        "ToyYN": 64,
        **dict.fromkeys(("ToyAI2D", "ToyMMStar", "ToyMMMU", "ToyMMVet"), 8),
        "ToyMMBench": 32,
        **dict.fromkeys(("flickr30k", "coco", "sharegpt4v", "urban1k", "sugarcrepe"), 40),
        "pictures": len(toy_world.facts),
    }


def test_every_picture_has_its_facts_and_no_fact_lacks_a_picture(toy_world: Any) -> None:
    shown = [*toy_world.train_pictures().values(), *toy_world.eval_pictures().values()]
    assert {hashlib.sha256(picture).hexdigest() for picture in shown} == set(toy_world.facts)


def test_train_and_eval_share_no_picture_and_no_content_of_several_things(toy_world: Any) -> None:
    train, test = toy_world.train_pictures(), toy_world.eval_pictures()
    assert len(train) > 1000 < len(test)
    assert not set(train.values()) & set(test.values())
    contents = [{content(toy_world.scene(picture)) for picture in side.values()} for side in (train, test)]
    several = [{scene for scene in side if len(scene) > 1} for side in contents]
    assert several[0]
    assert several[1]
    assert not several[0] & several[1]
    assert {content_split(scene) for scene in several[1]} == {"eval"}


def test_styles_of_the_unseen_data_sets_are_in_no_other(toy_world: Any) -> None:
    styles = {name: toy_world.scene(picture)["style"] for name, picture in toy_world.eval_pictures().items()}
    other = {style for name, style in styles.items() if name.startswith(("ObjectNet/", "GQA/"))}
    assert other == {"stripes", "dusk"}
    assert not other & {style for name, style in styles.items() if not name.startswith(("ObjectNet/", "GQA/"))}
    assert not other & {toy_world.scene(picture)["style"] for picture in toy_world.train_pictures().values()}


def test_facts_are_json_lines_in_order(toy_world: Any) -> None:
    lines = (toy_world.root / "scene_facts.jsonl").read_text(encoding="utf-8").splitlines()
    keys = [json.loads(line)["sha256"] for line in lines]
    assert keys == sorted(set(keys))


def test_progress_is_told(tmp_path: Path) -> None:
    told: list[str] = []
    write_toy_world(tmp_path / "world", seed=1, progress=told.append, **SMALL)
    assert len(told) == 14
    assert "MMEB-train/CIRR: 3 rows" in told


def test_a_folder_with_files_is_refused(tmp_path: Path) -> None:
    (tmp_path / "note").write_text("mine")
    with pytest.raises(DataError, match="new or empty folder"):
        write_toy_world(tmp_path, seed=1, **SMALL)
    assert (tmp_path / "note").read_text() == "mine"


@pytest.mark.parametrize("name", SMALL)
def test_a_size_below_one_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=f"{name} is 0"):
        write_toy_world(tmp_path / "world", seed=1, **SMALL | {name: 0})
