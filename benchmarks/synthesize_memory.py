"""What memory and time a whole synthesis takes beside its model: made-up pairs, and a made-up model that answers at once.

    python -m benchmarks.synthesize_memory                    # 10,000, 100,000 and a million sides
    python -m benchmarks.synthesize_memory --sides 2000       # any other number

Each number of sides is a process of its own. It asks about all, writes the side files, and does so again with all answered, as
after a kill at the very end. Shards are not read from a disk: their index is an array of a few integers a row beside this.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any
from unittest import mock

from benchmarks.synthesize import peak_kib, resident_kib, sides
from data_prep.qa_kinds import DIALOGUE, QA, Kind
from data_prep.synthesize_qa import synthesize
from pipeline.chat import Answer, ChatRequest, Journal, LocalEngine, Sampling
from pipeline.data.keys import make_key
from pipeline.data.shards import ShardIndex
from pipeline.sample import Sample

DATASET = "MadeUp"
LIST = "What is in the middle?\nWhat is to the left?\nWhat is to the right?"


class MadeUpIndex:
    """Pairs of two sides, each with a picture of its own of 2 KiB; they are made as they are read."""

    def __init__(self, pairs: int) -> None:
        self.datasets = {DATASET: range(pairs)}

    def kind(self, dataset: str) -> str:
        """All are pairs."""
        return "pairs"

    def read(self, row: int) -> Sample:
        """A pair."""
        query, positive = sides(2, 2, first=2 * row)
        return Sample(key=make_key(DATASET, row), dataset=DATASET, query=query, positive=positive)


class MadeUpModel:
    """Answers at once, in words that may be learnt; three questions where a list is asked for."""

    model = "made up"

    def answers(self, requests: Sequence[tuple[str, ChatRequest]]) -> Iterator[tuple[str, Answer]]:
        """As AnsweringModel."""
        for key, request in requests:
            text = LIST if request.text == DIALOGUE.wording["prompt"] else f"A red car with the number {key[:6]} by the sea."
            yield key, Answer(text=text, finish_reason="stop", max_tokens=request.sampling.max_tokens, tokens=(400, 12))

    def sampling(self, kind: Kind) -> Sampling:
        """As Teacher."""
        return Sampling(max_tokens=kind.max_tokens, temperature=kind.temperature)

    def asker(self, kind: Kind, journal: Journal) -> Any:
        """As Teacher."""
        return mock.MagicMock(__enter__=lambda _: LocalEngine(self, name=self.model, journal=journal))


def measure(count: int, kind: Kind) -> None:
    """Print what a synthesis of so many sides takes: a line for the first run, and one for the run that finds all answered."""
    opened = mock.patch.object(ShardIndex, "open", return_value=MadeUpIndex(count // 2))
    with tempfile.TemporaryDirectory() as folder, opened:
        for what in ("asked and joined", "all answered"):
            seen = [resident_kib()]

            def note(done: int, total: int, _: str, seen: list[int] = seen) -> None:
                if done and done % max(total // 4, 1) == 0:
                    seen.append(resident_kib())

            begun, used = time.monotonic(), time.process_time()
            counts = synthesize(Path("made up"), Path(folder), teacher=MadeUpModel(), kind=kind, progress=note)
            assert counts["described"] == count, counts
            wall, processor = time.monotonic() - begun, time.process_time() - used
            print(
                f"| {count:,} | {what} | {counts['asked']:,} | {wall:.0f} | {1000 * processor / count:.2f} "
                f"| {' '.join(f'{kib / 1024:.0f}' for kib in seen)} | {peak_kib() / 1024:.1f} |",
                flush=True,
            )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.synthesize_memory")
    parser.add_argument("--sides", type=int, action="append", help="may be given several times (default: 10^4, 10^5, 10^6)")
    parser.add_argument("--dialogues", action="store_true", help="ask for dialogues: four requests a side")
    parser.add_argument("--alone", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    kind = ["--dialogues"] if given.dialogues else []
    if given.alone:
        measure(given.sides[0], DIALOGUE if given.dialogues else QA)
        return
    print(
        "| sides | run | answers | seconds | processor, ms a side | resident at each quarter of asking and joining, MiB | peak |"
    )
    print("|---:|---|---:|---:|---:|---|---:|", flush=True)
    peaks = {count: _peak(count, kind) for count in given.sides or (10_000, 100_000, 1_000_000)}
    *_, before, last = [0, *peaks] if len(peaks) == 1 else peaks
    if before:
        grown = (peaks[last] - peaks[before]) * 2**20 / (last - before)
        print(f"\nfrom {before:,} to {last:,} sides the peak grows by {grown:.1f} bytes a side")


def _peak(count: int, kind: list[str]) -> float:
    """Measure in a process of its own; its peak in MiB."""
    command = [sys.executable, "-m", "benchmarks.synthesize_memory", "--alone", "--sides", str(count), *kind]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        for line in process.stdout:
            print(line, end="", flush=True)
    if process.returncode:
        sys.exit(process.returncode)
    return float(line.split("|")[-2])


if __name__ == "__main__":
    main()
