"""How well one asking process keeps servers busy, and what memory a large synthesis takes.

    python -m benchmarks.synthesize               # one server of 64 slots and 200 ms, then two unequal ones
    python -m benchmarks.synthesize --milliseconds 2000 --requests 2400   # the same where other work takes the processor
    python -m benchmarks.synthesize --sides 1000000   # memory over so many made-up sides

A server here is a process of its own that holds each request for its time, so many at once; who comes later waits. The ideal is
slots / time. Busy is the share of slot seconds that the server spent on requests, by its own log, between the first quarter of
the requests and the last eighth: while limits are found, and when nothing is left to ask, no slot can be full.
"""

import argparse
import asyncio
import io
import json
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from itertools import islice
from multiprocessing.connection import Connection
from pathlib import Path

from PIL import Image

from data_prep.qa_kinds import QA
from data_prep.qa_teacher import outcome_of
from pipeline.chat import ChatEngine, EndpointList, Journal, Sampling
from pipeline.sample import Side

REPLY = json.dumps(
    {
        "choices": [{"message": {"role": "assistant", "content": "A red car by the sea."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 400, "completion_tokens": 8},
    }
).encode()
HEAD = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(REPLY)}\r\n\r\n".encode()


@dataclass(frozen=True)
class Server:
    """An address, and a pipe that says (answers, busy slot seconds) when asked."""

    url: str
    pipe: Connection

    def log(self) -> tuple[int, float]:
        """Answers so far, and the seconds that its slots have worked in all."""
        self.pipe.send("log")
        answers, busy = self.pipe.recv()
        return int(answers), float(busy)


def serve(pipe: Connection, slots: int, seconds: float) -> None:
    """Answer chat requests until the pipe closes."""

    async def run() -> None:
        free, answers, busy = asyncio.Semaphore(slots), 0, 0.0

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            nonlocal answers, busy
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    length = next(
                        int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-l")
                    )
                    await reader.readexactly(length)
                    async with free:
                        begun = time.monotonic()
                        await asyncio.sleep(seconds)
                        busy += time.monotonic() - begun
                    answers += 1
                    writer.write(HEAD + REPLY)
                    await writer.drain()
            except (asyncio.IncompleteReadError, ConnectionError):
                writer.close()

        server = await asyncio.start_server(connected, "127.0.0.1", 0, limit=1 << 24)
        pipe.send(server.sockets[0].getsockname()[1])
        while True:
            await asyncio.to_thread(pipe.recv)
            pipe.send((answers, busy))

    with suppress(EOFError, KeyboardInterrupt):
        asyncio.run(run())


@contextmanager
def server(slots: int, seconds: float) -> Iterator[Server]:
    """A server in a process of its own, while the block runs."""
    ours, theirs = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(target=serve, args=(theirs, slots, seconds), daemon=True)
    process.start()
    try:
        yield Server(f"http://127.0.0.1:{ours.recv()}/v1", ours)
    finally:
        process.terminate()
        process.join()


@cache
def _drawn() -> bytes:
    file = io.BytesIO()
    Image.new("RGB", (64, 64), (200, 30, 30)).save(file, "JPEG")
    return file.getvalue()


def sides(count: int, kib: int, first: int = 0) -> Iterator[Side]:
    """Sides with made-up pictures, each another: the bytes of a drawn JPEG with a number and padding behind them."""
    drawn = _drawn()
    padding = bytes(max(kib * 1024 - len(drawn) - 8, 0))
    for number in range(first, first + count):
        yield Side(text="<|image_1|>\nFind a caption.", images=(drawn + number.to_bytes(8, "little") + padding,))


def ask(urls: list[str], journal: Path, count: int, kib: int, *, watch: Iterator[None]) -> tuple[float, float]:
    """Ask about so many sides. Returns wall and processor seconds from the moment that `watch` first goes on to the end."""
    with Journal(journal) as kept, ChatEngine(EndpointList(urls), model="teacher", journal=kept, api_key="") as engine:
        scripts = (outcome_of(side, QA, model="teacher", sampling=Sampling()) for side in sides(count, kib))
        begun = (time.monotonic(), time.process_time())
        for _ in engine.run(scripts):
            next(watch, None)
        return time.monotonic() - begun[0], time.process_time() - begun[1]


def busy(shapes: list[tuple[int, float]], *, requests: int, kib: int, warm: int) -> None:
    """Print how busy servers of (slots, seconds) are kept once `warm` requests have found their limits."""
    servers = [server(*shape) for shape in shapes]
    with tempfile.TemporaryDirectory() as folder:
        up = [one.__enter__() for one in servers]
        try:
            marks: list[tuple[float, float, list[tuple[int, float]]]] = []

            def watch() -> Iterator[None]:
                for number in range(requests):
                    if number in (warm, requests - warm // 2):
                        marks.append((time.monotonic(), time.process_time(), [one.log() for one in up]))
                    yield

            ask([one.url for one in up], Path(folder) / "answers.jsonl", requests, kib, watch=watch())
        finally:
            for one in servers:
                one.__exit__(None, None, None)
    (begun, used, before), (ended, used_at_end, after) = marks
    wall = ended - begun
    print(
        f"{requests} requests of {kib} KiB; {wall:.1f} s watched, processor {100 * (used_at_end - used) / wall:.0f} % of a core, "
        f"{1000 * (used_at_end - used) / (requests - warm - warm // 2):.2f} ms a request"
    )
    for (slots, seconds), (answers, work), (answers_at_end, work_at_end) in zip(shapes, before, after, strict=True):
        rate = (answers_at_end - answers) / wall
        share = (work_at_end - work) / (slots * wall)
        print(
            f"  {slots} slots of {seconds * 1000:.0f} ms: {rate:.0f} answers/s, ideal {slots / seconds:.0f}; "
            f"ratio {rate * seconds / slots:.2f}, slots busy {100 * share:.0f} %"
        )


def memory(count: int, kib: int) -> None:
    """Print the memory of an asking process: over a twentieth of the sides that are asked about, then over all, all answered.

    For the second the journal gets its other lines by hand: what is measured is the asking side, not a server's hours.
    """
    with tempfile.TemporaryDirectory() as folder, server(256, 0.0) as up:
        journal = Path(folder) / "answers.jsonl"
        _told_memory("asked", [up.url], journal, count // 20, kib)
        with journal.open("a") as file:
            for side in islice(sides(count, kib), count // 20, None):
                key = next(QA.script(side)).identity("teacher")
                line = {"id": key, "answer": "A red car by the sea.", "finish_reason": "stop", "max_tokens": 256}
                file.write(json.dumps(line) + "\n")
        _told_memory("all answered", [up.url], journal, count, kib)
        print(f"journal {journal.stat().st_size / 2**20:.0f} MiB")


def _told_memory(what: str, urls: list[str], journal: Path, count: int, kib: int) -> None:
    seen: list[int] = []

    def watch() -> Iterator[None]:
        for number in range(count):
            if number % (count // 10) == count // 20:
                seen.append(resident_kib())
            yield

    wall, used = ask(urls, journal, count, kib, watch=watch())
    print(
        f"{what}: {count} sides of {kib} KiB in {wall:.0f} s (processor {used:.0f} s, {1000 * used / count:.2f} ms a side); "
        f"resident at each tenth, MiB: {' '.join(str(at // 1024) for at in seen)}; peak {peak_kib() // 1024}",
        flush=True,
    )


def resident_kib() -> int:
    """Memory of this process now."""
    return int(Path("/proc/self/statm").read_text().split()[1]) * resource.getpagesize() // 1024


def peak_kib() -> int:
    """The most that it has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesize")
    parser.add_argument("--requests", type=int, default=10_000, help="requests of each run (default: %(default)s)")
    parser.add_argument("--milliseconds", type=int, default=200, help="that a server takes for one (default: %(default)s)")
    parser.add_argument("--kib", type=int, default=50, help="size of a picture (default: %(default)s)")
    parser.add_argument("--sides", type=int, help="measure the memory over so many sides instead")
    given = parser.parse_args()
    if given.sides:
        memory(given.sides, kib=2)
        return
    warm = given.requests // 4
    seconds = given.milliseconds / 1000
    busy([(64, seconds)], requests=given.requests, kib=given.kib, warm=warm)
    busy([(48, seconds), (16, seconds)], requests=given.requests, kib=given.kib, warm=warm)


if __name__ == "__main__":
    main()
