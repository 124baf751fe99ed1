import json
import shutil
from pathlib import Path

import pytest

from data_prep.check_inputs import Finding, check
from data_prep.convert import Conversion, convert
from pipeline.data.mmeb_eval import eval_fingerprint, read_eval
from pipeline.data.mmeb_train_sets import TRAIN_SETS
from pipeline.data.shard_stats import read_stats
from pipeline.data.sharegpt4v_release import FILES, FOLDER
from pipeline.recipes import load
from tests.pipeline.data.releases import picture, talk, train_row, write_conversations, write_eval, write_train

A, B = picture(1), picture(2)
ROWS = [train_row("q", "images/CIRR/Train/a.jpg", "p"), train_row("q", "images/CIRR/Train/b.jpg", "p"), train_row("q", "", "p")]
EVAL = [{"qry_text": "q", "qry_img_path": "OVEN/a.jpg", "tgt_text": ["x", "y"], "tgt_img_path": ["", ""]}]


@pytest.fixture
def data(tmp_path: Path) -> Path:
    write_train(tmp_path, "CIRR", ROWS, {"CIRR/Train/a.jpg": A})
    write_train(tmp_path, "Mine", [train_row("q", "", "p")])
    write_eval(tmp_path, "OVEN", EVAL, {"OVEN/a.jpg": A})
    write_conversations(
        tmp_path, [talk("q", "a", image=path) for path in ("coco/a.jpg", "sam/a.jpg", "sam/b.jpg")], {"coco/a.jpg": A}
    )
    return tmp_path


def test_everything_is_told_by_name_and_count(data: Path) -> None:
    found = list(check(data))
    assert [finding for finding in found if finding.is_problem] == [
        Finding("CIRR", "about 25997 rows fewer than printed: a part, or another release", is_problem=True),
        Finding("CIRR", "1 of 2 pictures missing, the first images/CIRR/Train/b.jpg of row 1", is_problem=True),
        Finding("OVEN", "has 1 queries, MMEB has 1000: never compare its score", is_problem=True),
        Finding("conversations", "sam: 2 of 2 pictures missing, the first sam/a.jpg of row 1", is_problem=True),
    ]
    texts = {(finding.part, finding.text) for finding in found}
    assert ("CIRR", "3 rows, 26000 printed, retrieval, I+T->I") in texts
    assert ("Mine", "1 rows") in texts
    assert ("Mine", "0 of 0 pictures missing") in texts
    assert ("conversations", "coco: 0 of 1 pictures missing") in texts
    assert ("conversations", "3 rows: 1 with a picture, 0 of text alone, 0 rejected, 2 without their picture") in texts
    assert ("conversations", "the paper's recipe draws from ShareGPT4V-mix665k, which is not here") in texts
    assert ("conversations", "the paper's recipe draws nothing from conversations (mixture.outside_sets)") in texts
    absent = ", ".join(name for name in TRAIN_SETS if name != "CIRR")
    assert ("MMEB-train", f"1 of 20 sets; not here: {absent}") in texts
    fingerprint = eval_fingerprint(read_eval(data, "OVEN"))[:16]
    assert ("OVEN", f"1 queries, 2 candidates, pools of 2 and more, fingerprint {fingerprint}") in texts


def test_conversations_are_held_against_the_recipe(tmp_path: Path) -> None:
    """Of ShareGPT-4V's three files and one of the user's own, the paper's recipe draws from the 665K mix alone."""
    (tmp_path / FOLDER).mkdir()
    for name in FILES:
        (tmp_path / FOLDER / name).write_text(json.dumps([talk("q", "a")]))
    write_conversations(tmp_path, [talk("q", "a")])
    others = "conversations, ShareGPT4V-cap100k, ShareGPT4V-captions1246k"
    paper = load("crem_2b").phase.mixture
    nothing = f"the recipe draws nothing from {others} (mixture.outside_sets)"
    assert [finding.text for finding in check(tmp_path, paper) if "draws" in finding.text] == [nothing]
    assert not [finding.text for finding in check(tmp_path, load("tiny").phase.mixture) if "draws" in finding.text]
    retrieval = [finding.text for finding in check(tmp_path, load("crem_2b_retrieval").phase.mixture)]
    assert f"the recipe draws nothing from {others}, ShareGPT4V-mix665k (mixture.outside_sets)" in retrieval
    (tmp_path / FOLDER / list(FILES)[2]).unlink()
    wanted = "recipe draws from ShareGPT4V-mix665k, which is not here"
    assert Finding("conversations", f"the {wanted}", is_problem=True) in list(check(tmp_path, paper))
    assert Finding("conversations", f"the paper's {wanted}") in list(check(tmp_path))


def test_a_file_under_another_name_is_said(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """Each file in the other's folder is a mistake soon made; a training without conversations must not be its silent end."""
    captions = next(iter(FILES))
    for folder, name in (("conversations", captions), (FOLDER, "train.json")):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / name).write_text(json.dumps([talk("Hello?", "Hi.")]))
        (tmp_path / folder / "README.md").touch()
    finding = f"not read, since no file of conversations has that name there: ShareGPT4V/train.json, conversations/{captions}"
    assert Finding("conversations", finding, is_problem=True) in list(check(tmp_path))
    write_conversations(tmp_path, [talk("Hello?", "Hi.")])
    assert Finding("conversations", finding) in list(check(tmp_path))
    convert(Conversion(data=tmp_path, out=tmp_path / "shards"))
    assert [line.split(": ")[0] for line in caplog.messages if ": not read, since no file" in line] == [
        f"{tmp_path}/ShareGPT4V/train.json",
        f"{tmp_path}/conversations/{captions}",
    ]


def test_rows_that_share_pictures_are_told_with_the_copies_in_the_shards(tmp_path: Path) -> None:
    """By hand: 5 mentions of 2 pictures in MMEB-train, 3 of 1 in the conversations; nothing is said where none is shared."""
    both = [train_row("q", "images/T/a.jpg", "p", "images/T/b.jpg")] * 2
    write_train(tmp_path, "Twice", [*both, train_row("q", "images/T/a.jpg", "p")], {"images/T/a.jpg": A, "images/T/b.jpg": B})
    write_train(tmp_path, "Once", [train_row("q", "images/T/a.jpg", "p", "images/T/b.jpg")], {"T/a.jpg": A, "T/b.jpg": B})
    write_conversations(tmp_path, [talk("q", "a", image="coco/a.jpg")] * 3, {"coco/a.jpg": A})
    texts = {(finding.part, finding.text) for finding in check(tmp_path)}
    assert ("Twice", "0 of 5 pictures missing; 2 different ones, each 2.5 times in the shards") in texts
    assert ("Once", "0 of 2 pictures missing") in texts
    assert ("conversations", "coco: 0 of 3 pictures missing; 1 different ones, each 3.0 times in the shards") in texts
    convert(Conversion(data=tmp_path, out=tmp_path / "shards"))
    stats = [read_stats(tmp_path / "shards" / name) for name in ("twice", "once", "conversations")]
    assert [(each.pictures, each.pictures - each.duplicate_pictures) for each in stats] == [(5, 2), (2, 2), (3, 1)]


def test_rejects_are_told_with_their_first_row(tmp_path: Path) -> None:
    rows = [talk("q", "a"), *[talk("<image>\nq", "a") | {"images": [1]}] * 2]
    write_conversations(tmp_path, rows)
    reason = "2 rows rejected, the first row 1: its key images is not read; the one picture of a row stands under image"
    assert Finding("conversations", reason, is_problem=True) in list(check(tmp_path))


def test_what_is_damaged_is_a_finding(data: Path) -> None:
    (data / "MMEB-train" / "images_zip" / "CIRR.zip").write_bytes(b"PK")
    (data / "conversations" / "train.json").write_text("[")
    write_eval(data, "OVEN", EVAL, {"OVEN/a.jpg": A[:-400]})
    problems = [f"{finding.part}: {finding.text}" for finding in check(data) if finding.is_problem]
    assert len(problems) == 4
    damaged = "parquet: row 0: OVEN/a.jpg: the picture cannot be decoded"
    for problem, word in zip(problems, ("fewer", "not a readable zip", damaged, "broken"), strict=True):
        assert word in problem


def test_what_is_not_there_is_said(data: Path) -> None:
    shutil.rmtree(data / "conversations")
    shutil.rmtree(data / "MMEB-eval")
    found = list(check(data))
    assert Finding("conversations", "none found") in found
    assert [finding.part for finding in found if finding.is_problem][-1:] == ["MMEB-eval"]


def test_a_missing_zip_counts_all_its_pictures(data: Path) -> None:
    (data / "MMEB-train" / "images_zip" / "CIRR.zip").unlink()
    assert Finding("CIRR", "2 of 2 pictures missing, the first images/CIRR/Train/a.jpg of row 0", is_problem=True) in list(
        check(data)
    )


CHANGES = [
    EVAL[0] | {"qry_text": "other"},
    EVAL[0] | {"tgt_text": ["x", "z"]},
    EVAL[0] | {"tgt_text": ["y", "x"]},
    EVAL[0] | {"qry_img_path": "OVEN/b.jpg"},
    EVAL[0] | {"qry_img_path": ""},
]


@pytest.mark.parametrize("row", CHANGES)
def test_the_fingerprint_follows_the_content_alone(data: Path, row: dict[str, object]) -> None:
    pictures = {"OVEN/a.jpg": A, "OVEN/b.jpg": B}
    before = eval_fingerprint(read_eval(data, "OVEN"))
    write_eval(data, "OVEN", EVAL, {"other/name.jpg": B, **pictures})
    assert eval_fingerprint(read_eval(data, "OVEN")) == before
    write_eval(data, "OVEN", [row], pictures)
    assert eval_fingerprint(read_eval(data, "OVEN")) != before


def test_the_fingerprint_follows_the_pools(data: Path) -> None:
    """Which of the shared candidates is the right one: texts and pictures are the same."""
    found = []
    for answers in (["x", "y"], ["y", "x"]):
        write_eval(data, "OVEN", [*EVAL, EVAL[0] | {"tgt_text": answers}], {"OVEN/a.jpg": A})
        found.append(eval_fingerprint(read_eval(data, "OVEN")))
    assert found[0] != found[1]
