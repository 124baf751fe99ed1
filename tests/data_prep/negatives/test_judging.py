"""Judged negatives: what is asked, what logits say, each pair once whatever the server does, and what is left of a row."""

import io
import json
import math
import random
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from PIL import Image

from data_prep.negatives import second_judge
from data_prep.negatives.judge_words import HEAD, TAIL, TIED, UNREAD, judge_request, margin
from data_prep.negatives.judging import (
    Verdicts,
    judge_references,
    read_verdicts,
    refuse_unjudged,
    take_exempt,
    verdicts_file,
    write_verdicts,
)
from pipeline.chat import NO_LOGPROBS, REFUSED, Answer, ChatEngine, EndpointList, Failed, Journal, Patience
from pipeline.chat import endpoints as endpoints_module
from pipeline.data.keys import make_key
from pipeline.data.references import SCHEMA, read_references, references_file, write_references
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError, ServiceError
from pipeline.sample import Sample, Side
from tests.chat_server import Reply, chat_server
from tests.shards import write_shards

NUM_ROWS, PER_ROW, HOLE = 21, 4, 3


def picture(number: int) -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (number, 9, 9)).save(file, "PNG")
    return file.getvalue()


def told(places: list[list[tuple[str, float]]]) -> Answer:
    return Answer(text="", top_logprobs=tuple(tuple(place) for place in places))


def test_a_pair_is_asked_about_in_numbered_pictures() -> None:
    """A marker without a picture goes, a picture without a marker is named first; the candidate's are counted on."""
    query = Side(instruction="<|image_1|>\nFind what changed: ", text="red\n", images=(b"a", b"b"))
    candidate = Side(instruction="<|image_1|> <|image_2|>\nRepresent it.", images=(b"c",))
    request = judge_request(query, candidate)
    assert request.images == (b"a", b"b", b"c")
    assert request.text.split("\n") == [
        HEAD,
        "Query: (picture 2) (picture 1)",
        "Find what changed: red",
        "Candidate: (picture 3) ",
        "Represent it.",
        TAIL,
    ]
    sampling = request.sampling
    assert (sampling.max_tokens, sampling.temperature, sampling.top_logprobs) == (1, 0, 20)
    assert judge_request(Side(text="a"), Side(text="b")).text.split("\n")[1:3] == ["Query: a", "Candidate: b"]


@pytest.mark.parametrize(
    ("likeliest", "expected"),
    [
        ([("Yes", -0.25), ("No", -1.75)], 1.5),
        ([("No", -0.25), ("Yes", -1.75)], -1.5),
        ([(" yes", math.log(0.25)), ("YES", math.log(0.25)), ("no", math.log(0.125))], math.log(4)),  # spellings add up
        ([("▁No", -0.5), ("Maybe", -2.0)], -1.5),  # yes is at most as likely as the last that is told
        ([("Yes", -0.5)], 0.0),  # alone, and so bounded by itself
    ],
)
def test_the_likelier_of_the_two_words_counts(likeliest: list[tuple[str, float]], expected: float) -> None:
    found = margin(told([likeliest, [("No", 0.0)]]))
    if expected:
        assert found == pytest.approx(expected)
    else:
        assert isinstance(found, Failed) and found.kind == TIED


@pytest.mark.parametrize("places", [[], [[]], [[("The", -0.1), ("Well", -3.0)]]])
def test_an_answer_that_says_neither_is_no_verdict(places: list[list[tuple[str, float]]]) -> None:
    found = margin(told(places))
    assert isinstance(found, Failed) and found.kind == UNREAD


def logprobs(yes: float, no: float, **fields: Any) -> Reply:
    likely = [{"token": "Yes", "logprob": yes}, {"token": "No", "logprob": no}]
    choice = {
        "message": {"content": "?"},
        "finish_reason": "length",
        "logprobs": {"content": [{"token": "?", "logprob": 0, "top_logprobs": likely}]},
    }
    return Reply(json.dumps({"choices": [choice]}).encode(), **fields)


BARE = Reply(b'{"choices": [{"message": {"content": "Yes"}, "finish_reason": "length"}]}')


def pair_of(body: dict[str, Any]) -> tuple[int, int]:
    """The numbers of the query and the candidate in a request."""
    _, query, candidate, _ = body["messages"][0]["content"][-1]["text"].split("\n")
    return int(query.rpartition(" ")[2]), int(candidate.rpartition(" ")[2])


def is_right(query: int, candidate: int) -> bool:
    return (query + candidate) % 3 == 0


def verdict(body: dict[str, Any], **fields: Any) -> Reply:
    right = is_right(*pair_of(body))
    return logprobs(-0.1 if right else -3.0, -3.0 if right else -0.1, **fields)


@pytest.fixture(scope="module")
def shards(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Pairs of a picture and words, each with its number; one row of the source was rejected."""
    out = tmp_path_factory.mktemp("judging") / "shards"
    rows = [
        Reject(source="a", row=row, key=make_key("Pairs", row), reason="unreadable")
        if row == HOLE
        else Sample(
            key=make_key("Pairs", row),
            dataset="Pairs",
            query=Side(text=f"<|image_1|> query {row}", images=(picture(row),)),
            positive=Side(text=f"candidate {row}"),
        )
        for row in range(NUM_ROWS)
    ]
    write_shards(rows, out, dataset="Pairs", kind="pairs")
    return out


def references() -> pa.Table:
    """Of each row the four rows after it."""
    rows = [row for row in range(NUM_ROWS) if row != HOLE]
    found = [
        {"row": row, "rank": rank + 1, "candidate": rows[(place + rank + 1) % len(rows)], "side": 1, "similarity": 0.5}
        for place, row in enumerate(rows)
        for rank in range(PER_ROW)
    ]
    return pa.Table.from_pylist(found, schema=SCHEMA)


ALL_PAIRS = [(row, other) for row, other in zip(*(references().column(c).to_pylist() for c in ("row", "candidate")), strict=True)]


@pytest.fixture
def judged(shards: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], Verdicts]:
    """Asks an endpoint about all pairs, with answers kept from one call to the next."""
    monkeypatch.setattr(endpoints_module, "_FIRST_ASIDE_SECONDS", 0.02)
    monkeypatch.setattr(endpoints_module, "_MOST_ASIDE_SECONDS", 0.1)

    def ask(url: str, **given: Any) -> Verdicts:
        patience = Patience(**{"tries": 40, "pause_factor": 0.01, "give_up_seconds": 20.0, **given})
        with (
            Journal(tmp_path / "answers.jsonl") as journal,
            ChatEngine(EndpointList([url]), model="m", journal=journal, patience=patience, api_key="") as engine,
        ):
            return judge_references(ShardIndex.open(shards), "Pairs", references(), engine)

    return ask


class Moody:
    """Delays, 429, 500 and dropped connections in a third of the replies; answers about `bare` queries lack logprobs."""

    def __init__(self, bare: tuple[int, ...] = ()) -> None:
        self.rng, self.lock, self.bare = random.Random(1), threading.Lock(), bare
        self.right: set[int] = set()

    def __call__(self, number: int, body: dict[str, Any]) -> Reply:
        with self.lock:
            draw, delay = self.rng.random(), self.rng.uniform(0, 0.01)
            if draw < 0.33:
                busy = Reply(b"slow down", status=429, headers={"Retry-After": "0.02"})
                return (busy, Reply(b"oops", status=500), Reply(b"", hangs_up=True))[int(draw * 9)]
            self.right.add(number)
        return BARE if pair_of(body)[0] in self.bare else verdict(body, delay_seconds=delay)


def test_each_pair_is_asked_once_whatever_the_server_does(judged: Callable[[str], Verdicts]) -> None:
    moody = Moody(bare=(5, 9))
    with chat_server(moody) as server:
        found = judged(server.url)
        answered = [pair_of(server.requests[number]) for number in server.delivered if number in moody.right]
    assert Counter(answered) == Counter(ALL_PAIRS), "by the server's own log"
    assert len(server.requests) > len(ALL_PAIRS) * 1.2, "there were failures"
    for (query, candidate), said in zip(ALL_PAIRS, found.margins.tolist(), strict=True):
        if query in moody.bare:
            assert math.isnan(said)
        else:
            assert said == pytest.approx(2.9 if is_right(query, candidate) else -2.9)
    assert dict(found.reasons) == {NO_LOGPROBS: 2 * PER_ROW}


def test_the_next_run_asks_for_what_has_no_logprobs_and_nothing_else(judged: Callable[[str], Verdicts]) -> None:
    with chat_server(Moody(bare=(5, 9))) as server:
        judged(server.url)
    moody = Moody()
    with chat_server(moody) as server:
        found = judged(server.url)
        assert {pair_of(body)[0] for body in server.requests} == {5, 9}
        assert len(moody.right) == 2 * PER_ROW and not found.reasons and not np.isnan(found.margins).any()
    with chat_server(lambda number, body: BARE) as server:
        assert (judged(server.url).margins == found.margins).all() and not server.requests


def test_a_run_that_ends_in_the_middle_is_gone_on_with(judged: Callable[..., Verdicts]) -> None:
    def dies(number: int, body: dict[str, Any]) -> Reply:
        return verdict(body) if number < 30 else Reply(b"", hangs_up=True)

    with chat_server(dies) as server:
        with pytest.raises(ServiceError, match="no endpoint has answered"):
            judged(server.url, give_up_seconds=0.3, tries=10_000)
        first = [pair_of(server.requests[number]) for number in server.delivered]
    with chat_server(lambda number, body: verdict(body)) as server:
        assert not np.isnan(judged(server.url).margins).any()
    second = list(map(pair_of, server.requests))
    assert len(first) == 30 and Counter(first + second) == Counter(ALL_PAIRS)


def test_a_pair_that_is_refused_is_counted_and_the_others_pass(judged: Callable[[str], Verdicts]) -> None:
    with chat_server(lambda number, body: Reply(b"no", status=400) if pair_of(body)[0] == 7 else verdict(body)) as server:
        found = judged(server.url)
    assert dict(found.reasons) == {REFUSED: PER_ROW} and np.isnan(found.margins).sum() == PER_ROW


def some(margins: list[float]) -> Verdicts:
    """Verdicts on references of two rows: four of the first, two of the second."""
    table = [
        {"row": row, "rank": rank, "candidate": candidate, "side": 1, "similarity": 0.5}
        for row, rank, candidate in ((0, 1, 4), (0, 2, 5), (0, 3, 6), (0, 4, 7), (2, 1, 4), (2, 2, 6))
    ]
    reasons = {UNREAD: sum(map(math.isnan, margins))}
    return Verdicts(
        references=pa.Table.from_pylist(table, schema=SCHEMA), margins=np.array(margins, dtype=np.float32), reasons=reasons
    )


def test_negatives_are_those_the_judge_said_no_to_in_the_order_of_their_ranks(tmp_path: Path) -> None:
    """Row 0 has three left of four, row 2 one: what there is is used, and counted as fewer."""
    verdicts = some([-1.0, 2.0, -0.5, -3.0, math.nan, -0.1])
    assert verdicts.counts(2) == {
        "pairs": 6,
        "negatives": 4,
        "positives": 1,
        "unjudged": {UNREAD: 1},
        "queries": 2,
        "fewer": 1,
    }
    assert verdicts.counts(1)["fewer"] == 0 and verdicts.counts(4)["fewer"] == 2
    write_verdicts(tmp_path, "Pairs", verdicts)
    left = read_references(references_file(tmp_path, "Pairs")).to_pydict()
    assert list(zip(left["row"], left["rank"], left["candidate"], strict=True)) == [(0, 1, 4), (0, 3, 6), (0, 4, 7), (2, 2, 6)]
    again = read_verdicts(verdicts_file(tmp_path, "Pairs"))
    assert again.references.equals(verdicts.references)
    np.testing.assert_array_equal(again.margins, verdicts.margins)


def test_an_exempt_dataset_stands_as_it_was_mined(tmp_path: Path) -> None:
    verdicts, mined, out = some([1.0] * 6), tmp_path / "mined", tmp_path / "out"
    mined.mkdir()
    write_references(references_file(mined, "Pairs"), verdicts.references)
    write_verdicts(out, "Pairs", verdicts)
    assert take_exempt(mined, out, "Pairs") == {"pairs": 0, "exempt": True, "negatives": 6}
    assert read_references(references_file(out, "Pairs")).equals(verdicts.references)
    with pytest.raises(DataError, match="run crem judge again"):
        read_verdicts(verdicts_file(out, "Pairs"))


def test_too_many_without_a_verdict_stop_it() -> None:
    counts = [{"pairs": 90, "unjudged": {UNREAD: 2}}, {"pairs": 0, "exempt": True}, {"pairs": 10, "unjudged": {NO_LOGPROBS: 3}}]
    refuse_unjudged(counts, 0.05)
    with pytest.raises(ServiceError, match=r"5 of 100 pairs have no verdict \(3 no log-probabilities, 2 neither yes nor no\)"):
        refuse_unjudged(counts, 0.049)


def test_a_second_judge_is_asked_about_some_pairs_and_its_differences_counted(
    judged: Callable[[str], Verdicts], shards: Path, tmp_path: Path
) -> None:
    """The second says yes to candidates of even numbers. By hand over the same draw of 40 pairs; the draw repeats."""
    with chat_server(lambda number, body: verdict(body)) as server:
        first = judged(server.url)
    folder, out = tmp_path / "judge", tmp_path / "second"
    write_verdicts(folder, "Pairs", first)

    def even(number: int, body: dict[str, Any]) -> Reply:
        return logprobs(0.0, -1.0) if pair_of(body)[1] % 2 == 0 else logprobs(-1.0, 0.0)

    with chat_server(even) as server:
        for _ in range(2):
            found = second_judge.compare(shards, folder, out, urls=[server.url], model="n", pairs=40)
        asked = list(map(pair_of, server.requests))
    assert len(asked) == len(set(asked)) == 40 and set(asked) < set(ALL_PAIRS)
    told = Counter((is_right(*pair), pair[1] % 2 == 0) for pair in asked)
    expected = second_judge.Agreement(
        both_yes=told[True, True],
        both_no=told[False, False],
        yes_then_no=told[True, False],
        no_then_yes=told[False, True],
        unjudged=0,
    )
    assert found == {"Pairs": expected} and min(told.values()) > 0 and len(told) == 4
    assert expected.share == pytest.approx((told[True, True] + told[False, False]) / 40)
    with pytest.raises(DataError, match="run crem judge first"):
        second_judge.compare(shards, out, out, urls=["http://127.0.0.1:1/v1"], model="n", pairs=1)
