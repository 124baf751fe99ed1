"""How long a command takes that finds everything done, over a data folder of many files: `python -m benchmarks.second_start`.

The toy world is put through the whole chain as a user's own data, in two steps of training, with unpacked pictures added that no
row names. Then the same commands are called again and timed from outside, interpreter and imports included.
"""

import argparse
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from jobs.defaults import ORDER

COMMANDS = ("convert", "evaluate", "run")
FOLDERS = ("MMEB-train/images/unpacked", "MMEB-eval/images/unpacked")
SMALL = (
    "toy.train_rows=56",
    "toy.eval_rows=60",
    "toy.conversations=60",
    "toy.mcq_rows=64",
    "phases.0.steps=2",
    "phases.0.checkpoint_every=2",
    "phases.0.evaluate_every=2",
)


Seconds = tuple[float, float]
"""On the wall clock and of the processor; the first is as long as the machine is busy with other things, too."""


def crem(command: str, *words: str | Path) -> tuple[str, Seconds]:
    """Call a command with the small recipe; what it printed and how long it took. Raises CalledProcessError."""
    settings = [word for value in SMALL for word in ("--set", value)]
    call = [sys.executable, "-m", "launchers.cli", "--quiet", command, "--recipe", "tiny", *settings, *map(str, words)]
    begun, used = time.monotonic(), _processor_seconds()
    said = subprocess.run(call, check=True, capture_output=True, text=True).stdout
    return said, (time.monotonic() - begun, _processor_seconds() - used)


def _processor_seconds() -> float:
    """Of all children that have ended."""
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def add_pictures(data: Path, count: int) -> None:
    """Unpacked pictures of a few bytes, a thousand to a folder."""
    for number in range(count):
        folder = data / FOLDERS[number % len(FOLDERS)] / f"{number // 1000:03d}"
        if number % 1000 < len(FOLDERS):
            folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.jpg").write_bytes(b"tiny")


def measure(folder: Path, count: int, repeats: int) -> dict[str, Seconds]:
    """The least seconds of each command's calls over a finished chain with so many pictures. Raises SystemExit if one works."""
    made, data, work = folder / "made", folder / "data", folder / "work"
    crem("toy", "--work", made)
    (made / "toy").rename(data)
    (data / "manifest.json").unlink()
    add_pictures(data, count)
    crem("run", "--data", data, "--work", work)
    seconds: dict[str, Seconds] = {}
    for command in COMMANDS:
        for _ in range(repeats):
            said, taken = crem(command, "--data", data, "--work", work)
            stages = [line for line in said.splitlines() if ": already done (" in line]
            if len(stages) != (len(ORDER) - 1 if command == "run" else 1):
                raise SystemExit(f"crem {command} worked again:\n{said}")
            seconds[command] = min(taken, seconds.get(command, taken))
    return seconds


def main() -> None:
    """Print a line for each command."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.second_start")
    parser.add_argument("--files", type=int, default=100_000, help="unpacked pictures (default: 100,000)")
    parser.add_argument("--repeats", type=int, default=3, help="calls of each command, of which the fastest counts (default: 3)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        for command, (wall, processor) in measure(Path(folder), given.files, given.repeats).items():
            print(f"crem {command}, all done, {given.files} files: {wall:.2f} s, {processor:.2f} s of the processor")


if __name__ == "__main__":
    main()
