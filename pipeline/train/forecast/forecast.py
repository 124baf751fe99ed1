"""Before a run: what it will take of each GPU's memory, of FLOPs and of hours, from a recipe and a model's config alone."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import ceil
from pathlib import Path

from pipeline.batch import Batch
from pipeline.errors import ConfigError
from pipeline.model.embedder import Embedder
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.train.dataloader.step_work import Chunk
from pipeline.train.flops import Cost, Flops
from pipeline.train.forecast.assumed_rows import Assumed
from pipeline.train.forecast.gpus import GIB, Gpu
from pipeline.train.forecast.memory import FLOAT32, StateBytes, Weights, state_bytes
from pipeline.train.forecast.trace import ChunkBytes, chunk_bytes, outline_embedder
from pipeline.train.held_out import num_due

RESERVE = 2 * GIB
"""Left to the driver's context and NCCL."""
SLACK = 0.05
"""Share of what a step allocates and frees that the allocator is assumed to lose between its blocks (not measured)."""
UTILISATION = 0.4
"""Share of the peak that the hours assume; nothing was measured on such a GPU yet."""
SAVED_BYTES = 12
"""Of a trained weight in a checkpoint: the weight and both moments in float32."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Moment:
    """What exists for a while beside the state of training.

    `activations` are the language model's, `tower` a trained tower's, both of all graphs that exist at once; `passing` are
    logits or a layer that runs again, embeddings and scores.
    """

    activations: int = 0
    tower: int = 0
    features: int = 0
    passing: int = 0

    @property
    def total(self) -> int:
        """All of it."""
        return self.activations + self.tower + self.features + self.passing


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by part on each GPU: the state, and the largest of the moments: a `step`, a held-out `look`, a `checkpoint`.

    `host` are bytes in the memory of rank 0's host while a checkpoint is written.
    """

    state: StateBytes
    step: Moment
    look: int = 0
    checkpoint: int = 0
    host: int = 0

    @property
    def parts(self) -> dict[str, int]:
        """Every part by name."""
        largest = max(self.step.total, self.look, self.checkpoint)
        return {
            "weights": self.state.weights,
            "gradients": self.state.gradients,
            "optimizer": self.state.optimizer,
            "DeepSpeed's buffers": self.state.buffers,
            "activations": self.step.activations,
            "tower's activations": self.step.tower,
            "feature cache": self.step.features,
            "passing": self.step.passing,
            "more than a step": largest - self.step.total,
            "allocator's slack": ceil(SLACK * largest),
        }

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """FLOPs of a global batch: `model` counts what the gradient needs once, `hardware` replays and repeated towers too.

    `look` are those of a look at the held-out slice on the GPU that has most of them to do.
    """

    model: float
    hardware: float
    tokens: int
    chunks: int
    look: float = 0.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Forecast:
    """What a run takes. `work` is of one step over all GPUs; its chunks are those of one GPU."""

    recipe: Recipe
    gpu: Gpu
    num_gpus: int
    weights: Weights
    memory: Memory
    work: Work

    @property
    def seconds(self) -> float:
        """Of a step, at the assumed utilisation."""
        return self.work.hardware / (self.num_gpus * self.gpu.peak * UTILISATION)

    @property
    def look_seconds(self) -> float:
        """Of a look at the held-out slice."""
        return self.work.look / (self.gpu.peak * UTILISATION)

    @property
    def num_looks(self) -> int:
        """Looks at the held-out slice in the whole phase."""
        return num_due(self.recipe.phase)

    @property
    def hours(self) -> float:
        """Of the whole phase: steps and looks."""
        return (self.seconds * self.recipe.phase.steps + self.look_seconds * self.num_looks) / 3600

    @property
    def pairs_per_second(self) -> float:
        """On one GPU: what its loaders must deliver."""
        return self.recipe.phase.mixture.pairs / self.seconds / self.num_gpus

    def refuse_misfit(self) -> None:
        """Raise ConfigError, in one line, when a GPU's memory does not do."""
        memory, room = self.memory, self.gpu.memory - RESERVE
        if memory.total <= room:
            return
        largest = max(memory.parts, key=lambda part: memory.parts[part])
        raise ConfigError(
            f"{self.recipe.name} needs {memory.total / GIB:.1f} GiB on each of {self.num_gpus} {self.gpu.name} and there are "
            f"{room / GIB:.1f}; most of it is {largest}, {memory.parts[largest] / GIB:.1f} GiB: {_advice(largest, self)}"
        )


_SMALLER = "lower phases.0.chunk_tokens or phases.0.kept_chunks, or set phases.0.gradient_checkpointing=true"
_ADVICE = {
    "activations": _SMALLER,
    "tower's activations": f"{_SMALLER}, or lower pixels.max_tokens, or set phases.0.tower=frozen",
    "passing": "lower phases.0.chunk_tokens",
    "feature cache": "set phases.0.features=host or recomputed, or take more GPUs",
    "weights": "set phases.0.zero_stage=3, or take GPUs with more memory",
}


def _advice(part: str, forecast: Forecast) -> str:
    return _ADVICE.get(part, f"raise phases.0.zero_stage from {forecast.recipe.phase.zero_stage}, or take more GPUs")


def forecast(folder: Path, recipe: Recipe, gpu: Gpu, num_gpus: int, *, visual: int) -> Forecast:
    """Forecast a run on GPUs of one kind, where every picture has `visual` tokens. Raises PipelineError for a foreign folder.

    No `auto` may be left in the phase: pipeline.train.forecast.chunk_planner chooses.
    """
    embedder = outline_embedder(folder, recipe)
    assumed = Assumed(recipe=recipe, visual=visual, rule=embedder.visual_tokens.rule)
    steps = assumed.steps(num_gpus)
    cost, memory = Cost.of(embedder), memory_of(embedder, assumed, steps)
    look = max(cost.look(chunks, recipe.phase) for chunks in assumed.looks(num_gpus))
    work = replace(batch_work(cost, assumed, steps), look=look)
    return Forecast(recipe=recipe, gpu=gpu, num_gpus=num_gpus, weights=Weights.of(embedder), memory=memory, work=work)


def memory_of(embedder: Embedder, assumed: Assumed, steps: Sequence[Sequence[Chunk]]) -> Memory:
    """What each rank needs; `steps` are the chunks of each."""
    recipe, weights = assumed.recipe, Weights.of(embedder)
    worst = worst_chunk(embedder, recipe, steps)
    return Memory(
        state=state_bytes(weights, recipe.phase, len(steps)),
        step=step_bytes(embedder, assumed, worst, steps),
        look=_look_bytes(embedder, worst, recipe.phase),
        checkpoint=max(weights.trained, default=0) * FLOAT32,
        host=sum(weights.trained) * SAVED_BYTES,
    )


def batch_work(cost: Cost, assumed: Assumed, steps: Sequence[Sequence[Chunk]]) -> Work:
    """FLOPs of a step of all ranks, by the count that the log of a run takes."""
    total = sum((cost.step(chunks, assumed.recipe.phase) for chunks in steps), Flops(model=0.0, hardware=0.0))
    tokens = sum(len(row.sequence) * number for row, number in assumed.counted())
    return Work(model=total.model, hardware=total.hardware, tokens=tokens, chunks=max(map(len, steps)))


def step_bytes(embedder: Embedder, assumed: Assumed, worst: ChunkBytes, steps: Sequence[Sequence[Chunk]]) -> Moment:
    """The most that a step needs beside its state: as many graphs of its worst chunk as exist at once."""
    phase = assumed.recipe.phase
    # The kept graphs are freed one after another before a replay makes the next, so one alone takes no more than none.
    graphs = max(1, min(phase.budget.kept, max(map(len, steps))))
    layer = max(worst.text_layer, worst.tower_layer) if phase.gradient_checkpointing else 0
    return Moment(
        activations=worst.text * graphs,
        tower=worst.tower * graphs,
        features=_feature_bytes(embedder, assumed, len(steps)),
        passing=max(worst.head, layer) + _score_bytes(embedder, assumed.recipe),
    )


def worst_chunk(embedder: Embedder, recipe: Recipe, steps: Sequence[Sequence[Chunk]]) -> ChunkBytes:
    """The chunk whose graph keeps most: of those with the most tokens, the most places in attention and the most patches."""
    chunks = [chunk.full for step in steps for chunk in step]
    counts: list[Callable[[Batch], int]] = [lambda batch: len(batch.input_ids), lambda batch: len(batch.spans.gather)]
    counts += [lambda batch: int(batch.grid_thw.prod(dim=-1).sum())] if recipe.phase.tower == "trained" else []
    candidates = {id(batch): batch for batch in (max(chunks, key=count) for count in counts)}
    return max((chunk_bytes(embedder, batch, recipe) for batch in candidates.values()), key=lambda found: found.kept)


def _look_bytes(embedder: Embedder, worst: ChunkBytes, phase: Phase) -> int:
    """A held-out chunk as full as a step's, without a graph: one layer's tensors at a time, or logits.

    The chunk's visual features, at most one a token, wait for the second pass.
    """
    if not phase.held_out:
        return 0
    features = phase.budget.tokens * _feature_bytes_each(embedder)
    return max(worst.text_layer, worst.tower_layer, worst.head) + features


def _feature_bytes(embedder: Embedder, assumed: Assumed, num_gpus: int) -> int:
    """Features of a GPU's share of the batch's pictures, kept from the first pass to the replay."""
    phase = assumed.recipe.phase
    if phase.tower == "trained" or phase.features != "device":
        return 0
    tokens = sum(len(row.sequence.image_tokens()) * number for row, number in assumed.counted())
    return ceil(tokens / num_gpus) * _feature_bytes_each(embedder)


def _feature_bytes_each(embedder: Embedder) -> int:
    """Of one visual token's features, of all levels."""
    itemsize: int = embedder.backbone.text.embed_tokens.weight.itemsize
    return embedder.width * embedder.backbone.tower_shape.levels * itemsize


def _score_bytes(embedder: Embedder, recipe: Recipe) -> int:
    """All embeddings of the batch with their gradient, and three matrices of scores of each number of tokens, in float32."""
    mixture, numbers = recipe.phase.mixture, max(1, len(recipe.tokens.elastic))
    candidates = mixture.pairs * (1 + recipe.phase.negatives.most)
    return 4 * numbers * (2 * (mixture.pairs + candidates) * embedder.width + 3 * mixture.pairs * candidates)
