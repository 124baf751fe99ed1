"""The journal of answers: what is kept, what a kill leaves, and that its memory does not grow."""

import json
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from pipeline.chat import Answer, Failed, Journal
from pipeline.errors import DataError, PipelineError

WHOLE = Answer(
    text="answer\nwith a line break and \u2028",
    finish_reason="stop",
    max_tokens=7,
    tokens=(300, 5),
    top_logprobs=((("Yes", -0.25), ("No", -1.5)),),
)


@pytest.mark.parametrize("tail", [b'{"id": "cut', b'{"id": "a", "answer": "whole but for its end"}'])
def test_a_line_that_was_cut_short_is_dropped(tmp_path: Path, tail: bytes) -> None:
    path = tmp_path / "j"
    with Journal(path) as journal:
        journal.record("one", WHOLE)
        assert journal.get("one") == WHOLE
    path.write_bytes(path.read_bytes() + tail)
    with Journal(path) as journal:
        assert (journal.get("one"), len(journal)) == (WHOLE, 1)
        journal.record("two", Answer(text="b"))
        assert journal.get("two") == Answer(text="b")
    with Journal(path) as journal:
        assert (journal.get("one"), journal.get("two"), journal.get("three")) == (WHOLE, Answer(text="b"), None)


def test_the_later_line_of_a_key_holds_now_and_when_it_is_opened_again(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        for text in ("first", "second, and longer", "third"):
            journal.record("a", Answer(text=text))
            journal.record("b", Answer(text="b"))
            assert journal.get("a") == Answer(text=text)
    with Journal(tmp_path / "j") as journal:
        assert (journal.get("a"), len(journal)) == (Answer(text="third"), 2)
    assert len((tmp_path / "j").read_text().splitlines()) == 6, "nothing is taken away"


def test_journals_beside_it_are_read_and_never_written(tmp_path: Path) -> None:
    for name, text in (("one", "of one"), ("two", "of two")):
        with Journal(tmp_path / name) as journal:
            journal.record(name, Answer(text=text))
            journal.record("both", Answer(text=text))
    torn = (tmp_path / "two").read_bytes() + b'{"id": "to'
    (tmp_path / "two").write_bytes(torn)
    with Journal(tmp_path / "one", beside=[tmp_path / "two"]) as journal:
        assert journal.get("two") == journal.get("two") == Answer(text="of two")
        assert journal.get("both") == Answer(text="of one"), "our own holds over others"
        journal.record("two", Answer(text="anew"))
        assert journal.get("two") == Answer(text="anew")
    assert (tmp_path / "two").read_bytes() == torn


@pytest.mark.parametrize(
    "line",
    [
        "hello",
        "[]",
        '{"id": "a"}',
        '{"id": 1, "answer": "b"}',
        '{"id": "a", "answer": 5}',
        '{"id": "a", "answer": "\\ud83d"}',
        '{"id": "a", "answer": "b", "tokens": 3}',
        '{"id": "a", "answer": "b", "top_logprobs": [[1]]}',
    ],
)
def test_a_file_that_is_no_journal_is_one_clear_error(tmp_path: Path, line: str) -> None:
    (tmp_path / "j").write_text('{"id": "a", "answer": "as old ones are"}\n' + line + "\n")
    with pytest.raises(DataError, match=r"j: line 2 is not an answer"):
        Journal(tmp_path / "j")
    (tmp_path / "j").write_text('{"id": "a", "answer": "as old ones are"}\n')
    with Journal(tmp_path / "j") as journal:
        assert journal.get("a") == Answer(text="as old ones are")


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with Journal(tmp_path / "j"), pytest.raises(PipelineError, match="j: another process keeps answers there"):
        Journal(tmp_path / "j")


def test_failures_are_remembered_and_not_written(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:
        journal.note_failed("a", Failed("refused", "HTTP 400"))
        assert journal.failed("a") == Failed("refused", "HTTP 400") and journal.failed("b") is None
    with Journal(tmp_path / "j") as journal:
        assert journal.failed("a") is None
    assert (tmp_path / "j").read_bytes() == b""


def test_threads_may_write_and_read_it_at_once(tmp_path: Path) -> None:
    with Journal(tmp_path / "j") as journal:

        def write(worker: int) -> None:
            for number in range(200):
                journal.record(f"{worker}-{number}", Answer(text=f"{worker} {number}" * (number % 7)))
                assert journal.get(f"{worker}-{number // 2}") is not None

        threads = [threading.Thread(target=write, args=(worker,)) for worker in range(4)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    lines = [json.loads(line) for line in (tmp_path / "j").read_text().splitlines()]
    assert {line["id"]: line["answer"] for line in lines} == {
        f"{w}-{n}": f"{w} {n}" * (n % 7) for w in range(4) for n in range(200)
    }


GROW = """
import resource, sys
from pathlib import Path
from pipeline.chat.journal import Journal
from pipeline.chat.reply import Answer
with Journal(Path(sys.argv[1])) as journal:
    def peak(): return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    for number in range(2000): journal.record(f"{number:032x}", Answer(text="x" * 100))
    before = peak()
    for number in range(2000, 30_000): journal.record(f"{number * 7919 % 2**31:032x}", Answer(text="x" * 100))
    print(peak() - before, journal.get(f"{29_999 * 7919 % 2**31:032x}").text == "x" * 100)
"""


def test_memory_does_not_grow_with_the_answers(tmp_path: Path) -> None:
    """30,000 answers of 32 digits and 100 letters: as a dict they would take over 12 MB; their index takes two."""
    done = subprocess.run([sys.executable, "-c", GROW, str(tmp_path / "j")], capture_output=True, text=True, check=True)
    grown, is_there = done.stdout.split()
    assert is_there == "True"
    assert int(grown) < 7_000, f"{grown} KiB more"
