"""The chunks of a run whose phase says `auto`: chosen once, corrected once by the first steps' peak, repeated on resume."""

import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
import torch.distributed as dist

from pipeline.chunk_budget import AUTO, ChunkBudget
from pipeline.manifest import write_atomic
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.train.collectives import of_all_ranks
from pipeline.train.forecast.chunk_planner import ChunkPlanner, FirstSteps, Room
from pipeline.train.forecast.forecast import RESERVE
from pipeline.train.forecast.gpus import GIB
from pipeline.train.node import Node

logger = logging.getLogger(__name__)

FIRST_STEPS = 3
"""Steps after which a GPU's peak is looked at: by then optimizer and allocator have all that they need."""

_ASKED = ("chunk_tokens", "kept_chunks", "zero_stage", "features", "gradient_checkpointing")
"""What a choice depends on in a phase, of the values that a resumed run may change."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Choice:
    """The chunks of a run: `tokens`, and from which step on how many are `kept`; `due` where a correction is to come.

    `made_for` are the device, the number of ranks and what the recipe asked for: for others it does not hold.
    """

    made_for: Mapping[str, object]
    tokens: int
    kept: tuple[tuple[int, int], ...]
    due: bool

    def at(self, step: int) -> ChunkBudget:
        """The chunks of a step."""
        kept = [number for begin, number in self.kept if begin <= step]
        return ChunkBudget(tokens=self.tokens, kept=kept[-1])


class RunChunks:
    """Every rank makes one and calls its methods at the same places; rank 0 chooses, and writes `file`."""

    def __init__(self, file: Path, model: Path, recipe: Recipe, node: Node) -> None:
        self._file, self._model, self._recipe = file, model, recipe
        self._asked = recipe.phase
        self._seen, self._chunks = 0, 0
        self._choice: Choice | None = None
        if AUTO in (self._asked.chunk_tokens, self._asked.kept_chunks):
            self._room = min(of_all_ranks([room_of(node)]), key=lambda room: room.size)
            self._choice = of_all_ranks([self._repeated() or self._chosen() if dist.get_rank() == 0 else None])[0]

    def at(self, step: int) -> Phase:
        """The phase at a step, with numbers for its chunks."""
        if self._choice is None:
            return self._asked
        budget = self._choice.at(step)
        return replace(self._asked, chunk_tokens=budget.tokens, kept_chunks=budget.kept)

    @property
    def recipe(self) -> Recipe:
        """The recipe with the numbers of the first step: what is packed depends on `chunk_tokens`, which stays."""
        first = self.at(0)
        return self._recipe.with_phase(chunk_tokens=first.chunk_tokens, kept_chunks=first.kept_chunks)

    def look(self, step: int, num_chunks: int) -> None:
        """After a step of so many chunks on this rank: once the first ones are done, correct the choice by their peak."""
        self._seen, self._chunks = self._seen + 1, max(self._chunks, num_chunks)
        if self._choice is None or not self._choice.due or FIRST_STEPS not in (self._seen, step + 1):
            return
        peak, resting = gpu_bytes()
        seen = of_all_ranks([FirstSteps(peak=peak, resting=resting, chunks=self._chunks, size=self._room.size)])
        self._choice = of_all_ranks([self._corrected(self._choice, step + 1, seen) if dist.get_rank() == 0 else None])[0]

    @cached_property
    def _planner(self) -> ChunkPlanner:
        return ChunkPlanner(self._model, self._recipe, dist.get_world_size())

    @property
    def _made_for(self) -> Mapping[str, object]:
        asked = {name: getattr(self._asked, name) for name in _ASKED}
        return {"device": self._room.kind, "ranks": dist.get_world_size(), **asked}

    def _repeated(self) -> Choice | None:
        """The choice in the file, where it was made for the same."""
        try:
            fields = json.loads(self._file.read_text())
            kept = tuple((int(begin), int(number)) for begin, number in fields.pop("kept"))
            found = Choice(kept=kept, **fields)
            before = dict(found.made_for)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            logger.warning("%s: not read (%s); chunks are chosen anew", self._file, type(error).__name__)
            return None
        other = [f"{name} {before.get(name)} -> {value}" for name, value in self._made_for.items() if before.get(name) != value]
        if other:
            logger.warning("chunks are chosen anew, not as in %s: %s", self._file, ", ".join(other))
            return None
        return found

    def _chosen(self) -> Choice:
        budget = self._planner.choose(self._room)
        can_be_corrected = self._room.is_gpu and self._asked.kept_chunks == AUTO and self._asked.zero_stage != 3
        choice = Choice(made_for=self._made_for, tokens=budget.tokens, kept=((0, budget.kept),), due=can_be_corrected)
        return self._written(choice)

    def _corrected(self, choice: Choice, step: int, seen: list[FirstSteps]) -> Choice:
        before = choice.at(step)
        kept = self._planner.corrected(before, seen).kept
        peak = max(each.peak for each in seen) / GIB
        logger.info(
            "the first steps took %.1f GiB at most: kept_chunks %d -> %d from step %d on", peak, before.kept, kept, step + 1
        )
        return self._written(replace(choice, kept=(*choice.kept, (step, kept)), due=False))

    def _written(self, choice: Choice) -> Choice:
        write_atomic(self._file, json.dumps(asdict(choice), indent=1) + "\n")
        return choice


def room_of(node: Node) -> Room:
    """What this rank may take: of its GPU what is free, less a reserve, else its share of half of the host's memory."""
    if torch.cuda.is_available():
        free, _ = torch.cuda.mem_get_info()
        return Room(kind=torch.cuda.get_device_name(), size=free - RESERVE, is_gpu=True)
    return Room(kind="cpu", size=node.host_bytes // 2 // node.num_ranks, is_gpu=False)


def gpu_bytes() -> tuple[int, int]:
    """The most bytes that this process ever allocated on its GPU, and those of now."""
    return torch.cuda.max_memory_allocated(), torch.cuda.memory_allocated()
