"""Everything goes wrong at once: endpoints that fail in every way, die, move to another port, and an asker that is killed."""

import json
import random
import sys
import threading
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from pipeline.chat import Answer, ChatRequest
from tests.chat_server import ChatServer, Reply, chat_server, completion
from tests.faults import kill_at_sizes, seeded_sizes
from tests.pipeline.chat.conftest import MakeEngine
from tests.pipeline.chat.test_engine import words

NUM_CONTENTS = 150


class Moody:
    """Fails by the seed in every way there is; `right` are the numbers of requests with a good answer, if it went out whole."""

    def __init__(self, seed: int, share: float = 0.3) -> None:
        self.rng, self.share, self.lock = random.Random(seed), share, threading.Lock()
        self.right: set[int] = set()
        self.is_dead = False

    def __call__(self, number: int, body: dict[str, Any]) -> Reply:
        with self.lock:
            draw, kind = self.rng.random(), self.rng.randrange(6)
            if self.is_dead:
                return Reply(b"", hangs_up=True)
            good = completion(words(body).upper(), delay_seconds=self.rng.uniform(0, 0.02))
            if draw >= self.share:
                self.right.add(number)
                return good
            if kind == 5:
                self.right.add(number)
                return Reply(good.body, drip_seconds=0.002)
        whole = {"Content-Length": str(len(good.body) + 7)}
        return (
            Reply(b"slow down", status=429, headers={"Retry-After": "0.05"}),
            Reply(b"oops", status=500),
            Reply(b"", hangs_up=True),
            Reply(b'{"choices": [{"message": {"content": "half'),
            Reply(good.body, headers=whole),
        )[kind]

    def answered(self, server: ChatServer) -> list[str]:
        """What has got a good answer, as the server's own log has it."""
        return [words(server.requests[number]) for number in server.delivered if number in self.right]


def contents(times: int) -> list[ChatRequest]:
    texts = [f"content {n}" for n in range(NUM_CONTENTS)] * times
    random.Random(4).shuffle(texts)
    return [ChatRequest(text=text, images=(b"\x89PNG" + text.encode(),)) for text in texts]


def test_three_endpoints_of_which_one_dies_and_one_moves(engine: MakeEngine, tmp_path: Path) -> None:
    """The first dies in the middle, the second goes away and comes back on another port, which the file then names."""
    moods = [Moody(seed) for seed in range(4)]
    file = tmp_path / "urls"
    with ExitStack() as others:
        first, third, moved = (others.enter_context(chat_server(moods[n])) for n in (0, 2, 3))
        second_up = ExitStack()
        second = second_up.enter_context(chat_server(moods[1]))
        file.write_text("\n".join(server.url for server in (first, second, third)))
        came: list[tuple[str, str]] = []
        with engine(file, tries=50) as asker:
            for request, answer in asker.ask(contents(3)):
                assert isinstance(answer, Answer)
                came.append((request.text, answer.text))
                if len(came) == NUM_CONTENTS:
                    moods[0].is_dead = True
                    second_up.close()
                    file.write_text("\n".join(server.url for server in (first, moved, third)))
        log = [text for mood, server in zip(moods, (first, second, third, moved), strict=True) for text in mood.answered(server)]
        assert len(moved.requests) > 10 and len(third.requests) > 10 and len(first.requests) > 10
    assert Counter(came) == Counter({(f"content {n}", f"CONTENT {n}"): 3 for n in range(NUM_CONTENTS)})
    assert Counter(log) == Counter(f"content {n}" for n in range(NUM_CONTENTS)), "each content was answered exactly once"
    lines = [json.loads(line) for line in (tmp_path / "answers.jsonl").read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == NUM_CONTENTS


ASK = f"""
import sys
from pathlib import Path
from pipeline.chat import *
requests = (ChatRequest(text=f"content {{n % {NUM_CONTENTS}}}") for n in range(2 * {NUM_CONTENTS}))
patience = Patience(tries=50, pause_factor=0.02)
with (
    Journal(Path(sys.argv[1])) as journal,
    ChatEngine(EndpointList([Path(sys.argv[2])]), model="m", journal=journal, patience=patience, api_key="") as asker,
):
    print(len(list(asker.ask(requests))))
"""


def test_killed_ten_times_it_asks_for_nothing_that_it_had(tmp_path: Path) -> None:
    """What the server answered twice was on its way when a kill came; there is one such answer a slot and kill at most."""
    moods = [Moody(seed, share=0.1) for seed in range(2)]
    journal, file, most, stop = tmp_path / "answers.jsonl", tmp_path / "urls", [0], threading.Event()
    with chat_server(moods[0]) as first, chat_server(moods[1]) as second:

        def watch() -> None:
            while not stop.is_set():
                most[0] = max(most[0], sum(len(s.requests) - s.ended for s in (first, second)))
                time.sleep(0.004)

        watcher = threading.Thread(target=watch)
        watcher.start()
        file.write_text(f"{first.url}\n{second.url}\n")
        command = [sys.executable, "-c", ASK, str(journal), str(file)]
        line = len(json.dumps({"id": "0" * 32, "answer": "CONTENT 100", "finish_reason": "stop", "max_tokens": 256})) + 1
        codes = kill_at_sizes(command, journal, seeded_sizes(3, count=10, largest=line * NUM_CONTENTS * 9 // 10))
        assert codes == [-9] * 10
        assert kill_at_sizes(command, journal, [1 << 30]) == [0]
        stop.set()
        watcher.join()
        log = Counter(moods[0].answered(first) + moods[1].answered(second))
        asked_before = len(first.requests) + len(second.requests)
        assert kill_at_sizes(command, journal, [1 << 30]) == [0]
        assert len(first.requests) + len(second.requests) == asked_before, "all is known"
    assert set(log) == {f"content {n}" for n in range(NUM_CONTENTS)}
    assert log.total() - NUM_CONTENTS <= 10 * most[0]
    lines = [json.loads(line) for line in journal.read_text().splitlines()]
    assert len(lines) == len({line["id"] for line in lines}) == NUM_CONTENTS
