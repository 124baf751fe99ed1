"""Judging as a stage: what stands where in the chain, what training reads of it, and what is asked again."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from jobs.judge import SHEET, STATISTICS
from jobs.run import Machine, stage, stages
from jobs.runner import run_stage
from jobs.stage import Context
from pipeline.chat import Answer
from pipeline.data.keys import make_key
from pipeline.data.references import SCHEMA, References, references_file, write_references
from pipeline.data.shards import ShardIndex
from pipeline.errors import CheckpointError, ConfigError, ServiceError
from pipeline.manifest import Manifest
from pipeline.negatives import Judged, Mined
from pipeline.recipes import load
from pipeline.sample import Sample, Side
from tests.chat_server import ChatServer, Reply, chat_server
from tests.data_prep.negatives.test_judging import BARE, logprobs, pair_of
from tests.eval.test_report import Page
from tests.shards import write_shards

NAMES = ("Labels", "Memes")
ROWS, TOP = 6, 3


def answer(number: int, body: dict[str, Any]) -> Reply:
    """Right are candidates of an even number."""
    return logprobs(0.0, -2.0) if pair_of(body)[1] % 2 == 0 else logprobs(-2.0, 0.0)


@pytest.fixture
def context(tmp_path: Path) -> Context:
    """Two sets of six pairs, and of each row the three rows after it as mined."""
    recipe = load("tiny_retrieval").with_phase(negatives=Judged(most=2, top=TOP, exempt=("Memes",)))
    context = Context(work=tmp_path / "work", data=tmp_path, recipe=recipe, tracking="nowhere://")
    mined = context.work / "mine-joint"
    mined.mkdir(parents=True)
    for name in NAMES:
        rows = [
            Sample(key=make_key(name, row), dataset=name, query=Side(text=f"query {row}"), positive=Side(text=f"{name} {row}"))
            for row in range(ROWS)
        ]
        write_shards(rows, context.shards, dataset=name, kind="pairs")
        found = [
            {"row": row, "rank": rank, "candidate": (row + rank) % ROWS, "side": 1, "similarity": 0.5}
            for row in range(ROWS)
            for rank in range(1, TOP + 1)
        ]
        write_references(references_file(mined, name), pa.Table.from_pylist(found, schema=SCHEMA))
    Manifest(stage="mine-joint", fingerprint="f", outputs={"content": "mined"}).write(mined)
    Manifest(stage="convert", fingerprint="f", outputs={"content": ShardIndex.open(context.shards).fingerprint}).write(
        context.shards
    )
    return context


@pytest.fixture
def server() -> Iterator[ChatServer]:
    with chat_server(answer) as opened:
        yield opened


def judged(context: Context, url: str, **given: Any) -> Any:
    return run_stage(stage("judge", context, Machine(negatives_judge_urls=(url,), negatives_judge="m", **given)), context)


def test_training_reads_what_the_judge_said_no_to(context: Context, server: ChatServer) -> None:
    outcome = judged(context, server.url)
    assert Counter(map(pair_of, server.requests)) == Counter((row, (row + r) % ROWS) for row in range(ROWS) for r in (1, 2, 3))
    index = ShardIndex.open(context.shards)
    found = References.open(outcome.folder, index)
    own, exempt = index.datasets["Labels"], index.datasets["Memes"]
    for row in range(ROWS):
        odd = [(own[(row + rank) % ROWS], 1) for rank in range(1, TOP + 1) if (row + rank) % 2]
        assert found.of(own[row]) == odd, "in the order of ranks"
        assert found.of(exempt[row]) == [(exempt[(row + rank) % ROWS], 1) for rank in range(1, TOP + 1)]
    # Even rows have two odd ones among the three after them, odd rows one.
    statistics = json.loads((outcome.folder / STATISTICS).read_text())
    assert statistics["Labels"] == {
        "pairs": 18,
        "negatives": 9,
        "positives": 9,
        "unjudged": {},
        "queries": 6,
        "fewer": 3,
    }
    assert statistics["Memes"] == {"pairs": 0, "exempt": True, "negatives": 18}
    assert dict(outcome.manifest.counts) == {"pairs": 18, "negatives": 27, "positives": 9, "fewer": 3, "asked": 18}


def test_the_contact_sheet_shows_what_was_judged(context: Context, server: ChatServer) -> None:
    folder = judged(context, server.url).folder
    page = Page((folder / SHEET).read_text())
    said = " ".join(" ".join(page.text).split())
    # Row 0 of Labels: its gold, then candidates 1, 2 and 3, of which the even one is right.
    shown = (
        "query query 0 gold Labels 0 rank 1, similarity 0.50, judged wrong by 2.0 Labels 1 rank 2, similarity 0.50, judged right"
    )
    assert page.open == [] and shown in said
    assert "rank 3, similarity 0.50 Memes 3" in said, "an exempt set has no verdicts"


def test_another_number_or_judge_and_nothing_twice(context: Context, server: ChatServer) -> None:
    first = judged(context, server.url).manifest.outputs["content"]
    assert judged(context, server.url).was_done
    fewer = replace(context, recipe=context.recipe.with_phase(negatives=Judged(most=1, top=TOP, exempt=("Memes",))))
    again = judged(fewer, server.url)
    assert not again.was_done and again.manifest.outputs["content"] == first and len(server.requests) == 18
    outcome = run_stage(stage("judge", context, Machine(negatives_judge_urls=(server.url,), negatives_judge="other")), context)
    assert not outcome.was_done and len(server.requests) == 36


def test_a_judge_without_logprobs_ends_it_and_the_next_run_asks_it_again(context: Context, server: ChatServer) -> None:
    with chat_server(lambda number, body: BARE) as bare:
        with pytest.raises(ServiceError, match=r"18 of 18 pairs have no verdict \(18 no log-probabilities\)"):
            judged(context, bare.url)
        assert Manifest.read(context.work / "judge-joint") is None
        assert dict(judged(context, bare.url, max_unjudged=1.0).manifest.counts)["negatives"] == 18, "the exempt ones alone"
    (context.work / "judge-joint" / "manifest.json").unlink()
    assert dict(judged(context, server.url).manifest.counts)["asked"] == 18


def test_judging_stands_between_mining_and_the_phase(context: Context) -> None:
    chain = stages(context, Machine(negatives_judge_urls=("http://127.0.0.1:1/v1",)))
    names = [each.name for each in chain]
    assert names[names.index("mine-joint") :] == ["mine-joint", "judge-joint", "train", "evaluate", "report"]
    mine, judge, train = (chain[names.index(name)] for name in ("mine-joint", "judge-joint", "train"))
    assert mine.settings()["negatives"] == Mined(most=TOP, first_rank=1, last_rank=TOP), "all of the first ranks"
    assert judge.inputs()["mined"].path == mine.folder and train.inputs()["negatives"].path == judge.folder
    assert train.inputs()["negatives"].made_by == "judge --phase joint"


def test_nobody_to_judge_is_said_before_anything_runs(context: Context) -> None:
    with pytest.raises(ConfigError, match=r"--judge-url: phase joint takes judged negatives, and nobody judges.*negatives=Mined"):
        stages(context, Machine())
    toy = replace(context, data=context.toy)
    assert "judge-joint" in [each.name for each in stages(toy, Machine())], "the toy world has a judge of its own"
    with pytest.raises(ConfigError, match=r"phases\.0\.negatives=Judged asks for them"):
        stage("judge", replace(context, recipe=load("tiny_retrieval")), Machine(negatives_judge_urls=("http://127.0.0.1:1/v1",)))


def test_a_judge_of_too_few_ranks_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"negatives\.most: 5 of the first negatives\.top = 4"):
        Judged(most=5, top=4)


def test_a_model_folder_judges_in_this_process(context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even candidates are right. Its name and files are part of the settings; what it said before is not asked again."""
    folder = tmp_path / "Judge-2B"
    folder.mkdir()

    def local(words: str) -> Any:
        machine = Machine(negatives_judge=str(folder))
        (folder / "config.json").write_text(words)
        return run_stage(stage("judge", context, machine), context)

    class Knowing:
        asked = 0

        def answers(self, requests: Any) -> Iterator[tuple[str, Answer]]:
            for key, request in requests:
                Knowing.asked += 1
                number = int(request.text.split("Candidate: Labels ")[1].split()[0])
                said = (("Yes", -0.1), ("No", -3.0)) if number % 2 == 0 else (("Yes", -3.0), ("No", -0.1))
                yield key, Answer(text="Yes", top_logprobs=(said,))

    monkeypatch.setattr("data_prep.qa_teacher.LocalTeacher._loaded", Knowing())
    with pytest.raises(CheckpointError, match=r"--judge .*Judge-2B: no config\.json in it"):
        stage("judge", context, Machine(negatives_judge=str(folder)))
    outcome = local("{}")
    assert dict(outcome.manifest.counts) == {"pairs": 18, "negatives": 27, "positives": 9, "fewer": 3, "asked": 18}
    assert local("{}").was_done and Knowing.asked == 18
    other = local('{"other": 1}')
    assert not other.was_done and Knowing.asked == 36, "another model is asked anew"
    with pytest.raises(ConfigError, match="name a model folder with --judge"):
        stage("judge", replace(context, work=tmp_path / "other"), Machine(negatives_judge=str(tmp_path / "nowhere")))
