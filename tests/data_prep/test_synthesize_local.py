"""Questions and answers by a model folder of this process, on real pictures: killed, resumed, each content asked once."""

import hashlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from data_prep.convert import Conversion, convert
from data_prep.qa_teacher import LocalTeacher
from data_prep.synthesize_qa import main
from data_prep.tiny_model import build_tiny_model
from pipeline.chat import Answer, ChatRequest
from pipeline.chat_model import ChatModel
from pipeline.data.shards import ShardIndex
from pipeline.recipe import TinyBackbone
from tests.faults import kill_at_sizes

SETS = ("ChartQA", "SugarCrepe")
TINY = TinyBackbone(hidden=32, layers=2, heads=4, kv_heads=2, feed_forward=64, vocab_size=400, tower_dim=32, tower_heads=2)


@pytest.fixture(scope="module")
def shards(real_mini: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two sets of real-mini: charts with questions, photographs with captions and false captions."""
    data = tmp_path_factory.mktemp("local") / "data"
    for name in SETS:
        for place in (name, f"images_zip/{name}.zip"):
            link = data / "MMEB-train" / place
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real_mini / "MMEB-train" / place)
    convert(Conversion(data=data, out=data.parent / "shards", verify=False))
    return data.parent / "shards"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("model") / "tiny"
    build_tiny_model(out, ["what is in the chart"] * 50, TINY, seed=3)
    return out


@pytest.fixture(scope="module")
def contents(shards: Path) -> set[str]:
    """What is different among the sides with pictures, by a digest of our own."""
    index = ShardIndex.open(shards)
    samples = [index.read(row) for name in SETS for row in index.datasets[name]]
    sides = [side for sample in samples for side in (sample.query, sample.positive) if side and side.images]
    assert len(sides) == 78 + 60
    return {hashlib.sha256(repr((side.instruction, side.text, side.images)).encode()).hexdigest() for side in sides}


def words(shards: Path, out: Path, folder: Path) -> list[str]:
    return ["--shards", str(shards), "--out", str(out), "--local", str(folder), "--answer-tokens", "6", "--max-unanswered", "1"]


def journalled(out: Path) -> dict[str, str]:
    lines = [json.loads(line) for line in (out / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}), "nothing was asked twice"
    return {line["id"]: line["answer"] for line in lines}


def test_broken_off_it_goes_on_asks_each_content_once_and_says_what_one_by_one_says(
    shards: Path, folder: Path, contents: set[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked, came = dict[str, ChatRequest](), list[str]()
    answered, answers = ChatModel._answered, ChatModel.answers

    def stopped(self: ChatModel, *given: Any) -> Iterator[tuple[str, Answer]]:
        for key, answer in answered(self, *given):
            if len(came) == 20:
                came.append("")
                raise KeyboardInterrupt
            came.append(key)
            yield key, answer

    def noted(self: ChatModel, requests: Any) -> Any:
        asked.update(requests)
        return answers(self, requests)

    monkeypatch.setattr(ChatModel, "_answered", stopped)
    monkeypatch.setattr(ChatModel, "answers", noted)
    first = CliRunner().invoke(main, words(shards, tmp_path, folder))
    assert first.exit_code == 1 and len(journalled(tmp_path)) == 20
    second = CliRunner().invoke(main, words(shards, tmp_path, folder))
    assert second.exit_code == 0, second.output
    counts = json.loads(second.output.splitlines()[-1])
    came.remove("")
    assert len(came) == len(set(came)) == len(contents) == counts["asked"] + 20
    assert counts["read"] == counts["described"] + counts["reconstructed"] + counts["rejected"]
    assert counts["prompt_tokens"] > 100 * counts["asked"], "the pictures are seen"
    model, told = ChatModel.load(folder), journalled(tmp_path)
    for key in came[::7]:
        ((_, alone),) = answers(model, [(key, asked[key])])
        assert isinstance(alone, Answer) and alone.text == told[key]
    assert json.loads(CliRunner().invoke(main, words(shards, tmp_path, folder)).output.splitlines()[-1])["asked"] == 0


@pytest.mark.slow
def test_killed_it_ends_as_the_unbroken_run(shards: Path, folder: Path, contents: set[str], tmp_path: Path) -> None:
    whole, broken = tmp_path / "whole", tmp_path / "broken"
    assert CliRunner().invoke(main, words(shards, whole, folder)).exit_code == 0
    command = [sys.executable, "-m", "data_prep.synthesize_qa", *words(shards, broken, folder)]
    size = (whole / "answers.jsonl").stat().st_size
    assert kill_at_sizes(command, broken / "answers.jsonl", [1, size // 2, 1 << 30]) == [-9, -9, 0]
    assert journalled(broken) == journalled(whole) and len(journalled(whole)) == len(contents)
    for path in sorted(whole.glob("*.arrow")):
        assert (broken / path.name).read_bytes() == path.read_bytes()


def test_a_copy_is_the_same_model_and_other_weights_are_another(folder: Path, tmp_path: Path) -> None:
    other = tmp_path / "tiny"
    build_tiny_model(other, ["what is in the chart"] * 50, TINY, seed=4)
    names = [LocalTeacher(folder=place).model for place in (folder, folder, other)]
    assert names[0] == names[1] != names[2] and all(name.startswith("tiny ") for name in names)


def test_what_cannot_answer_is_one_line(shards: Path, folder: Path, tmp_path: Path) -> None:
    def said(*more: str) -> str:
        done = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "qa"), *more])
        assert done.exit_code == 1 and done.output.count("\n") == 1
        return done.output

    assert said("--local", str(tmp_path)) == (
        f"Error: --local {tmp_path}: no config.json in it, so it is not a model folder; name one, such as a downloaded "
        "Qwen2.5-VL-3B-Instruct\n"
    )
    both = said("--local", str(folder), "--url", "http://127.0.0.1:1/v1")
    assert both == "Error: --local: a model folder answers in place of an endpoint; leave --url out, or --local\n"
    (tmp_path / "config.json").write_text('{"model_type": "bert"}')
    assert "model type 'bert' is not one of qwen2_vl" in said("--local", str(tmp_path))
    assert not list((tmp_path / "qa").glob("*.arrow"))
