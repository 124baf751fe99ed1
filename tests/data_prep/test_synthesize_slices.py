"""Slices of a synthesis: each side is asked about by one of them, and together they are the whole."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
from click.testing import CliRunner

from data_prep.qa_kinds import DIALOGUE, QA, Kind
from data_prep.slices import Slice
from data_prep.synthesize_qa import main, synthesize, synthesize_slice
from pipeline.chat import Journal
from pipeline.errors import PipelineError
from tests.chat_server import chat_server
from tests.data_prep.test_synthesize_dialogue import calm
from tests.data_prep.test_synthesize_dialogue import shards as dialogue_shards
from tests.data_prep.test_synthesize_qa import NUM_PICTURES, echo, picture_of, shards, teacher
from tests.pages import ROOT

__all__ = ["dialogue_shards", "shards"]
NUM_SLICES = 3


@pytest.mark.parametrize("kind", [QA, DIALOGUE], ids=["qa", "dialogue"])
def test_slices_ask_everything_once_and_the_whole_asks_nothing(
    kind: Kind, shards: Path, dialogue_shards: Path, tmp_path: Path
) -> None:
    folder, answer, chosen = (shards, echo, QA) if kind is QA else (dialogue_shards, calm, DIALOGUE)
    with chat_server(answer) as server:
        synthesize(folder, tmp_path / "whole", teacher=teacher(server.url), kind=chosen)
        alone = Counter(map(json.dumps, server.requests))
    with chat_server(answer) as server:
        told = [
            synthesize_slice(folder, tmp_path / f"{n}", Slice(index=n, of=NUM_SLICES), teacher=teacher(server.url), kind=chosen)
            for n in range(NUM_SLICES)
        ]
        for journal in tmp_path.glob("[0-9]/**/answers-*"):  # in folders of their own none knew what another had
            place = tmp_path / "parts" / Path(*journal.relative_to(tmp_path).parts[1:])
            place.parent.mkdir(parents=True, exist_ok=True)
            journal.rename(place)
        assert Counter(map(json.dumps, server.requests)) == alone and set(alone.values()) == {1}
        assert sum(counts["asked"] for counts in told) == alone.total() and min(counts["asked"] for counts in told) > 0
        assert not list((tmp_path / "parts").rglob("*.arrow")), "no slice writes what belongs to all"
        counts = synthesize(folder, tmp_path / "parts", teacher=teacher(server.url), kind=chosen)
        assert (counts["asked"], len(server.requests)) == (0, alone.total())
    for path in (tmp_path / "whole").rglob("*.arrow"):
        assert (tmp_path / "parts" / path.relative_to(tmp_path / "whole")).read_bytes() == path.read_bytes()


def test_the_whole_asks_what_a_slice_left_and_waits_for_one_that_is_at_work(shards: Path, tmp_path: Path) -> None:
    with chat_server(echo) as server:
        done = synthesize_slice(shards, tmp_path, Slice(index=1, of=NUM_SLICES), teacher=teacher(server.url))
        assert done["asked"] == len(server.requests) < NUM_PICTURES
        again = synthesize_slice(shards, tmp_path, Slice(index=1, of=NUM_SLICES), teacher=teacher(server.url))
        assert again == {"asked": 0, "failed": 0}
        other = synthesize_slice(shards, tmp_path, Slice(index=0, of=1), teacher=teacher(server.url))
        assert other["asked"] == NUM_PICTURES - done["asked"], "what another slicing answered counts too"
        with (
            Journal(tmp_path / "answers-00001-of-00003.jsonl"),
            pytest.raises(PipelineError, match=r"answers-00001-of-00003\.jsonl: a slice is still asked about"),
        ):
            synthesize(shards, tmp_path, teacher=teacher(server.url))
        assert synthesize(shards, tmp_path, teacher=teacher(server.url))["asked"] == 0
    assert max(Counter(map(picture_of, server.requests)).values()) == 1


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--shard-index", "0"], "--shard-index and --num-shards go together"),
        (["--shard-index", "3", "--num-shards", "3"], "--shard-index 3: is not from 0 to 2"),
        (["--shard-index", "0", "--num-shards", "3"], "nothing is asked without --url or --local"),
    ],
)
def test_slices_that_cannot_be_are_one_line(words: list[str], said: str, shards: Path, tmp_path: Path) -> None:
    done = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "out"), *words])
    assert done.exit_code == 1 and said in done.output and done.output.count("\n") == 1
    assert not (tmp_path / "out").exists()


SERVER = """
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if self.path == "/health" else 404)
        self.end_headers()
    def log_message(self, *_): ...
print("up", flush=True)
open(sys.argv[2], "w").write(str(__import__("os").getpid()))
HTTPServer(("127.0.0.1", int(sys.argv[1])), Handler).serve_forever()
"""
CLIENT = """#!/bin/sh
if [ "$1" = -m ]; then echo "asked: $*"; exit 7; fi
exec {python} "$@"
"""


def test_the_script_starts_a_server_asks_it_and_ends_it(tmp_path: Path) -> None:
    """With a server that only says that it is up, and a client that says what it was asked to do."""
    (tmp_path / "server.py").write_text(SERVER)
    (tmp_path / "python").write_text(CLIENT.format(python=sys.executable))
    (tmp_path / "python").chmod(0o755)
    environment = {
        **os.environ,
        "SLURM_ARRAY_TASK_ID": "2",
        "SLURM_ARRAY_TASK_COUNT": "1",
        "CREM_SLICES": "3",
        "SLURM_SUBMIT_DIR": str(tmp_path),
        "CREM_PYTHON": str(tmp_path / "python"),
        "CREM_TEACHER": "a/model",
        "CREM_WAIT": "60",
        "CREM_SERVE": f"{sys.executable} {tmp_path / 'server.py'} PORT {tmp_path / 'pid'}",
    }
    command = ["bash", str(ROOT / "launchers" / "slurm_synthesize.sh"), "--work", "w"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False, timeout=120)
    assert done.returncode == 7, done.stderr
    assert "asked: -m launchers.cli synthesize --shard-index 2 --num-shards 3 --url http://127.0.0.1:" in done.stdout
    assert done.stdout.rstrip().endswith("/v1 --teacher a/model --work w")
    with pytest.raises(ProcessLookupError):
        os.kill(int((tmp_path / "pid").read_text()), 0)
    dead = subprocess.run(
        command, env={**environment, "CREM_SERVE": "false"}, capture_output=True, text=True, check=False, timeout=60
    )
    assert dead.returncode == 1 and "the server ended before it was up" in dead.stderr
