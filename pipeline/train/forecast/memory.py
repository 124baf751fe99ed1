"""Bytes of weights, gradients and optimizer on each GPU at every ZeRO stage, as DeepSpeed lays them out under our engine.

What is counted is what was found by looking at the tensors of a run: tests/pipeline/train/forecast/test_forecast.py looks again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil

from pipeline.model.embedder import Embedder
from pipeline.phase import Phase
from pipeline.train.engine import BUCKET, deepspeed_config, zero_stage

FLOAT32 = 4
ALIGNMENT = 2
"""DeepSpeed pads the trained weights, laid out flat, to a multiple of this many elements a rank."""
_PERSISTENT = "stage3_param_persistence_threshold"
LIVE = 1_000_000_000
"""Elements of weights that ZeRO-3 holds gathered at once, at most, where its JSON says nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """Numbers of elements of each tensor: `trained` and `frozen` ones of the module that DeepSpeed wraps, and those `outside`."""

    trained: Sequence[int]
    frozen: Sequence[int]
    outside: Sequence[int]
    itemsize: int

    @staticmethod
    def of(embedder: Embedder) -> "Weights":
        """Those of a model; a frozen tower stays outside of DeepSpeed."""
        tower = {id(weight) for weight in embedder.backbone.tower.parameters() if not weight.requires_grad}
        named = list(embedder.parameters())
        inside = [weight for weight in named if id(weight) not in tower]
        return Weights(
            trained=[weight.numel() for weight in inside if weight.requires_grad],
            frozen=[weight.numel() for weight in inside if not weight.requires_grad],
            outside=[weight.numel() for weight in named if id(weight) in tower],
            itemsize=max(weight.itemsize for weight in named),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class StateBytes:
    """On each of `num_ranks` GPUs. `gradients` are those between two chunks, `buffers` what DeepSpeed stages its transfers in."""

    weights: int
    gradients: int
    optimizer: int
    buffers: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.weights + self.gradients + self.optimizer + self.buffers


def state_bytes(weights: Weights, phase: Phase, num_ranks: int) -> StateBytes:
    """Bytes of the state of training on each GPU."""
    stage, size = zero_stage(phase), weights.itemsize
    flat = ceil(sum(weights.trained) / (ALIGNMENT * num_ranks)) * ALIGNMENT * num_ranks
    # Where whole gradients are reduced, they are copied into one tensor that passes the bucket's size by at most one weight.
    copied = min(sum(weights.trained), BUCKET + max(weights.trained)) * FLOAT32
    if stage == 0:
        trained = sum(weights.trained)
        return StateBytes(
            weights=_whole(weights, trained), gradients=trained * size, optimizer=2 * trained * FLOAT32, buffers=copied
        )
    settings = deepspeed_config(phase, num_ranks, sum(weights.trained))["zero_optimization"]
    bucket = settings["reduce_bucket_size"]
    if stage == 3:
        own = sum(ceil(number / num_ranks) for number in weights.trained)
        inside = own + sum(ceil(number / num_ranks) for number in weights.frozen)
        # Beside a rank's own part of each weight, the small ones stay whole; a lone rank's part is the whole.
        small = [number for number in (*weights.trained, *weights.frozen) if number <= settings[_PERSISTENT]]
        persistent = sum(small) * (num_ranks > 1)
        gathered = min(settings.get("stage3_max_live_parameters", LIVE), sum(weights.trained) + sum(weights.frozen))
        return StateBytes(
            weights=(inside + persistent + sum(weights.outside)) * size,
            gradients=own * FLOAT32,
            optimizer=3 * own * FLOAT32,
            buffers=bucket * FLOAT32 + gathered * size * (num_ranks > 1),
        )
    own = flat // num_ranks
    if stage == 1 and size < FLOAT32:
        # bfloat16 at stage 1 is another class of DeepSpeed's: all gradients in float32, and none that autograd leaves.
        return StateBytes(weights=_whole(weights, flat), gradients=flat * FLOAT32, optimizer=3 * own * FLOAT32, buffers=copied)
    gradients = sum(weights.trained) * size if stage == 1 else own * FLOAT32
    optimizer = 3 * own * FLOAT32
    return StateBytes(weights=_whole(weights, flat), gradients=gradients, optimizer=optimizer, buffers=bucket * size)


def _whole(weights: Weights, trained: int) -> int:
    """Bytes of weights that are whole on each GPU, the trained ones laid out in so many elements."""
    return (trained + sum(weights.frozen) + sum(weights.outside)) * weights.itemsize
