"""Whether a long training stays as it began: `python -m benchmarks.long_run`, memory, threads, files and time a step.

The toy world is put through the chain as far as the model; then `crem train` runs in a process of its own and is looked at from
outside, in /proc, every hundred steps: its memory may not grow, and a step may not take longer, however many went before.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path
from statistics import median

SMALL = (
    *("toy.train_rows=56", "toy.eval_rows=60", "toy.conversations=60", "toy.mcq_rows=64"),
    *("backbone.hidden=32", "backbone.layers=2", "backbone.heads=4", "backbone.kv_heads=2", "backbone.feed_forward=64"),
    *("backbone.tower_dim=32", "backbone.tower_layers=1", "backbone.tower_heads=2"),
    *("phases.0.mixture.pairs=4", "phases.0.mixture.sub_batch=4", "phases.0.mixture.outside=2", "phases.0.held_out=4"),
    *("phases.0.chunk_tokens=1024", "phases.0.kept_chunks=1"),
)
TICKS = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True, slots=True, kw_only=True)
class Use:
    """What the rank and its loader use after a step: MiB in memory (of which shared), threads, open files, seconds of processor.

    `files` are those in the training's folder.
    """

    rank_mib: float
    loader_mib: float
    shared_mib: float
    threads: float
    open_files: float
    files: float
    processor: float


def _status(pid: int) -> dict[str, float]:
    """Numbers of /proc/<pid>/status by name. Raises OSError when it has ended, also while its parent has not yet heard of it."""
    lines = (line.split() for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    status = {words[0].rstrip(":"): float(words[1]) for words in lines if len(words) > 1 and words[1].isdigit()}
    if "VmRSS" not in status:
        raise ProcessLookupError(f"process {pid} has ended")
    return status


def _seconds(pid: int) -> float:
    """Of the processor, in user and system mode."""
    after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(after_name[11]) + int(after_name[12])) / TICKS


def look(rank: int, out: Path) -> Use:
    """Raises OSError when the rank or its loader has ended."""
    tasks = Path(f"/proc/{rank}/task").glob("*/children")
    loaders = [int(word) for task in tasks for word in task.read_text().split()]
    own, others = _status(rank), [_status(loader) for loader in loaders]
    return Use(
        rank_mib=own["VmRSS"] / 1024,
        loader_mib=sum(other["VmRSS"] for other in others) / 1024,
        shared_mib=sum(status["RssShmem"] for status in (own, *others)) / 1024,
        threads=sum(status["Threads"] for status in (own, *others)),
        open_files=sum(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in (rank, *loaders)),
        files=sum(path.is_file() for path in out.rglob("*")),
        processor=sum(_seconds(pid) for pid in (rank, *loaders)),
    )


def watch(command: Sequence[str], out: Path, every: int) -> Iterator[tuple[int, Use]]:
    """Run a training and look at it whenever so many more steps are in its log. Raises CalledProcessError when it fails."""
    log, due = out / "metrics.jsonl", every
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        while process.poll() is None:
            step = log.read_bytes().count(b"\n") if log.exists() else 0
            if step >= due:
                try:
                    yield step, look(process.pid, out)
                except OSError:
                    continue  # the run ends at this very moment
                due = step - step % every + every
            time.sleep(0.05)
    if process.returncode:
        raise subprocess.CalledProcessError(process.returncode, command)


def measure(folder: Path, steps: int, every: int) -> Iterator[tuple[int, Use]]:
    """Train so many steps: looks as they come. A checkpoint and a look at the held-out rows belong to every 250 steps."""
    often = min(250, max(1, steps // 2))
    more = (f"phases.0.steps={steps}", f"phases.0.checkpoint_every={often}", f"phases.0.evaluate_every={often}")
    settings = [word for value in (*SMALL, *more) for word in ("--set", value)]
    here = [*settings, "--recipe", "tiny", "--work", str(folder)]
    call = [sys.executable, "-m", "launchers.cli", "--quiet"]
    subprocess.run([*call, "run", *here, "--until", "model"], check=True, stdout=subprocess.DEVNULL)
    yield from watch([*call, "train", *here, "--workers", "1"], folder / "train", every)


def table(seen: Sequence[tuple[int, Use]], span: int) -> Iterator[str]:
    """Rows in Markdown, one for so many steps: medians, and the processor's milliseconds a step; at last their ratios."""
    names = [field.name for field in fields(Use) if field.name != "processor"]
    yield f"| steps | {' | '.join(names)} | ms a step |"
    yield "| --- " * (len(names) + 2) + "|"
    rows = []
    for first in range(0, seen[-1][0], span):
        part = [(step, use) for step, use in seen if first < step <= first + span]
        if len(part) < 2:
            continue
        used = [median(column) for column in zip(*(astuple(use)[:-1] for _, use in part), strict=True)]
        taken = (part[-1][1].processor - part[0][1].processor) / (part[-1][0] - part[0][0])
        rows.append([*used, 1000 * taken])
        yield f"| {first + 1} to {part[-1][0]} | {' | '.join(f'{value:.1f}' for value in rows[-1])} |"
    yield f"| last to first | {' | '.join(f'{last / first:.3f}' for first, last in zip(rows[0], rows[-1], strict=True))} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.long_run")
    parser.add_argument("--steps", type=int, default=5000)
    parser.add_argument("--every", type=int, default=100, help="steps between two looks (default: 100)")
    parser.add_argument("--span", type=int, default=1000, help="steps in a row of the table (default: 1,000)")
    parser.add_argument("--folder", type=Path, help="where to work (default: a temporary folder)")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=given.folder) as folder:
        seen = []
        for step, use in measure(Path(folder), given.steps, given.every):
            seen.append((step, use))
            print(step, use, file=sys.stderr, flush=True)
    print("\n".join(table(seen, given.span)))


if __name__ == "__main__":
    main()
