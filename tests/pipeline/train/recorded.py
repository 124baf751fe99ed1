"""What ranks ask of one another, recorded: the collectives of a run in the order of their calls, by what the run was doing.

NCCL has no names: a rank that leaves one out, or calls it with another size, hangs the run or takes part in another one.
"""

import json
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import wraps
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
from torch.distributed import distributed_c10d

from pipeline.model.adapters import Full, LoRA
from pipeline.recipe import Recipe
from pipeline.train.dataloader.held_out_work import HELD_OUT, HeldOutWork
from pipeline.train.dataloader.step_dataset import StepDataset
from pipeline.train.dataloader.step_work import StepWork
from pipeline.train.engine import Engine
from pipeline.train.fault_tolerance.watchdog import Watchdog
from tests.pipeline.corpus import small_recipe
from tests.pipeline.train.ranks import by_pictures

COLLECTIVES = (
    "_all_gather_base _reduce_scatter_base all_gather all_gather_coalesced all_gather_into_tensor all_gather_object "
    "all_gather_single all_reduce all_reduce_coalesced all_to_all all_to_all_single barrier batch_isend_irecv broadcast "
    "broadcast_object_list gather gather_object irecv isend monitored_barrier new_group recv recv_object_list reduce "
    "reduce_scatter reduce_scatter_single reduce_scatter_tensor scatter scatter_object_list send send_object_list"
).split()

Call = list[str]
"""Name, the elements and type of each tensor that it is given, and how they are combined."""


class Recorder:
    """Notes each collective of this process from now on; those that torch makes of others are not noted.

    There is no way back: DeepSpeed keeps some of torch's functions, so a rank's process has one recorder for its life.
    """

    def __init__(self) -> None:
        self.calls: dict[str, list[Call]] = {}
        self.doing = ""
        self._is_inside = False
        for name in COLLECTIVES:
            noting = self._noting(name, getattr(distributed_c10d, name))
            setattr(dist, name, noting)
            setattr(distributed_c10d, name, noting)
        beat = Watchdog.beat

        def note(watch: Watchdog, step: int, doing: str) -> None:
            self.doing = f"{step} {doing}"
            beat(watch, step, doing)

        Watchdog.beat = note  # type: ignore[method-assign]

    def _noting(self, name: str, whole: Callable[..., Any]) -> Callable[..., Any]:
        @wraps(whole)
        def call(*given: Any, **named: Any) -> Any:
            if self._is_inside:
                return whole(*given, **named)
            self.calls.setdefault(self.doing, []).append([name, *shapes_of([*given, *named.values()])])
            self._is_inside = True
            try:
                return whole(*given, **named)
            finally:
                self._is_inside = False

        return call

    @contextmanager
    def writing(self, file: Path) -> Iterator[None]:
        """The block's calls, by what the heartbeat says is being done, go to a file."""
        self.calls, self.doing = {}, "start"
        try:
            yield
        finally:
            file.write_text(json.dumps(self.calls))


def shapes_of(given: list[Any]) -> Iterator[str]:
    """What a call is given, without the values: elements and types of tensors, and the operation; objects may differ in size."""
    for value in given:
        if isinstance(value, torch.Tensor):
            yield f"{value.numel()} {value.dtype}"
        elif isinstance(value, (list, tuple)) and value and all(isinstance(part, torch.Tensor) for part in value):
            yield from shapes_of(list(value))
        elif isinstance(value, dist.ReduceOp.RedOpType | dist.ReduceOp):
            yield str(value)


def recipe_of(tower: str, **phase: Any) -> Recipe:
    """All weights in float32, the tower's too, or, as in the paper, LoRA beside a frozen tower in bfloat16."""
    due = {"steps": 3, "chunk_tokens": 250, "checkpoint_every": 1, "evaluate_every": 2, "held_out": 4}
    if tower == "trained":
        return small_recipe(**{**due, "tower": "trained", "adapter": Full(), **phase})
    return small_recipe(**{**due, "tower": "frozen", "adapter": LoRA(rank=2, alpha=4), "dtype": "bfloat16", **phase})


def pictures_apart(dataset: StepDataset, step: int) -> StepWork | HeldOutWork:
    """The first step's rows with pictures on rank 0 alone; later steps, and the held-out rows, as they are dealt."""
    if step == HELD_OUT:
        return dataset.held_out_work()
    return by_pictures(dataset, step) if step == 0 else dataset.work(dataset.draw(step), step)


def stopping(train_step: Callable[..., Any]) -> Callable[..., Any]:
    """A step at whose second call this process is asked to stop, if it is the last rank."""
    taken = [0]

    def step(engine: Engine, *rest: Any) -> Any:
        taken[0] += 1
        if taken[0] == 2 and engine.rank == engine.num_ranks - 1:
            os.kill(os.getpid(), signal.SIGTERM)
        return train_step(engine, *rest)

    return step
