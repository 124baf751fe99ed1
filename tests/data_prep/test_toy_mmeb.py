import math
import re
from collections import Counter, defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from data_prep.toy_files import PictureBook
from data_prep.toy_mmeb import write_eval, write_train
from data_prep.toy_tasks import TASKS
from data_prep.toy_world import INSTRUCTION_LAYOUT
from pipeline.data.mmeb_eval import read_eval
from pipeline.data.mmeb_registry import META, TEXT_TO_PICTURE, split_instruction

TRAINED = [name for name, task in TASKS.items() if task.is_trained]
OPEN = ("MSCOCO_t2i", "MSCOCO_i2t", "NIGHTS", "WebQA", "CIRR", "EDIS")
CUT = ("MSCOCO", "RefCOCO")
ASKED = ("OK-VQA",)

Rows = list[dict[str, Any]]


def train_rows(world: Any, name: str, split: str = "original") -> Rows:
    return [
        row for path in sorted((world.root / "MMEB-train" / name).glob(f"{split}-*")) for row in pq.read_table(path).to_pylist()
    ]


def eval_rows(world: Any, name: str) -> Rows:
    return pq.read_table(world.root / "MMEB-eval" / name / "test-00000-of-00001.parquet").to_pylist()


def words(text: str) -> set[str]:
    return set(re.findall(r"[a-z]+", text.lower()))


def content(scene: dict[str, Any]) -> frozenset[str]:
    return frozenset(f"{thing['colour']} {thing['shape']} {thing['position']}" for thing in scene["things"])


def read_caption(text: str) -> frozenset[str]:
    found = set()
    for part in re.split(r" , | and ", text):
        (place,) = re.findall(r"(?:north|south)(?:east|west)", part)
        found.add(f"{part.replace(place, '').strip()} {place}")
    return frozenset(found)


def four_sigma(chance: float, rows: int) -> float:
    return chance + 4 * math.sqrt(chance * (1 - chance) / rows)


@pytest.mark.parametrize("name", TRAINED)
def test_train_rows_are_complete_and_their_pictures_exist(toy_world: Any, name: str) -> None:
    original, diverse = train_rows(toy_world, name), train_rows(toy_world, name, "diverse_instruction")
    members = toy_world.zipped(f"MMEB-train/images_zip/{name}.zip")
    assert len(original) == len(diverse) == 112
    named = {row[key].removeprefix("images/") for row in original for key in row if key.endswith("path") and row[key]}
    assert named == set(members)
    for one, other in zip(original, diverse, strict=True):
        assert {key: one[key] for key in one if key != "qry"} == {key: other[key] for key in other if key != "qry"}
        for text, path in (("qry", "qry_image_path"), ("pos_text", "pos_image_path"), ("neg_text", "neg_image_path")):
            assert one[text].startswith("<|image_1|>\n") == bool(one[path]) or (name, text) == ("WebQA", "qry")
            assert other[text].count("<|image_1|>") == one[text].count("<|image_1|>")
            assert "{" not in other[text]


@pytest.mark.parametrize("name", TRAINED)
def test_the_diverse_split_takes_at_least_four_wordings_in_turn(toy_world: Any, name: str) -> None:
    rows = train_rows(toy_world, name, "diverse_instruction")
    count = len(TASKS[name].wordings)
    assert count >= 4
    for row, entry in enumerate(rows):
        template = TASKS[name].wordings[row % count]
        assert re.fullmatch(re.escape(template).replace(re.escape("{text}"), "(.+)"), entry["qry"], re.DOTALL)
    if any("<|image_1|>" in row["qry"] for row in rows):
        assert any(re.search(r"\w <\|image_1\|> \S", row["qry"]) for row in rows)


def test_hard_negatives_are_filled_in_some_data_sets_and_empty_in_others(toy_world: Any) -> None:
    filled = {name for name in TRAINED if all(row["neg_text"] for row in train_rows(toy_world, name))}
    empty = {name for name in TRAINED if not any(row["neg_text"] or row["neg_image_path"] for row in train_rows(toy_world, name))}
    assert filled == {"OK-VQA", "MSCOCO_i2t", "CIRR", "MSCOCO"}
    assert filled | empty == set(TRAINED)
    for name in filled:
        for row in train_rows(toy_world, name):
            assert (row["neg_text"], row["neg_image_path"]) != (row["pos_text"], row["pos_image_path"])


def test_long_data_sets_are_cut_into_several_files(tmp_path: Path) -> None:
    write_train(tmp_path, "VOC2007", seed=1, rows=1001, book=PictureBook())
    files = sorted(path.name for path in (tmp_path / "VOC2007").glob("original-*"))
    assert files == [f"original-{part:05d}-of-00003.parquet" for part in range(3)]
    rows = [row for name in files for row in pq.read_table(tmp_path / "VOC2007" / name).to_pylist()]
    assert [row["qry_image_path"] for row in rows] == [f"images/VOC2007/Train/{row:06d}.jpg" for row in range(1001)]


@pytest.mark.parametrize("name", TASKS)
def test_pools_have_no_two_equal_candidates_and_all_pictures_exist(toy_world: Any, name: str) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")
    rows = eval_rows(toy_world, name)
    assert len(rows) == 60
    for row in rows:
        candidates = list(zip(row["tgt_text"], row["tgt_img_path"], strict=True))
        assert len(candidates) >= (11 if name == "N24News" else 56)
        means = []
        for text, path in candidates:
            scene = toy_world.scene(pictures[path]) if path else None
            if scene is None:
                means.append(read_caption(text) if name == "MSCOCO_i2t" else frozenset({text}))
            elif name in OPEN:
                means.append(content(scene))
            else:
                means.append(frozenset(f"{t['colour']} {t['shape']}" for t in scene["things"]))
        assert len(set(means)) == len(means)
        assert not any(means[0] <= other or other <= means[0] for other in means[1:])


def test_few_rows_still_have_full_pools(tmp_path: Path) -> None:
    for name in TASKS:
        write_eval(tmp_path, name, seed=1, rows=2, book=PictureBook(), apart=tmp_path / "apart")
        rows = pq.read_table(tmp_path / name / "test-00000-of-00001.parquet").to_pylist()
        assert [len(row["tgt_text"]) >= 56 for row in rows] == [name != "N24News"] * 2


def test_enough_pools_are_large_and_chance_is_low(toy_world: Any) -> None:
    chances = {name: sum(1 / len(row["tgt_text"]) for row in eval_rows(toy_world, name)) / 60 for name in TASKS}
    assert sum(chance <= 1 / 50 for chance in chances.values()) >= 10
    assert sum(chances.values()) / len(chances) <= 0.05


@pytest.mark.parametrize("name", [name for name, task in TASKS.items() if task.is_closed])
def test_answers_are_uniform(toy_world: Any, name: str) -> None:
    about = TASKS[name].about
    answers = Counter(row["tgt_text"][0] for row in eval_rows(toy_world, name))
    assert set(answers) == set(about)
    assert max(answers.values()) - min(answers.values()) <= 1


@pytest.mark.parametrize("name", ASKED)
def test_answers_to_questions_are_right(toy_world: Any, name: str, answer_again: Callable[..., str | None]) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")
    for row in eval_rows(toy_world, name):
        question = row["qry_text"].split("question: ")[1].strip()
        assert answer_again(toy_world.scene(pictures[row["qry_img_path"]]), question) == row["tgt_text"][0]


def test_single_things_and_arrangements_are_named_right(toy_world: Any) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")
    for name in ("VOC2007", "ObjectNet"):
        for row in eval_rows(toy_world, name):
            (thing,) = toy_world.scene(pictures[row["qry_img_path"]])["things"]
            assert f"{thing['colour']} {thing['shape']}" == row["tgt_text"][0]
    filled = defaultdict(set)
    for row in eval_rows(toy_world, "N24News"):
        scene = toy_world.scene(pictures[row["qry_img_path"]])
        filled[row["tgt_text"][0]].add(frozenset(thing["position"] for thing in scene["things"]))
    assert all(len(cells) == 1 for cells in filled.values())
    assert filled["falling diagonal"] == {frozenset({"northwest", "southeast"})}


@pytest.mark.parametrize("name", ["MSCOCO_t2i", "WebQA", "EDIS", "MSCOCO_i2t", "NIGHTS", "A-OKVQA", "GQA"])
def test_the_answer_of_a_search_shows_what_the_query_says(toy_world: Any, name: str) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")

    def meaning(text: str, path: str) -> frozenset[str]:
        if path:
            return content(toy_world.scene(pictures[path]))
        return read_caption(re.sub(r".*: (Which picture shows )?", "", text.split("\n")[-2] if "\n" in text else text).strip("?"))

    for row in eval_rows(toy_world, name):
        sought = meaning(row["qry_text"], row["qry_img_path"])
        found = [meaning(text, path) for text, path in zip(row["tgt_text"], row["tgt_img_path"], strict=True)]
        assert [k for k, other in enumerate(found) if other == sought] == [0]


def test_changed_pictures_are_changed_as_told(toy_world: Any) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")
    for row in eval_rows(toy_world, "CIRR"):
        before = content(toy_world.scene(pictures[row["qry_img_path"]]))
        told = row["qry_text"].split("described changes: ")[1].strip()
        label, goal = re.fullmatch(r"(?:change|move) the (\w+ \w+) to (?:an?|the) (\w+(?: \w+)?)", told).groups()
        (old,) = [thing for thing in before if thing.startswith(label)]
        new = old.replace(label, goal) if told.startswith("change") else f"{label} {goal}"
        sought = before - {old} | {new}
        found = [content(toy_world.scene(pictures[path])) for path in row["tgt_img_path"]]
        assert [k for k, other in enumerate(found) if other == sought] == [0]


@pytest.mark.parametrize("name", [*CUT, "OVEN"])
def test_cuts_and_singles_show_the_thing_that_is_meant(
    toy_world: Any, name: str, answer_again: Callable[..., str | None]
) -> None:
    pictures = toy_world.zipped("MMEB-eval/images.zip")
    for row in eval_rows(toy_world, name):
        scene = toy_world.scene(pictures[row["qry_img_path"]])
        (thing,) = toy_world.scene(pictures[row["tgt_img_path"][0]])["things"]
        label = f"{thing['colour']} {thing['shape']}"
        text = row["qry_text"].strip()
        if name == "MSCOCO":
            assert text.endswith(f'labeled as "{label}"')
        elif name == "RefCOCO":
            place = re.search(r"the shape (.*)$", text)[1]
            assert answer_again(scene, f"What is {place}?") == label
        else:
            assert [f"{other['colour']} {other['shape']}" for other in scene["things"]] == [label]
        if name in CUT:
            assert {**thing, "position": ""} in [{**other, "position": ""} for other in scene["things"]]
            assert thing["position"] == "middle"


def test_queries_without_a_picture_still_have_the_marker_where_the_release_has_it(toy_world: Any) -> None:
    for name in ("WebQA", "EDIS"):
        for row in eval_rows(toy_world, name):
            assert row["qry_text"].startswith("<|image_1|>\n")
            assert row["qry_img_path"] == ""


@pytest.mark.parametrize("name", TASKS)
def test_words_shared_by_query_and_candidate_find_nothing(toy_world: Any, name: str) -> None:
    rows = eval_rows(toy_world, name)
    hits = 0.0
    for row in rows:
        scores = [len(words(row["qry_text"]) & words(text)) for text in row["tgt_text"]]
        best = max(scores)
        hits += (scores[0] == best) / scores.count(best)
    assert hits / len(rows) <= four_sigma(1 / len(rows[0]["tgt_text"]), len(rows))


@pytest.mark.parametrize("name", TASKS)
def test_the_length_of_a_candidate_finds_nothing(toy_world: Any, name: str) -> None:
    rows = eval_rows(toy_world, name)
    for sign in (1, -1):
        hits = 0.0
        for row in rows:
            scores = [sign * len(text.split()) for text in row["tgt_text"]]
            hits += (scores[0] == max(scores)) / scores.count(max(scores))
        assert hits / len(rows) <= four_sigma(1 / len(rows[0]["tgt_text"]), len(rows))


@pytest.mark.parametrize("name", ["VOC2007", "N24News", "OK-VQA", "A-OKVQA"])
def test_answers_learned_by_question_find_nothing(toy_world: Any, name: str) -> None:
    learned: defaultdict[str, Counter[str]] = defaultdict(Counter)
    for row in train_rows(toy_world, name):
        for word in (*words(row["qry"]), row["qry"]):
            learned[word][row["pos_text"]] += 1
    rows = eval_rows(toy_world, name)
    hits = 0
    for row in rows:
        votes: Counter[str] = Counter()
        for word in (*words(row["qry_text"]), row["qry_text"]):
            votes.update({answer: count / learned[word].total() for answer, count in learned[word].items()})
        hits += votes.most_common(1)[0][0] == row["tgt_text"][0]
    assert hits / len(rows) <= four_sigma(1 / len(rows[0]["tgt_text"]), len(rows))


def instruction_rows(rows: Rows) -> Rows:
    """The rows in the layout of MMEB-V2's image part: instructions in columns of their own, one for each candidate."""
    changed = []
    for row in rows:
        instruction, text = split_instruction(row["qry_text"])
        cut = [split_instruction(text) for text in row["tgt_text"]]
        worded = {"qry_inst": instruction.rstrip(), "qry_text": text, "qry_img_path": row["qry_img_path"]}
        worded |= {"tgt_inst": [own.rstrip() for own, _ in cut], "tgt_text": [text for _, text in cut]}
        changed.append({**worded, "tgt_img_path": row["tgt_img_path"]})
    return changed


@pytest.mark.parametrize("name", TASKS)
def test_every_set_reads_alike_in_both_layouts(toy_world: Any, name: str, tmp_path: Path) -> None:
    """Questions, labels, captions for pictures, pictures for texts, for pictures and for both, and parts of pictures."""
    folder, rows = tmp_path / "MMEB-eval", eval_rows(toy_world, name)
    (folder / name).mkdir(parents=True)
    (folder / "images.zip").symlink_to(toy_world.root / "MMEB-eval" / "images.zip")
    changed = instruction_rows(rows)
    assert any(row["qry_inst"] for row in changed)
    pq.write_table(pa.Table.from_pylist(changed), folder / name / "test-00000-of-00001.parquet")
    release, found = (read_eval(root, name, verify=False) for root in (toy_world.root, tmp_path))
    assert found.pools == release.pools
    for ours, theirs in zip((*found.queries, *found.candidates), (*release.queries, *release.candidates), strict=True):
        assert (ours.instruction + ours.text).strip() == (theirs.instruction + theirs.text).strip()
        assert ours.images == theirs.images


def test_the_instruction_layout_gives_the_sides_of_the_release_layout(toy_world: Any) -> None:
    """The same pools, pictures and words, wordings apart from what they are about; only line breaks at the end differ."""
    for name in TASKS:
        schema = pq.read_schema(toy_world.root / INSTRUCTION_LAYOUT / "MMEB-eval" / name / "test-00000-of-00001.parquet")
        has_pictures = bool(eval_rows(toy_world, name)[0]["tgt_img_path"][0])
        assert "qry_inst" in schema.names and ("tgt_inst" in schema.names) == has_pictures
        roots = toy_world.root, toy_world.root / INSTRUCTION_LAYOUT
        release, columns = (read_eval(root, name, verify=False) for root in roots)
        assert columns.pools == release.pools
        pairs = zip((*columns.queries, *columns.candidates), (*release.queries, *release.candidates), strict=True)
        for ours, theirs in pairs:
            assert ours.images == theirs.images
            assert [part.strip() for part in (ours.instruction, ours.text)] == [
                part.strip() for part in (theirs.instruction, theirs.text)
            ]


def test_every_kind_of_parser_has_a_set(toy_world: Any) -> None:
    """Of VLM2Vec's second version: labels, answers, captions; pictures for texts and for pictures, captioned and not."""
    kinds = set()
    for name in TASKS:
        row, target = eval_rows(toy_world, name)[0], TASKS[name].eval_target or TASKS[name].target
        if not row["tgt_img_path"][0]:
            kinds.add(META[name].meta_task)
        else:
            kinds.add(("for texts" if name in TEXT_TO_PICTURE else "for pictures", "{text}" in target))
    pictures = {(asked, captioned) for asked in ("for texts", "for pictures") for captioned in (False, True)}
    assert kinds == {"classification", "vqa", "retrieval"} | pictures
