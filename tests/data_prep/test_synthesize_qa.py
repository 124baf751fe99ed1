"""The synthesis over a small corpus: what is asked, what is written, and that a killed run loses and repeats nothing."""

import io
import json
import sys
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner
from PIL import Image

from data_prep import synthesize_qa
from data_prep.qa_counts import MAX_UNANSWERED
from data_prep.qa_description import DESCRIBE, WORDING, describe
from data_prep.qa_join import REJECTS_NAME
from data_prep.qa_script import side_identity
from data_prep.qa_teacher import ServedTeacher
from data_prep.synthesize_qa import JOURNAL_NAME, main
from jobs import defaults
from pipeline.chat import Patience
from pipeline.data.keys import make_key
from pipeline.data.qa import QaTable
from pipeline.errors import ConfigError, ServiceError
from pipeline.sample import Sample, Side, Turn
from tests.chat_server import Reply, chat_server, completion
from tests.faults import kill_at_sizes, seeded_sizes
from tests.shards import write_shards

RECONSTRUCT = "Reconstruct the represented text"  # the paper's own words
NUM_ROWS = 30
NUM_PICTURES = 20


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (28, 28), (number * 10 % 256, number, 99)).save(file, "PNG")
    return file.getvalue()


def image_side(number: int) -> Side:
    return Side(text="<|image_1|>\nFind a caption for the picture.", images=(picture(number % NUM_PICTURES),))


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of a picture (20 distinct ones in 30 rows) and a caption, pairs of two texts, and conversations."""
    out = tmp_path_factory.mktemp("synthesis") / "shards"
    captions = [Side(text=f"caption number {n}") for n in range(NUM_ROWS)]
    pairs = [Sample(key=make_key("Pics", n), dataset="Pics", query=image_side(n), positive=captions[n]) for n in range(NUM_ROWS)]
    texts = [Sample(key=make_key("Texts", n), dataset="Texts", query=captions[n], positive=captions[-n]) for n in range(NUM_ROWS)]
    talk = Sample(
        key=make_key("talks", 0), dataset="talks", query=Side(images=(picture(0),), turns=(Turn(question="q", answer="a"),))
    )
    write_shards(pairs, out, dataset="Pics", kind="pairs")
    write_shards(texts, out, dataset="Texts", kind="pairs")
    write_shards([talk], out, dataset="talks", kind="conversations")
    return out


def teacher(url: str, *, model: str = "teacher", workers: int | None = None, **patience: Any) -> ServedTeacher:
    """A teacher that does not wait between its calls."""
    limits = Patience(**{"pause_factor": 0.01, "most_in_flight": workers, "give_up_seconds": 20.0, **patience})
    return ServedTeacher(urls=(url,), model=model, patience=limits)


def synthesize(
    shards: Path, out: Path, *, client: ServedTeacher | None, workers: int | None = None, **limits: Any
) -> dict[str, int]:
    if client and client.patience and workers:
        client = replace(client, patience=replace(client.patience, most_in_flight=workers))
    return synthesize_qa.synthesize(shards, out, teacher=client, **limits)


def picture_of(body: dict[str, object]) -> str:
    """The data URI that a request carries: which picture was asked about."""
    return str(body["messages"][0]["content"][0]["image_url"]["url"])  # type: ignore[index]


def echo(number: int, body: dict[str, object]) -> Reply:
    """An answer that depends on the picture alone, so that two runs can be compared."""
    return completion(f"picture {hash_of(picture_of(body))}")


def hash_of(text: str) -> int:
    return sum(ord(letter) * place for place, letter in enumerate(text)) % 10**9


def turns_of(out: Path, dataset: str, row: int, side: str) -> tuple[Turn, ...]:
    return QaTable.open(out).turns(dataset, make_key(dataset, row), side)  # type: ignore[arg-type]


def test_every_side_of_every_pair_gets_its_turn(shards: Path, tmp_path: Path) -> None:
    with chat_server(echo) as server:
        counts = synthesize(shards, tmp_path, client=teacher(server.url), workers=4)
    assert counts == {"read": 120, "reconstructed": 90, "described": 30, "unmarked": 0, "skipped": 0, "rejected": 0, "asked": 20}
    assert turns_of(tmp_path, "Texts", 3, "query") == (Turn(question=RECONSTRUCT, answer="caption number 3"),)
    assert turns_of(tmp_path, "Pics", 3, "positive") == (Turn(question=RECONSTRUCT, answer="caption number 3"),)
    (turn,) = turns_of(tmp_path, "Pics", 3, "query")
    assert turn.question == DESCRIBE
    assert turn == turns_of(tmp_path, "Pics", 23, "query")[0], "rows 3 and 23 share picture and text"
    assert turn != turns_of(tmp_path, "Pics", 4, "query")[0]
    assert (tmp_path / REJECTS_NAME).read_text() == ""


def test_equal_sides_are_asked_once_and_a_second_run_asks_nothing(shards: Path, tmp_path: Path) -> None:
    with chat_server(echo) as server:
        synthesize(shards, tmp_path, client=teacher(server.url), workers=4)
        assert max(Counter(map(picture_of, server.requests)).values()) == 1
        assert len(server.requests) == NUM_PICTURES
        assert synthesize(shards, tmp_path, client=teacher(server.url))["asked"] == 0
        assert len(server.requests) == NUM_PICTURES
        assert synthesize(shards, tmp_path, client=teacher(server.url, model="another"))["asked"] == NUM_PICTURES, (
            "another teacher, other answers"
        )


def test_request_names_what_the_side_is_about_without_markers() -> None:
    words = next(describe(Side(instruction="<|image_1|>\nFind ", text="the  red car", images=(b"x",)), WORDING)).text
    assert "Find the red car" in words
    assert "<|image_1|>" not in words


def test_no_more_calls_are_in_flight_than_workers(shards: Path, tmp_path: Path) -> None:
    lock, flying, most = threading.Lock(), [0], [0]

    def slow(number: int, body: dict[str, object]) -> Reply:
        with lock:
            flying[0] += 1
            most[0] = max(most[0], flying[0])
        threading.Event().wait(0.02)
        with lock:
            flying[0] -= 1
        return echo(number, body)

    with chat_server(slow) as server:
        synthesize(shards, tmp_path, client=teacher(server.url), workers=3)
    assert 2 <= most[0] <= 3


def test_failed_calls_are_rejects_with_reasons_and_asked_again(shards: Path, tmp_path: Path) -> None:
    broken = set()

    def moody(number: int, body: dict[str, object]) -> Reply:
        if number % 3 == 1:
            broken.add(picture_of(body))
        return Reply(b"cannot see it", status=400) if picture_of(body) in broken else echo(number, body)

    with chat_server(moody) as server:
        counts = synthesize(shards, tmp_path, client=teacher(server.url), workers=1, max_unanswered=0.9)
    assert counts["read"] == counts["reconstructed"] + counts["described"] + counts["rejected"]
    assert counts["rejected"] > 0
    rejects = [json.loads(line) for line in (tmp_path / REJECTS_NAME).read_text().splitlines()]
    assert len(rejects) == counts["rejected"]
    assert all("query: " in reject["reason"] and "HTTP 400: cannot see it" in reject["reason"] for reject in rejects)
    assert turns_of(tmp_path, "Pics", rejects[0]["row"], "query") == ()
    with chat_server(echo) as server:
        again = synthesize(shards, tmp_path, client=teacher(server.url))
    assert again["asked"] == len(broken)
    assert (again["described"], again["rejected"]) == (30, 0)


def test_too_many_unanswered_sides_are_no_finished_run(shards: Path, tmp_path: Path) -> None:
    """Fewer failures in a row than would look hopeless, as with a wrong key and a handful of pictures."""
    first: set[str] = set()

    def picky(number: int, body: dict[str, object]) -> Reply:
        first.add(picture_of(body)) if not first else None
        return Reply(b"no", status=400) if picture_of(body) in first else echo(number, body)

    def ask(url: str, **limit: float) -> dict[str, int]:
        return synthesize(shards, tmp_path, client=teacher(url), workers=1, **limit)

    with chat_server(picky) as server:
        with pytest.raises(
            ServiceError,
            match=r"^2 of 30 sides with pictures have no answer to learn \(2 refused\), .*rejects\.jsonl; run the same",
        ):
            ask(server.url)
        assert len((tmp_path / REJECTS_NAME).read_text().splitlines()) == 2
        with pytest.raises(ServiceError, match="2 of 30"):
            ask(server.url, max_unanswered=0.06)
        assert ask(server.url, max_unanswered=0.07)["rejected"] == 2
        assert len(server.requests) == NUM_PICTURES + 2, "only what had no answer is asked again"
        first = {"none"}
        assert ask(server.url)["described"] == 30
    assert defaults.MAX_UNANSWERED == MAX_UNANSWERED


def test_a_dead_endpoint_stops_the_run_and_keeps_what_came(shards: Path, tmp_path: Path) -> None:
    with (
        chat_server(lambda number, body: echo(number, body) if number < 4 else Reply(b"gone", status=500)) as server,
        pytest.raises(ServiceError, match=r"no endpoint has answered for 1 seconds .* 4 answers so far are kept"),
    ):
        synthesize(shards, tmp_path, client=teacher(server.url, give_up_seconds=1.0, tries=1000), workers=1)
    with chat_server(echo) as server:
        assert synthesize(shards, tmp_path, client=teacher(server.url))["asked"] == NUM_PICTURES - 4


def test_without_an_endpoint_only_texts_get_turns_and_it_says_so(
    shards: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level("INFO", logger="data_prep"):
        counts = synthesize(shards, tmp_path, client=None)
    assert counts == {"read": 120, "reconstructed": 90, "described": 0, "unmarked": 0, "skipped": 30, "rejected": 0, "asked": 0}
    assert turns_of(tmp_path, "Pics", 0, "query") == ()
    assert "only sides without pictures get a question" in caplog.text
    assert "Pics: sides with qa: query 0.0%, positive 100.0%" in caplog.text


def test_killed_at_seeded_moments_it_ends_as_the_unbroken_run(shards: Path, tmp_path: Path) -> None:
    def calm(number: int, body: dict[str, object]) -> Reply:
        return completion(f"picture {hash_of(picture_of(body))}", delay_seconds=0.05)

    whole, broken = tmp_path / "whole", tmp_path / "broken"
    with chat_server(calm) as server:
        synthesize(shards, whole, client=teacher(server.url), workers=2)
        journal = whole / JOURNAL_NAME
        unbroken_requests = len(server.requests)
        command = [sys.executable, "-m", "data_prep.synthesize_qa", "--shards", str(shards), "--out", str(broken)]
        command += ["--url", server.url, "--model", "teacher", "--workers", "2"]
        sizes = seeded_sizes(5, count=3, largest=journal.stat().st_size - 200)
        assert kill_at_sizes(command, broken / JOURNAL_NAME, sizes) == [-9, -9, -9]
        assert not list(broken.glob("*.arrow")), "the kills came before the first side file"
        counts = synthesize(shards, broken, client=teacher(server.url), workers=2)
        in_flight_when_killed = 2 * len(sizes)
        assert len(server.requests) - unbroken_requests <= NUM_PICTURES + in_flight_when_killed
    assert counts["asked"] < NUM_PICTURES
    for path in sorted(whole.glob("*.arrow")):
        assert (broken / path.name).read_bytes() == path.read_bytes()
    lines = (broken / JOURNAL_NAME).read_text().splitlines()
    assert len(lines) == len({json.loads(line)["id"] for line in lines}) == NUM_PICTURES


def test_identity_depends_on_pictures_texts_and_question_and_on_where_one_ends() -> None:
    sides = [
        Side(text="ab", images=(b"1",)),
        Side(instruction="a", text="b", images=(b"1",)),
        Side(text="ab", images=(b"2",)),
        Side(text="ab", images=(b"1", b"1")),
        Side(text="abc", images=(b"1",)),
    ]
    identities = [side_identity(side, asked=("q", "m")) for side in sides] + [side_identity(sides[0], asked=("qm", ""))]
    assert len(set(identities)) == len(identities)
    assert side_identity(sides[0], asked=("q", "m")) == identities[0]


def test_mistakes_are_one_line(shards: Path, tmp_path: Path) -> None:
    missing = CliRunner().invoke(main, ["--shards", str(tmp_path / "nowhere"), "--out", str(tmp_path / "out")])
    assert missing.exit_code == 1
    assert missing.output.startswith(f"Error: {tmp_path / 'nowhere'}: no such folder")
    assert missing.output.count("\n") == 1
    zero = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "out"), "--workers", "0"])
    assert zero.exit_code == 2 and "--workers" in zero.output
    with pytest.raises(ConfigError, match="--url http://: expected"):
        teacher("http://")
    nonsense = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "out"), "--url", "nonsense"])
    assert (nonsense.exit_code, nonsense.output[:21]) == (1, "Error: --url nonsense")
    (tmp_path / "file").touch()
    taken = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "file")])
    assert (taken.exit_code, taken.output.splitlines()[-1]) == (1, f"Error: {tmp_path / 'file'}: File exists")
    assert not (tmp_path / "out").exists(), "a mistake leaves nothing behind"


def test_help_teaches() -> None:
    output = CliRunner().invoke(main, ["--help"]).output
    assert "python -m data_prep.synthesize_qa --shards work/shards" in output
    assert "CREM_API_KEY" in output


def test_the_key_comes_from_the_environment_and_reaches_the_server_alone(
    shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CREM_API_KEY", "sk-secret")
    with chat_server(echo) as server:
        done = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path), "--url", server.url])
        assert done.exit_code == 0 and set(server.keys) == {"Bearer sk-secret"}
    assert "sk-secret" not in done.output + "".join(path.read_bytes().decode("latin-1") for path in tmp_path.rglob("*.*"))
    monkeypatch.setenv("CREM_API_KEY", "sk-secret\nX: 1")
    wrong = CliRunner().invoke(main, ["--shards", str(shards), "--out", str(tmp_path / "new"), "--url", server.url])
    assert wrong.exit_code == 1 and wrong.output.startswith("Error: CREM_API_KEY: the key holds") and "secret" not in wrong.output
    assert not (tmp_path / "new").exists()


def test_endpoints_may_be_several_and_a_file_of_them(shards: Path, tmp_path: Path) -> None:
    with chat_server(echo) as one, chat_server(echo) as two:
        (tmp_path / "urls").write_text(two.url)
        words = ["--shards", str(shards), "--out", str(tmp_path / "qa"), "--url", one.url, "--url", str(tmp_path / "urls")]
        done = CliRunner().invoke(main, words)
        assert done.exit_code == 0, done.output
        assert len(one.requests) + len(two.requests) == NUM_PICTURES and min(len(one.requests), len(two.requests)) >= 5
    assert json.loads(done.output.splitlines()[-1])["asked"] == NUM_PICTURES
