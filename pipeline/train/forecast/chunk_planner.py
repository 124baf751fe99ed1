"""What `auto` makes of a phase's chunks: the size that suits the device, and as many kept graphs as it has room for.

A chunk of a few thousand tokens already fills a GPU, so memory that is left goes to graphs, each of which saves a replay. Under
ZeRO-3, which keeps none, it goes to larger chunks: every pass over one gathers all weights.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from pipeline.chunk_budget import ChunkBudget
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.train.forecast.assumed_rows import Assumed
from pipeline.train.forecast.forecast import RESERVE, SLACK, Memory, memory_of
from pipeline.train.forecast.gpus import Gpu
from pipeline.train.forecast.trace import outline_embedder

GPU_TOKENS, GATHERED_TOKENS = 12_288, 49_152
"""Where the search begins on a GPU, and under ZeRO-3 there."""
CPU_TOKENS = 2_048
"""On a CPU larger chunks are slower: they leave its caches (docs/benchmarks.md)."""
FORECAST_SHARE, MEASURED_SHARE = 0.8, 0.9
"""Of the room, how much is given away by the forecast alone, and once a peak was measured: later steps have other rows."""
LEAST_FACTOR = 0.75
"""First steps that took less than this share of their forecast are taken for this: their chunks were not the worst."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Room:
    """The `size` in bytes that one rank may take of a device of some `kind`."""

    kind: str
    size: int
    is_gpu: bool

    @staticmethod
    def of(gpu: Gpu) -> "Room":
        """A GPU that nothing else is on."""
        return Room(kind=gpu.name, size=gpu.memory - RESERVE, is_gpu=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class FirstSteps:
    """What one rank saw: the most bytes allocated, those between two steps, the most chunks in a step, and its room."""

    peak: int
    resting: int
    chunks: int
    size: int


class ChunkPlanner:
    """Chooses the chunks of a recipe's phase on so many ranks, for pictures of `visual` tokens: at most, where none are said."""

    def __init__(self, folder: Path, recipe: Recipe, num_ranks: int, *, visual: int | None = None) -> None:
        """Raises PipelineError for a foreign model folder."""
        self.recipe, self.num_ranks, self.visual = recipe, num_ranks, visual or recipe.pixels.max_tokens
        self.asked = recipe.phase
        self._embedder = outline_embedder(folder, recipe)
        self._traced: dict[int, Memory] = {}

    def choose(self, room: Room) -> ChunkBudget:
        """The largest chunk of which the wanted graphs fit, and the graphs. Where nothing fits, the least there is."""
        size, wanted = int(FORECAST_SHARE * room.size), 1 if isinstance(self.asked.kept_chunks, str) else self.asked.kept_chunks
        tokens = 0
        for tokens in self._sizes(room):
            if self._graphs(tokens, size) >= max(1, wanted):
                break
        return ChunkBudget(tokens=tokens, kept=self._kept(self._graphs(tokens, size)))

    def recipe_on(self, gpu: Gpu) -> Recipe:
        """The recipe with what is chosen on such a GPU."""
        budget = self.choose(Room.of(gpu))
        return self.recipe.with_phase(chunk_tokens=budget.tokens, kept_chunks=budget.kept)

    def corrected(self, budget: ChunkBudget, seen: Sequence[FirstSteps]) -> ChunkBudget:
        """The chunks after the first steps: the forecast times what they took of it, on the rank that has the least room."""
        step = self._memory(budget.tokens).step
        graph = step.activations + step.tower
        factors = [
            (each.peak - each.resting) / (step.total + (max(1, min(budget.kept, each.chunks)) - 1) * graph) for each in seen
        ]
        free = min(int(MEASURED_SHARE * each.size) - each.resting for each in seen) / max(LEAST_FACTOR, *factors)
        return replace(budget, kept=self._kept(int((free - step.features - step.passing) // graph)))

    def _sizes(self, room: Room) -> Iterator[int]:
        """Tokens to try, largest first: halves, down to the longest row, which is a chunk of its own in any case."""
        if isinstance(self.asked.chunk_tokens, int):
            yield self.asked.chunk_tokens
            return
        tokens = (GATHERED_TOKENS if self.asked.zero_stage == 3 else GPU_TOKENS) if room.is_gpu else CPU_TOKENS
        while tokens > self.recipe.max_length:
            yield tokens
            tokens //= 2
        yield self.recipe.max_length

    def _graphs(self, tokens: int, size: int) -> int:
        """How many graphs of chunks exist at once in so many bytes; 0 where a step, a look or a checkpoint does not fit."""
        memory = self._memory(tokens)
        free, step = (size - memory.state.total) / (1 + SLACK), memory.step
        if max(step.total, memory.look, memory.checkpoint) > free:
            return 0
        return int((free - step.features - step.passing) // (step.activations + step.tower))

    def _kept(self, graphs: int) -> int:
        """Of so many graphs at once, the kept ones. One takes no more than none; more than there are rows are never made."""
        if isinstance(self.asked.kept_chunks, int):
            return self.asked.kept_chunks
        return 0 if self.asked.zero_stage == 3 else max(1, min(graphs, _rows(self.asked)))

    def _memory(self, tokens: int) -> Memory:
        """The forecast of chunks of so many tokens, none of them kept."""
        if tokens not in self._traced:
            recipe = self.recipe.with_phase(chunk_tokens=tokens, kept_chunks=0)
            assumed = Assumed(recipe=recipe, visual=self.visual, rule=self._embedder.visual_tokens.rule)
            self._traced[tokens] = memory_of(self._embedder, assumed, assumed.steps(self.num_ranks))
        return self._traced[tokens]


def _rows(phase: Phase) -> int:
    """Sequences of a global batch, at most."""
    return phase.mixture.pairs * (2 + phase.negatives.most) + phase.mixture.outside
