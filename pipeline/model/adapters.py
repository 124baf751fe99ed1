"""What of the language model is trained: all of it, or low-rank adapters beside frozen weights."""

from dataclasses import dataclass
from typing import Literal

from peft import LoraConfig, inject_adapter_in_model
from torch import nn

from pipeline.errors import ConfigError
from pipeline.ranges import check_least

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""The linear maps of a language layer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full:
    """Every weight of the language model is trained."""

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Mark the weights to train."""
        text.requires_grad_(True)
        head.requires_grad_(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA:
    """Low-rank adapters on the named projections of the language model (paper: rank 16, alpha 64 on q, k, v, o)."""

    rank: int = 16
    alpha: int = 64
    targets: tuple[Projection, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    def __post_init__(self) -> None:
        check_least(self, "adapter", rank=1, alpha=1)
        if not self.targets:
            raise ConfigError("adapter.targets: no projections named; name some, or take adapter Full")

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Freeze the weights and put adapters beside the targets, in float32 where the weights are lower."""
        text.requires_grad_(False)
        head.requires_grad_(False)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=list(self.targets))
        inject_adapter_in_model(config, text)


Adapter = Full | LoRA
