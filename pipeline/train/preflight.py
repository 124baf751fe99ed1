"""Before a run: what it will take of each GPU's memory, of FLOPs and of hours, from a recipe and a model's config alone."""

from dataclasses import dataclass
from math import ceil
from pathlib import Path

from pipeline.errors import ConfigError
from pipeline.model.embedder import Embedder
from pipeline.recipe import Phase, Recipe
from pipeline.train.gpus import GIB, Gpu
from pipeline.train.preflight_memory import StateBytes, Weights, state_bytes
from pipeline.train.preflight_rows import Assumed
from pipeline.train.preflight_trace import ChunkCost, chunk_cost, outline_embedder, tower_flops

RESERVE = 2 * GIB
"""Left to the driver's context, NCCL and fragments of the allocator."""
UTILISATION = 0.4
"""Share of the peak that the hours assume; nothing was measured on such a GPU yet."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Memory:
    """Bytes by part on each GPU; `passing` exists for a moment: logits, a layer that runs again, embeddings and scores."""

    state: StateBytes
    activations: int
    features: int
    passing: int

    @property
    def parts(self) -> dict[str, int]:
        """Every part by name."""
        return {
            "weights": self.state.weights,
            "gradients": self.state.gradients,
            "optimizer": self.state.optimizer,
            "DeepSpeed's buffers": self.state.buffers,
            "activations": self.activations,
            "feature cache": self.features,
            "passing": self.passing,
        }

    @property
    def total(self) -> int:
        """All parts."""
        return sum(self.parts.values())


@dataclass(frozen=True, slots=True, kw_only=True)
class Work:
    """FLOPs of a global batch: `model` counts what the gradient needs once, `hardware` replays and repeated towers too."""

    model: float
    hardware: float
    tokens: int
    chunks: int


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
    def hours(self) -> float:
        """Of the whole phase."""
        return self.seconds * self.recipe.phases[0].steps / 3600

    @property
    def pairs_per_second(self) -> float:
        """On one GPU: what its loaders must deliver."""
        return self.recipe.phases[0].mixture.pairs / self.seconds / self.num_gpus

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


_ADVICE = {
    "activations": "lower phases.0.chunk_tokens or phases.0.kept_chunks, or set phases.0.gradient_checkpointing=true",
    "passing": "lower phases.0.chunk_tokens",
    "feature cache": "set phases.0.features=host or recomputed, or take more GPUs",
    "weights": "set phases.0.zero_stage=3, or take GPUs with more memory",
}


def _advice(part: str, forecast: Forecast) -> str:
    return _ADVICE.get(part, f"raise phases.0.zero_stage from {forecast.recipe.phases[0].zero_stage}, or take more GPUs")


def forecast(folder: Path, recipe: Recipe, gpu: Gpu, num_gpus: int, *, visual: int) -> Forecast:
    """Forecast a run on GPUs of one kind, where every picture has `visual` tokens. Raises PipelineError for a foreign folder."""
    phase = recipe.phases[0]
    embedder = outline_embedder(folder, recipe)
    assumed = Assumed(recipe=recipe, visual=visual)
    cost = chunk_cost(embedder, assumed.chunk(phase.chunk_tokens), recipe)
    weights, work = Weights.of(embedder), batch_work(embedder, assumed, cost, num_gpus)
    memory = Memory(
        state=state_bytes(weights, phase, num_gpus),
        activations=cost.saved * (min(phase.kept_chunks, work.chunks - 1) + 1),
        features=_feature_bytes(embedder, assumed, num_gpus),
        passing=max(cost.head, cost.layer) + _score_bytes(embedder, phase),
    )
    return Forecast(recipe=recipe, gpu=gpu, num_gpus=num_gpus, weights=weights, memory=memory, work=work)


def batch_work(embedder: Embedder, assumed: Assumed, cost: ChunkCost, num_gpus: int) -> Work:
    """FLOPs of a step: a chunk's, as often as the batch has its tokens, and the tower's for every picture."""
    recipe, phase = assumed.recipe, assumed.recipe.phases[0]
    counted = assumed.counted()
    tokens = sum(len(row.sequence) * number for row, number in counted)
    chunks = ceil(tokens / num_gpus / phase.chunk_tokens)
    replayed = 1 - min(1.0, phase.kept_chunks / chunks)
    first, forward, backward, replay = (
        tokens * flops / cost.tokens for flops in (cost.first, cost.forward, cost.backward, cost.replay)
    )
    pictures = sum(len(row.sequence.grid_thw) * number for row, number in counted)
    towers, trained = pictures * tower_flops(embedder, assumed.visual), recipe.tower == "trained"
    model = forward + backward + towers * (3 if trained else 1)
    again = first * replayed + replay
    tower_again = towers * replayed * (trained or phase.features == "recomputed")
    return Work(model=model, hardware=model + again + tower_again, tokens=tokens, chunks=chunks)


def _feature_bytes(embedder: Embedder, assumed: Assumed, num_gpus: int) -> int:
    """Features of a GPU's share of the batch's pictures, kept from the first pass to the replay."""
    recipe, phase = assumed.recipe, assumed.recipe.phases[0]
    if recipe.tower == "trained" or phase.features != "device":
        return 0
    tokens = sum(len(row.sequence.image_tokens()) * number for row, number in assumed.counted())
    itemsize: int = embedder.backbone.text.embed_tokens.weight.itemsize
    return ceil(tokens / num_gpus) * embedder.width * itemsize


def _score_bytes(embedder: Embedder, phase: Phase) -> int:
    """All embeddings of the batch with their gradient, and three matrices of scores, in float32 on every GPU."""
    mixture = phase.mixture
    candidates = mixture.pairs * (1 + mixture.negatives)
    return 4 * (2 * (mixture.pairs + candidates) * embedder.width + 3 * mixture.pairs * candidates)
