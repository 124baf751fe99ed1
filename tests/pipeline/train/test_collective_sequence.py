"""Every rank calls the same collectives in the same order with the same sizes, whatever its rows: NCCL would hang otherwise."""

import json
from pathlib import Path
from typing import Any

import pytest

from pipeline.train import checkpoint
from tests.pipeline.train.conftest import Forked
from tests.pipeline.train.ranks import PERSISTENT

USUAL = (("frozen", 1), ("frozen", 3), ("trained", 0), ("trained", 2))
"""Towers and ZeRO stages; a frozen one stands beside LoRA in bfloat16."""

MORE = (("frozen", 0), ("frozen", 2), ("trained", 1), ("trained", 3))
"""What slow tests add: together they are every stage."""

PARTS = ("stopped", "resumed")
"""A run that a signal to the last rank ends after its second step, and the same taken up again."""

SECONDS = 240.0
"""Ranks that wait for one another for ever are killed then."""

Calls = dict[str, list[list[str]]]
Cases = tuple[tuple[str, int], ...]


def made(usual: Cases, more: Cases) -> list[Any]:
    """Parameters: the fixture that records a case, and the case."""
    slow = [pytest.param("two_more", *case, marks=pytest.mark.slow) for case in more]
    return [*(("two", *case) for case in usual), *slow]


def record(forked: Forked, out: Path, num_ranks: int, cases: Cases, parts: tuple[str, ...], **phase: Any) -> Path:
    """Run all, and leave each rank's calls in files."""
    runs = [(f"{tower}-{stage}", tower, {"zero_stage": stage, **phase}) for tower, stage in cases]
    codes = forked(out, ranks=num_ranks, recorded=runs, parts=parts, log=str(out / "log"), seconds=SECONDS)
    assert codes == [0] * num_ranks, (out / "log-0.txt").read_text()[-3000:]
    return out


@pytest.fixture(scope="module")
def two(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of two ranks."""
    return record(forked, tmp_path_factory.mktemp("two"), 2, USUAL, PARTS)


@pytest.fixture(scope="module")
def two_more(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return record(forked, tmp_path_factory.mktemp("two-more"), 2, MORE, PARTS)


@pytest.fixture(scope="module")
def four(forked: Forked, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Calls of four ranks, in runs of one step."""
    return record(forked, tmp_path_factory.mktemp("four"), 4, (*USUAL, *MORE), ("whole",), steps=1)


def calls(out: Path, name: str, part: str, rank: int = 0) -> Calls:
    found: Calls = json.loads((out / f"{name}-{part}-{rank}.json").read_text())
    return found


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize(("fixture", "tower", "stage"), made(USUAL, MORE))
def test_two_ranks_call_alike(request: pytest.FixtureRequest, fixture: str, tower: str, stage: int, part: str) -> None:
    """Start, steps (in the first of which one rank has all pictures), looks, checkpoints, a stop on a signal, and the end."""
    two, name = request.getfixturevalue(fixture), f"{tower}-{stage}"
    found = calls(two, name, part)
    assert found == calls(two, name, part, 1)
    doing = {f"{step} {word}" for step in ((1, 2) if part == "stopped" else (3,)) for word in ("reading", "training", "saving")}
    look = "2 evaluating" if part == "stopped" else "3 evaluating"
    assert {*doing, look} <= set(found) and ("0 resuming" in found) == (part == "resumed")


@pytest.mark.slow
@pytest.mark.parametrize(("tower", "stage"), [*USUAL, *MORE])
def test_four_ranks_call_alike(four: Path, tower: str, stage: int) -> None:
    """A step of which three of them have no picture, a look, a checkpoint and the end."""
    name = f"{tower}-{stage}"
    first = calls(four, name, "whole")
    assert {"1 reading", "1 training", "1 evaluating", "1 saving"} <= set(first)
    assert [calls(four, name, "whole", rank) for rank in (1, 2, 3)] == [first] * 3


def whole(cases: Cases) -> Cases:
    """Those at whose stage gradients are not split over the ranks, or not before they are added up."""
    return tuple((tower, stage) for tower, stage in cases if stage < 3)


def elements(call: list[str]) -> int:
    return int(call[1].split()[0])


@pytest.mark.parametrize(("fixture", "tower", "stage"), made(whole(USUAL), whole(MORE)))
def test_gradients_are_reduced_once_a_step_where_they_are_whole(
    request: pytest.FixtureRequest, fixture: str, tower: str, stage: int
) -> None:
    """A step's sum at stages 0 and 1, each of three chunks' at stage 2: docs/decisions/031-reduced-once-a-step.md."""
    two = request.getfixturevalue(fixture)
    saved = checkpoint.weights(two / f"{tower}-{stage}" / "checkpoints" / "step-00000003")
    trained = sum(tensor.numel() for tensor in saved.values())
    step = calls(two, f"{tower}-{stage}", "stopped")["2 training"]
    assert sum(call[0] == "all_reduce" and elements(call) == trained for call in step) == (3 if stage == 2 else 1)


def test_small_weights_are_gathered_once_a_step_under_zero_3(two: Path) -> None:
    """After the optimizer moved, however many chunks there are: in each of two layers two norms, three biases, q, k, v, o and
    their eight matrices of LoRA; the last norm and the compression rows. The MLP and the table are gathered for each use.
    """
    step = calls(two, "frozen-3", "stopped")["2 training"]
    sizes = [elements(call) for call in step if call[0].startswith("all_gather")]
    assert sum(size <= PERSISTENT for size in sizes) == 2 * (2 + 3 + 4 + 8) + 2 < len(sizes)
