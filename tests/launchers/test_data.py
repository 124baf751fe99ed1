"""`crem data` and the slices of `crem convert`, as a user types them."""

import base64
import json
import shutil
from pathlib import Path

import pytest

from pipeline.data.shards import ShardIndex
from tests.launchers.test_cli import Run, data_folder
from tests.launchers.test_cli import crem as crem
from tests.pipeline.data.releases import picture, talk, write_conversations


@pytest.fixture
def data(tmp_path: Path) -> Path:
    folder = data_folder(tmp_path / "data")
    write_conversations(folder, [talk("<image>\nq", "a", image="a.jpg")], {"a.jpg": picture(0)})
    return folder


def test_slices_then_a_merge_are_a_finished_stage(crem: Run, data: Path) -> None:
    given = ("--data", str(data), "--work", "w")
    code, output, _ = crem("--quiet", "convert", *given, "--shard-index", "1", "--num-shards", "2")
    assert (code, output) == (
        0,
        "convert: slice 1 of 2 is done (w/shards, shards_made 1, shards_found 0); when all are, run crem data merge\n",
    )
    code, _, error = crem("--quiet", "data", "merge", *given, "--num-shards", "2")
    assert code == 1
    assert error.startswith("error: w/shards: 1 of 2 shards are missing; run --num-shards 2 --shard-index 0 again")
    assert crem("--quiet", "convert", *given, "--shard-index", "0", "--num-shards", "2")[0] == 0
    code, output, _ = crem("--quiet", "data", "merge", *given, "--num-shards", "2")
    assert (code, output.startswith("convert: done in ")) == (0, True)
    assert crem("--quiet", "convert", *given)[1] == "convert: already done (w/shards)\n"


def test_options_of_the_conversion_reach_the_shards(crem: Run, data: Path, tmp_path: Path) -> None:
    arguments = ("--workers", "2", "--max-pixels", "300", "--no-verify")
    assert crem("--quiet", "convert", "--data", str(data), "--work", "w", *arguments)[0] == 0
    stats = json.loads((tmp_path / "w" / "shards" / "conversations" / "stats.json").read_text())
    assert (stats["max_pixels"], stats["verify"], stats["mended"]["pictures_resized"]) == (300, False, 1)
    assert ShardIndex.open(tmp_path / "w" / "shards").max_pixels == 300


def test_conversations_alone_are_converted(crem: Run, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    write_conversations(tmp_path / "talks", [talk("<image>\nq", "a", image="a.jpg")], {"a.jpg": picture(0)})
    code, output, _ = crem("convert", "--data", str(tmp_path / "talks"), "--work", "w")
    assert (code, "converted 1" in output) == (0, True)
    assert "no MMEB-train in it; conversations and corpora of your own are all that is converted" in caplog.text
    assert list(ShardIndex.open(tmp_path / "w" / "shards").datasets) == ["conversations"]


def test_half_a_slice_is_a_wrong_command_line(crem: Run, data: Path) -> None:
    for one in ("--shard-index", "--num-shards"):
        code, _, error = crem("convert", "--data", str(data), "--work", "w", one, "1")
        assert (code, "belong together" in error) == (2, True)
    code, _, error = crem("convert", "--data", str(data), "--work", "w", "--shard-index", "2", "--num-shards", "2")
    assert (code, error) == (1, "error: --shard-index 2: is not from 0 to 1, the last of --num-shards 2\n")


def test_shards_are_verified_shown_and_held_against_the_benchmark(crem: Run, data: Path, tmp_path: Path) -> None:
    assert crem("--quiet", "convert", "--data", str(data), "--work", "w")[0] == 0
    code, output, _ = crem("--quiet", "data", "verify", "--work", "w")
    assert (code, output.count(": sound, ")) == (0, 2)
    code, output, _ = crem("data", "show", "--work", "w", "--rows", "1")
    assert (code, (tmp_path / "w" / "shards.html").stat().st_size > 10_000) == (0, True)
    (tmp_path / "w" / "shards" / "conversations" / "conversations-00000.tar").unlink()
    code, output, error = crem("--quiet", "data", "verify", "--work", "w")
    assert (code, "cannot be read (No such file" in output) == (1, True)
    assert error.startswith("error: w/shards: ")
    assert "remove the shards named above and run crem convert again" in error
    assert crem("--quiet", "convert", "--data", str(data), "--work", "w")[0] == 0
    assert crem("--quiet", "data", "verify", "--work", "w")[0] == 0


def test_what_is_missing_is_told_before_any_work(crem: Run, data: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [talk("<image>\nq", "a", image=path) for path in ("a.jpg", "sam/1.jpg", "sam/2.jpg")]
    write_conversations(data, rows, {"a.jpg": picture(0)})
    code, output, error = crem("data", "check", "--data", str(data))
    assert (code, "! conversations: sam: 2 of 2 pictures missing, the first sam/1.jpg of row 1\n" in output) == (1, True)
    (data / "mcq").mkdir()
    (data / "mcq" / "Q.tsv").write_text("broken")
    coded = base64.b64encode(picture(0)).decode()
    for name, answers in (("MMVet", ("x<AND>y", "7")), ("Asked", ("yes", "perhaps"))):
        rows_of = [f"{number}\t{coded}\twhat?\t{answer}" for number, answer in enumerate(answers)]
        (data / "mcq" / f"{name}.tsv").write_text("\n".join(["index\timage\tquestion\tanswer", *rows_of]))
    code, output, error = crem("data", "check", "--data", str(data))
    assert (code, f"! Q: {data}/mcq/Q.tsv: no column index; it needs" in output) == (1, True)
    assert "! MMVet: " in output and "MMVet.tsv: it has 2 rows and the published MMVet has 218; download it again" in output
    assert "  Asked: 2 questions, 1 of them with free answers" in output
    shutil.rmtree(data / "mcq")
    assert error.startswith(f"error: {data}: ") and " problems, marked with ! above" in error
    warning = "conversations, sam: 2 of 2 pictures missing; their rows become rejects"
    assert crem("convert", "--data", str(data), "--work", "w")[0] == 0
    assert caplog.messages.count(warning) == 1
    assert len((tmp_path / "w" / "shards" / "conversations" / "rejects.jsonl").read_text().splitlines()) == 2
    assert crem("convert", "--data", str(data), "--work", "w")[0] == 0
    assert caplog.messages.count(warning) == 1
