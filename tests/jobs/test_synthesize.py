"""Stage `synthesize`: which settings make it run again, and that they reach the teacher."""

import io
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from data_prep import qa_filters
from jobs import defaults
from jobs.run import Machine, stage
from jobs.stage import Context
from pipeline.chat import MAX_ANSWER_TOKENS
from pipeline.data.keys import make_key
from pipeline.data.shard_writer import write_shards
from pipeline.recipes import load
from pipeline.sample import Sample, Side
from pipeline.tracking import NullTracker
from tests.chat_server import chat_server, completion


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Shards of one pair, of a picture and its caption."""
    file = io.BytesIO()
    Image.new("RGB", (28, 28)).save(file, "PNG")
    query, positive = Side(text="<|image_1|>\nFind a caption.", images=(file.getvalue(),)), Side(text="a black square")
    context = Context(work=tmp_path / "work", data=tmp_path / "data", recipe=load("tiny"), tracking="none")
    row = Sample(key=make_key("Pics", 0), dataset="Pics", query=query, positive=positive)
    write_shards([row], context.shards, dataset="Pics", kind="pairs")
    return context


def test_the_limit_of_tokens_reaches_the_teacher(context: Context, tmp_path: Path) -> None:
    with chat_server(lambda number, body: completion("A square.")) as server:
        asking = stage("synthesize", context, Machine(url=server.url, answer_tokens=9))
        result = asking.run(tmp_path / "qa", NullTracker())
        assert [body["max_tokens"] for body in server.requests] == [9]
    assert (result.counts["described"], result.counts["rejected"]) == (1, 0)
    assert defaults.ANSWER_TOKENS == MAX_ANSWER_TOKENS


def test_another_limit_or_filter_makes_the_stage_run_again(context: Context, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = [
        stage("synthesize", context, Machine(url="http://127.0.0.1:1/v1", answer_tokens=n)).settings() for n in (9, 9, 10)
    ]
    assert settings[0] == settings[1] != settings[2]
    monkeypatch.setattr("jobs.synthesize.RULES", replace(qa_filters.RULES, least_looped=50))
    assert stage("synthesize", context, Machine(url="http://127.0.0.1:1/v1", answer_tokens=9)).settings() != settings[0]
