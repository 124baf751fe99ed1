"""P@1 of Magic-MM-Embedding on the toy world, phase by phase, and with its reranker.

    python -m benchmarks.magic_stages --work work/magic --processes 2

What is done is not made again; a work folder in which `tiny_magic` was trained is gone on with.
"""

import argparse
import json
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from eval.metrics import Score
from eval.mmeb import MmebResult, RerankedResult
from eval.results import read_result
from pipeline.manifest import write_atomic
from pipeline.recipes import load
from pipeline.stage_folder import find_made_by

META_TASKS = ("classification", "vqa", "retrieval", "grounding", "overall")
TOP = 5
Call = Callable[..., None]
Groups = Mapping[str, Score]


def called(*words: str | Path) -> None:
    """Run a program of ours, whose words go to stderr. Raises CalledProcessError."""
    subprocess.run([sys.executable, "-m", *map(str, words)], check=True, stdout=sys.stderr)


def stages(work: Path, processes: int, call: Call = called) -> dict[str, Groups]:
    """P@1 by meta-task behind each phase, and of the last with the reranker's word on its first candidates."""
    note = work / "stages" / "embedder.json"
    if not note.is_file():
        call("launchers.cli", "run", "--recipe", "tiny_magic", "--work", work, "--processes", processes, "--until", "train")
        write_atomic(note, json.dumps(json.loads((work / "train" / "manifest.json").read_text())["run_id"]) + "\n")
    call("launchers.cli", "run", "--recipe", "tiny_magic_reranker", "--work", work, "--processes", processes, "--until", "train")
    embedder = find_made_by(work / "train", json.loads(note.read_text()))
    assert embedder is not None, "what was trained waits beside the folder"
    names = [phase.name for phase in load("tiny_magic").phases]
    places = {name: work / f"train-{name}" for name in names[:-1]} | {names[-1]: embedder}
    found: dict[str, Groups] = {}
    for name, place in places.items():
        out = work / "stages" / name
        rerank = ("--rerank", work / "train", "--top", TOP) if name == names[-1] else ()
        call("eval.mmeb", "--model", place, "--data", work / "toy", "--out", out, *rerank)
        found[name] = read_result(MmebResult, out / "mmeb.json").groups
    both = read_result(RerankedResult, work / "stages" / names[-1] / "mmeb-reranked.json")
    return found | {"judged, reranked": both.reranked.groups}


def table(found: Mapping[str, Groups]) -> str:
    """A line a phase, in Markdown, in percent with 95 % intervals."""
    lines = [f"| phase | {' | '.join(META_TASKS)} |", "|---|" + "---:|" * len(META_TASKS)]
    for name, groups in found.items():
        scores = [groups[task] for task in META_TASKS if task in groups]
        cells = [f"{100 * each.value:.1f} ({100 * each.low:.1f} to {100 * each.high:.1f})" for each in scores]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Run what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, help="the work folder of both runs")
    parser.add_argument("--processes", type=int, default=1, help="ranks of a training")
    given = parser.parse_args()
    print(table(stages(given.work, given.processes)))


if __name__ == "__main__":
    main()
