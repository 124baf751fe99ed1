"""What of the language model is trained: all of it, or low-rank adapters beside frozen weights."""

import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, get_args

import torch
from torch import nn

from pipeline.errors import ConfigError
from pipeline.model.dropout import TokenDropout
from pipeline.ranges import check_between, check_least

# A recipe is read at every start, and PEFT takes seconds to import: it is needed only where adapters are made or merged.
if TYPE_CHECKING:
    from peft import LoraConfig
    from peft.tuners.lora import LoraLayer

Projection = Literal["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
"""A linear map of a layer of the language model, in every family."""

PROJECTIONS = get_args(Projection)

_TEXT_IN_PEFT = "base_model.model.model.language_model."
"""How PEFT calls the language model inside of a whole model that it wraps."""

_WEIGHTS = "adapter_model.safetensors"

MAGNITUDE = ".lora_magnitude_vector"
"""DoRA's vector of a target, as PEFT's files call it; in a model it is the weight of a module for each adapter."""


class Adapter(ABC):
    """What of the language model a phase trains."""

    __slots__ = ()

    @abstractmethod
    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Mark the weights to train, and no others; only LoRA's layers may be added (`merge` takes them out again)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Full(Adapter):
    """Every weight of the language model is trained."""

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Mark the weights to train."""
        text.requires_grad_(True)
        head.requires_grad_(True)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoRA(Adapter):
    """Low-rank adapters on the named projections of the language model (paper: rank 16, alpha 64 on q, k, v, o).

    `dropout` is the share of a target's inputs that its adapter does not see. The paper names none.

    With `dora` a target W (out, in) learns the length of each of its rows, m, apart from their directions (DoRA, Eq. 5):
    W' = m * V / |V|, V = W + alpha / rank * B A, where |V|, the lengths of V's rows, has no gradient and m begins as those of W.
    As in PEFT, what comes out under dropout d is W x + (m / |V| - 1) W d(x) + m / |V| * alpha / rank * B A d(x).
    """

    rank: int = 16
    alpha: int = 64
    dropout: float = 0.0
    dora: bool = False
    targets: tuple[Projection, ...] = ("q_proj", "k_proj", "v_proj", "o_proj")

    def __post_init__(self) -> None:
        check_least(self, "adapter", rank=1, alpha=1)
        check_between("adapter.dropout", self.dropout, 0, 0.9)
        unknown = [target for target in self.targets if target not in PROJECTIONS]
        if unknown or not self.targets:
            named = ", ".join(unknown) or "none"
            raise ConfigError(f"adapter.targets: {named} given; name one or more of {', '.join(PROJECTIONS)}")

    def apply(self, text: nn.Module, head: nn.Module) -> None:
        """Freeze the weights and put adapters beside the targets, in the type of the weights."""
        from peft import inject_adapter_in_model

        text.requires_grad_(False)
        head.requires_grad_(False)
        # With a graph, the first lengths of DoRA's rows would keep a copy of every target.
        with torch.no_grad():
            inject_adapter_in_model(self._config(target_modules=list(self.targets)), text)
        if self.dropout:
            for number, (_, layer) in enumerate(_adapted(text)):
                layer.lora_dropout["default"] = TokenDropout(self.dropout, layer.in_features, number)

    def save(self, text: nn.Module, folder: Path, *, base: Path) -> None:
        """Write the adapters of `text` as a PEFT folder for the whole model of the model folder `base`."""
        from safetensors.torch import save_file

        # The vision tower must stay out of it, whatever its layers are called.
        targets = rf".*\.language_model\..*\.({'|'.join(self.targets)})"
        config = self._config(target_modules=targets, base_model_name_or_path=str(base), inference_mode=True)
        config.save_pretrained(folder)
        adapters = {_name_in_file(name): value for name, value in text.state_dict().items() if ".lora_" in name}
        tensors = {_TEXT_IN_PEFT + name: value.contiguous() for name, value in adapters.items()}
        save_file(tensors, folder / _WEIGHTS, metadata={"format": "pt"})

    def read(self, folder: Path) -> dict[str, torch.Tensor]:
        """What `save` wrote, by the names of the language model's state."""
        from safetensors.torch import load_file

        tensors: dict[str, torch.Tensor] = load_file(folder / _WEIGHTS)
        return {_name_in_model(name.removeprefix(_TEXT_IN_PEFT)): value for name, value in tensors.items()}

    def _config(self, **more: object) -> "LoraConfig":
        from peft import LoraConfig

        return LoraConfig(r=self.rank, lora_alpha=self.alpha, lora_dropout=self.dropout, use_dora=self.dora, **more)


def _name_in_file(name: str) -> str:
    """How PEFT's files call a weight of an adapter."""
    return name.replace(f"{MAGNITUDE}.default.weight", MAGNITUDE).replace(".default.", ".")


def _name_in_model(name: str) -> str:
    """The inverse of `_name_in_file`."""
    return f"{name}.default.weight" if name.endswith(MAGNITUDE) else re.sub(r"(\.lora_\w+)\.", r"\1.default.", name)


def attach(adapter: Adapter, text: nn.Module, head: nn.Module) -> None:
    """Apply an adapter. Raises ConfigError where it adds weights that `merge` could not take out again."""
    before = set(text.state_dict())
    adapter.apply(text, head)
    for name in text.state_dict():
        if name.replace(".base_layer.", ".") not in before and ".lora_" not in name:
            raise ConfigError(
                f"adapter: {type(adapter).__name__} adds {name}, which could not be merged; add PEFT's LoRA layers alone"
            )


def merge(text: nn.Module) -> None:
    """Add every adapter of the language model to the weight it stands beside, in place, and take it out: W + alpha / r * B A.

    Afterwards names and classes are those of the family again. Outputs stay the same up to rounding in the weights' type. A model
    without adapters stays as it is.
    """
    adapted = list(_adapted(text))
    for name, layer in adapted:
        layer.merge()
        parent, _, child = name.rpartition(".")
        setattr(text.get_submodule(parent), child, layer.get_base_layer())
    if adapted:
        del text.peft_config


def _adapted(text: nn.Module) -> Iterator[tuple[str, "LoraLayer"]]:
    """The layers that have an adapter, by name, in order."""
    from peft.tuners.lora import LoraLayer

    return ((name, layer) for name, layer in text.named_modules() if isinstance(layer, LoraLayer))
