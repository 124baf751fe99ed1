"""What of the language model is trained: all of it, or low-rank adapters beside frozen weights."""

from dataclasses import dataclass
from typing import Literal, get_args

from peft import LoraConfig, inject_adapter_in_model
from peft.tuners.lora import LoraLayer
from torch import nn

from pipeline.errors import ConfigError
from pipeline.ranges import check_least

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""A linear map of a layer of the language model, in every family."""

PROJECTIONS = get_args(Projection)


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
        unknown = [target for target in self.targets if target not in PROJECTIONS]
        if unknown or not self.targets:
            named = ", ".join(unknown) or "none"
            raise ConfigError(f"adapter.targets: {named} given; name one or more of {', '.join(PROJECTIONS)}")

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Freeze the weights and put adapters beside the targets, in float32 where the weights are lower."""
        text.requires_grad_(False)
        head.requires_grad_(False)
        config = LoraConfig(r=self.rank, lora_alpha=self.alpha, target_modules=list(self.targets))
        inject_adapter_in_model(config, text)


Adapter = Full | LoRA


def merge(text: nn.Module) -> None:
    """Add every adapter of the language model to the weight it stands beside, in place, and take it out: W + alpha / r * B A.

    Afterwards names and classes are those of the family again. Outputs stay the same up to rounding in the weights' type. A model
    without adapters stays as it is.
    """
    adapted = [(name, layer) for name, layer in text.named_modules() if isinstance(layer, LoraLayer)]
    for name, layer in adapted:
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(text.get_submodule(parent), child, layer.get_base_layer())
    if adapted:
        del text.peft_config
