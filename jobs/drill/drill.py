"""The drill: fault after fault on copies of one prepared folder, and a table of how each ended."""

import importlib
import random
import re
import shutil
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from jobs.drill.faults import FAULTS
from jobs.drill.scene import Command, HangError, Scene, copied
from jobs.drill.toy_run import difference, toy_recipe
from jobs.runner import write_recipe
from jobs.stage import Context
from pipeline.errors import PipelineError
from pipeline.tracking import load_server

LIBRARIES = (
    "jobs.run",
    "pipeline.train.build",
    "pipeline.train.engine",
    "pipeline.train.loop",
    "pipeline.train.start",
    "data_prep.tiny_model",
    "pipeline.model.families.qwen_vl",
    "transformers.models.qwen2_vl.modeling_qwen2_vl",
)
TRIES = 3
"""Times that the command is given again after a fault, as a user or a scheduler would."""

UNBROKEN = {1: "unbroken", 2: "unbroken-ranks"}
"""The folders of the unbroken runs by their number of ranks: two round otherwise than one."""

EQUAL, ONE_LINE, HANG = "equal", "one line", "HANG"


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How a fault ended: `verdict` is equal (weights, moments and losses of the unbroken run), one line, or what is wrong.

    A line is for what lasts. What caused a fault here is gone when its command is given again, so that a refusal is a fault too.
    """

    number: int
    kind: str
    moment: str
    verdict: str
    tries: int
    seconds: float
    said: str

    @property
    def is_good(self) -> bool:
        """Whether it ended as it must."""
        return self.verdict == EQUAL


def prepare(folder: Path, crem: Command, seconds: float) -> None:
    """Make `prepared`, which every case copies, with all that a training reads, and beside it the unbroken runs.

    Raises PipelineError where even that does not end well.
    """
    prepared = folder / "prepared"
    shutil.rmtree(folder, ignore_errors=True)
    load_libraries()
    prepared.mkdir(parents=True)
    write_recipe(Context(work=prepared, data=prepared / "toy", recipe=toy_recipe(), tracking=""))
    _must(prepared, crem, seconds, "run", "--until", "measure")
    for num_ranks, name in UNBROKEN.items():
        _must(copied(prepared, folder / name), crem, seconds, "train", num_ranks=num_ranks)


def load_libraries() -> None:
    """Import what the forked commands will, so that none of them does: it takes longer than all that they do."""
    load_server()
    for name in LIBRARIES:
        importlib.import_module(name)


def _must(work: Path, crem: Command, seconds: float, *words: str, num_ranks: int = 1) -> None:
    scene = Scene(work=work, rng=random.Random(0), crem=crem, seconds=seconds, num_ranks=num_ranks)
    if scene.finish(*scene.start_ranks(*words)):
        raise PipelineError(f"crem {' '.join(words)} failed without any fault; {scene.log} says why")


def drill(folder: Path, crem: Command, *, kinds: Sequence[str], each: int, seed: int, seconds: float) -> Iterator[Outcome]:
    """Every kind of fault so many times, round after round; each case may take `seconds`."""
    prepare(folder, crem, 10 * seconds)
    for number, kind in enumerate(kind for _ in range(each) for kind in kinds):
        yield _case(number, kind, folder, crem, seed=seed, seconds=seconds)


def _case(number: int, kind: str, folder: Path, crem: Command, *, seed: int, seconds: float) -> Outcome:
    begun = time.monotonic()
    work = copied(folder / "prepared", folder / f"case-{number:03d}")
    scene = Scene(work=work, rng=random.Random(f"{seed} {number} {kind}"), crem=crem, seconds=seconds)
    tries, code = 0, 1
    try:
        FAULTS[kind](scene)
        while code and tries < TRIES:
            tries += 1
            code = scene.finish(*scene.start_ranks(*scene.again))
        wrong = difference(work, folder / UNBROKEN[scene.num_ranks]) if code == 0 else ""
        verdict = (wrong or EQUAL) if code == 0 else ONE_LINE if _is_one_line(scene.log) else f"exit code {code}"
    except HangError:
        verdict = HANG
    finally:
        scene.clear()
    outcome = Outcome(
        number=number,
        kind=kind,
        moment=scene.moment,
        verdict=verdict,
        tries=tries,
        seconds=time.monotonic() - begun,
        said=_last_error(scene.log),
    )
    if outcome.is_good:
        shutil.rmtree(work)
    return outcome


def _is_one_line(log: Path) -> bool:
    """Whether the last command ended with one line of its own, and no traceback came after the line before."""
    lines = log.read_text(errors="replace").strip().splitlines()
    return bool(lines) and lines[-1].startswith("error: ") and "Traceback (most recent call last):" not in lines


def _last_error(log: Path) -> str:
    """The last line that begins with `error:`; empty where nothing did."""
    lines = re.findall(r"^error: .*$", log.read_text(errors="replace") if log.exists() else "", re.MULTILINE)
    return lines[-1] if lines else ""


def table(outcomes: Sequence[Outcome]) -> str:
    """A Markdown table of all faults."""
    rows = [
        f"| {each.number} | {each.kind} | {each.moment} | {each.verdict} | {each.tries} | {each.seconds:.0f} |"
        for each in outcomes
    ]
    head = ["| | fault | when | ended | commands after it | s |", "|---|---|---|---|---|---|"]
    return "\n".join([*head, *rows])
