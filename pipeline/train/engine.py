"""The one door to DeepSpeed: ZeRO 0 to 3 around a module, with the accumulation boundary in our hands.

Gradient caching makes several backward passes a step. DeepSpeed must add them up: the boundary is set by hand before each
backward pass, and `scale_wrt_gas=False` keeps it from dividing. At stages 0 and 1 it reduces the sum once a step; at stages 2 and
3 a rank keeps its own part of the gradient alone, so each backward pass is reduced (docs/decisions/031-reduced-once-a-step.md).
It averages over ranks, so losses that are already means over the global batch are multiplied by the number of ranks.
"""

import logging
import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stdout
from io import StringIO
from typing import Any

import deepspeed
import torch
import torch.distributed as dist
from deepspeed.runtime.zero.linear import zero3_linear_wrap
from deepspeed.utils import (
    safe_get_full_fp32_param,
    safe_get_full_grad,
    safe_get_full_optimizer_state,
    safe_set_full_fp32_param,
    safe_set_full_optimizer_state,
)
from torch import nn

from pipeline.batch import Batch, Outputs
from pipeline.errors import StoppedError
from pipeline.model.embedder import Embedder
from pipeline.phase import Phase
from pipeline.train.distributed import PATIENCE, start_process_group
from pipeline.train.own_time import OwnTime
from pipeline.train.vision_features import Inside, Vision, outside

logger = logging.getLogger(__name__)

BUCKET = 500_000_000
"""Elements of gradients, at most, that DeepSpeed collects before it reduces them: its own default."""

PERSISTENT = 100_000
"""Weights of at most so many elements are whole on every rank under ZeRO-3, DeepSpeed's own default: norms, biases and LoRA's
matrices would each be gathered for every use, and their bytes are few."""

_PLAIN_LINEAR = torch.nn.functional.linear

MOMENTS = ("exp_avg", "exp_avg_sq")
"""AdamW's tensors for each weight."""


def _forgo_shared_memory_op() -> None:
    """Keep DeepSpeed from compiling its CPU collective at start (a minute, and it needs a compiler); gloo does the work."""
    import deepspeed.ops

    if "deepspeed_shm_comm" in deepspeed.ops.__compatible_ops__:
        deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False


def _give_own_patience() -> None:
    """Make the copy of the group of all ranks that DeepSpeed reduces in: its own has the backend's patience, ten minutes."""
    from deepspeed.utils import groups

    if groups._WORLD_GROUP is None:
        groups._WORLD_GROUP = dist.new_group(timeout=PATIENCE)


def zero_stage(phase: Phase) -> int:
    """The stage that DeepSpeed runs: 1 for 0 in bfloat16, where its own stage 0 would add chunks up in bfloat16.

    The two differ in where the optimizer's tensors lie, not in numbers.
    """
    return phase.zero_stage or int(phase.dtype == "bfloat16")


def deepspeed_config(phase: Phase, num_ranks: int, trained: int) -> dict[str, Any]:
    """The DeepSpeed JSON of a phase that trains so many elements.

    Chunks are ours, so its own batch arithmetic is one micro-batch a rank.
    """
    zero = {
        "stage": zero_stage(phase),
        "overlap_comm": False,
        "stage3_param_persistence_threshold": PERSISTENT,
        # A buffer of this size is allocated however little is trained.
        "reduce_bucket_size": min(trained, BUCKET),
    }
    config: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": 1,
        "gradient_accumulation_steps": 1,
        "train_batch_size": num_ranks,
        "gradient_clipping": phase.optimizer.clip,
        "zero_allow_untested_optimizer": True,
        "zero_optimization": zero,
        "steps_per_print": 10**9,
    }
    if phase.dtype == "bfloat16":
        # At stage 1 each backward pass must empty what it added, or the next one adds it again.
        config["bf16"] = {"enabled": True, "immediate_grad_update": True}
        # Chunks or ranks added up in bf16 lose about 1 % of the gradient.
        config |= {"data_types": {"grad_accum_dtype": "fp32"}, "communication_data_type": "fp32"}
    return config


@contextmanager
def linear_as_run(phase: Phase) -> Iterator[None]:
    """Inside of the block torch's linear map is that of the phase's runs.

    For ZeRO-3 DeepSpeed puts its own in the place of torch's, for the rest of the process. It keeps its inputs for the backward
    pass even where the weight is frozen.
    """
    before = torch.nn.functional.linear
    torch.nn.functional.linear = zero3_linear_wrap if zero_stage(phase) == 3 else _PLAIN_LINEAR
    try:
        yield
    finally:
        torch.nn.functional.linear = before


class Engine:
    """A module under DeepSpeed: forward, backward of one chunk, one optimizer step a global batch."""

    def __init__(self, module: Embedder, phase: Phase) -> None:
        _forgo_shared_memory_op()
        self.rank, self.num_ranks = start_process_group()
        _give_own_patience()
        self.module, self.phase, self.zero_stage = module, phase, zero_stage(phase)
        self.named = {name: parameter for name, parameter in module.named_parameters() if parameter.requires_grad}
        tower_trains = any(parameter.requires_grad for parameter in module.backbone.tower.parameters())
        module.always_use_tower = self.num_ranks > 1 and tower_trains
        self.vision: Vision = Inside(module if self.zero_stage < 3 else None) if tower_trains else _take_tower_out(module, phase)
        if phase.gradient_checkpointing:
            module.checkpoint_layers()
        optimizer = phase.optimizer
        self.inner = torch.optim.AdamW(
            self.named.values(), lr=0.0, betas=optimizer.betas, eps=optimizer.eps, weight_decay=optimizer.weight_decay
        )
        with redirect_stdout(StringIO()):  # where it says how much memory is used, between a command's own lines
            self.deepspeed, self.optimizer, _, _ = deepspeed.initialize(
                model=module,
                optimizer=self.inner,
                model_parameters=list(self.named.values()),
                config=deepspeed_config(phase, self.num_ranks, sum(weight.numel() for weight in self.named.values())),
                dist_init_required=False,
            )
        self.device: torch.device = self.deepspeed.device
        self.deepspeed.train()
        self.steps_taken = 0
        self.own_time = OwnTime(self.device)

    def __call__(self, batch: Batch) -> Outputs:
        """Forward one chunk."""
        with self.own_time.counting():
            outputs: Outputs = self.deepspeed(self.vision.see(batch).to(self.device))
        return outputs

    def run_dummy(self, batch: Batch, *, last: bool) -> None:
        """Take part in the collectives of a chunk that this rank does not have; its gradient is zero."""
        outputs = self(batch)
        self.backward(0.0 * (outputs.embeddings.sum() + outputs.token_losses.sum()), last=last)

    def backward(self, loss: torch.Tensor, *, last: bool) -> None:
        """Add a chunk's gradient. `loss` is this rank's share of a mean over the global batch; `last` closes the global batch.

        A loss that is not finite may have a finite gradient; it is made NaN here, so that every rank skips the step alike.
        """
        self.deepspeed.set_gradient_accumulation_boundary(last)
        with self.own_time.counting(when=not last and self.zero_stage < 2):  # the others are reduced, so they wait
            self.deepspeed.backward(loss * self.num_ranks * torch.where(loss.isfinite(), 1.0, math.nan), scale_wrt_gas=False)

    def step(self, learning_rate: float) -> float:
        """One optimizer step at `learning_rate`. Returns the gradient's norm before clipping.

        Where that is not finite, weights and moments stay as they are, and the step does not count.
        """
        for group in self.optimizer.param_groups:
            group["lr"] = learning_rate
        own_norm = None if self.zero_stage else self._plain_norm()
        if own_norm is not None and not own_norm.isfinite():
            self.deepspeed.zero_grad()
            return float(own_norm)
        # At stages 1 to 3 DeepSpeed itself leaves out the step of a gradient whose norm is not finite.
        self.deepspeed.step()
        if self.zero_stage == 3:
            # Its first backward pass of a step overwrites only what it reaches; all else would be added to the step before.
            self.optimizer.grad_partitions_flat_buffer.zero_()
        norm = own_norm if own_norm is not None else self.deepspeed.get_global_grad_norm()
        found = float(norm) if norm is not None else math.nan
        self.steps_taken += math.isfinite(found)
        return found

    @contextmanager
    def released(self) -> Iterator[None]:
        """Take DeepSpeed's hooks off the weights in the end: with them nothing of a training would ever be freed.

        Stage 3 keeps weights all the same. Not after an error, when ranks may wait for one another: this synchronises the device.
        """
        try:
            yield
        except StoppedError:
            self.deepspeed.destroy()
            raise
        self.deepspeed.destroy()

    def full_gradients(self) -> dict[str, torch.Tensor]:
        """Whole gradients by name after the last backward pass of a global batch and before `step` (for tests and guards)."""
        if not self.zero_stage:
            return {name: p.grad.detach().clone() for name, p in self.named.items() if p.grad is not None}
        return {name: gradient for name, p in self.named.items() if (gradient := safe_get_full_grad(p)) is not None}

    def _plain_norm(self) -> torch.Tensor:
        gradients = [p.grad for p in self.named.values() if p.grad is not None]
        norm: torch.Tensor = torch.linalg.vector_norm(torch.stack([torch.linalg.vector_norm(g.float()) for g in gradients]))
        return norm

    def state_tensors(self) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
        """Whole weights and optimizer tensors by name, in the memory of rank 0's host; other ranks get none.

        Every rank must call it. One tensor at a time is whole on a device: all of them are 12 bytes a trained weight.
        """
        weights: dict[str, torch.Tensor] = {}
        moments: dict[str, torch.Tensor] = {}
        for name, parameter in self.named.items():
            self._copy_to_host(weights, name, self._whole(parameter))
            for moment in MOMENTS:
                self._copy_to_host(moments, f"{name}.{moment}", self._whole(parameter, moment))
        return weights, moments

    def _whole(self, parameter: nn.Parameter, moment: str = "") -> torch.Tensor | None:
        """A weight, or one of its optimizer tensors (None before the first step), gathered from all ranks, on the device."""
        if not self.zero_stage:
            return self.inner.state[parameter].get(moment) if moment else parameter
        found: torch.Tensor | None
        found = safe_get_full_optimizer_state(parameter, moment) if moment else safe_get_full_fp32_param(parameter)
        return found

    def _copy_to_host(self, into: dict[str, torch.Tensor], name: str, tensor: torch.Tensor | None) -> None:
        if tensor is not None and self.rank == 0:
            into[name] = tensor.detach().to("cpu", copy=True)

    def restore(self, weights: Mapping[str, torch.Tensor], moments: Mapping[str, torch.Tensor], steps: int, dummy: Batch) -> None:
        """Take over the tensors of a checkpoint made at any ZeRO stage on any number of ranks, one after another.

        DeepSpeed makes its partitions at the first step, so a step at learning rate 0 on `dummy` comes first.
        """
        self.run_dummy(dummy, last=True)
        self.step(0.0)
        for name, parameter in self.named.items():
            weight = weights[name]
            if self.zero_stage:
                safe_set_full_fp32_param(parameter, weight.to(self.device))
                for moment in MOMENTS:
                    safe_set_full_optimizer_state(parameter, moments[f"{name}.{moment}"].to(self.device), moment)
            else:
                for moment in MOMENTS:
                    self.inner.state[parameter][moment].copy_(moments[f"{name}.{moment}"])
            self._overwrite(parameter, weight)
        for state in self.inner.state.values():
            state["step"].fill_(steps)
        self.steps_taken = steps

    def _overwrite(self, parameter: nn.Parameter, value: torch.Tensor) -> None:
        """Set the working copy of a weight, gathered first under ZeRO-3."""
        with torch.no_grad(), deepspeed.zero.GatheredParameters([parameter], modifier_rank=0, enabled=self.zero_stage == 3):
            parameter.data.copy_(value)


def _take_tower_out(module: Embedder, phase: Phase) -> Vision:
    """The frozen tower moved to the device, out of DeepSpeed's sight: ZeRO-3 would cut it up and gather it in each pass."""
    device = torch.device("cuda", torch.cuda.current_device()) if torch.cuda.is_available() else torch.device("cpu")
    return outside(module.release_tower(device, getattr(torch, phase.dtype)), phase.features)
