"""What a family of models does in its own way, behind one protocol: nothing outside of this folder asks which family it has.

Pixels to tower inputs (`cutter`), grids to visual tokens and positions (`VisualTokens`), placeholders (`Markers`), inputs to
features (`features`), and what the forecast must know of the tower's shape.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Literal, Protocol

import torch
from torch import nn

from pipeline.model.inputs import PixelLimits
from pipeline.model.shrinkers import Shrinker
from pipeline.model.tiles import Tiles
from pipeline.visual_tokens import PositionRule

Applied = Literal["pixels", "layer", "token", "nothing"]
"""What a weight of a tower is multiplied with: patches of pixels, a layer's states, merged visual tokens, or nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Markers:
    """Names of the special tokens of a template and of a picture in it."""

    im_start: str = "<|im_start|>"
    im_end: str = "<|im_end|>"
    vision_start: str = "<|vision_start|>"
    vision_end: str = "<|vision_end|>"
    image_pad: str = "<|image_pad|>"


class Cutter(Protocol):
    """Pictures (I, 3, H, W) uint8 of one size -> the tower's inputs (float32), picture after picture."""

    @property
    def merge(self) -> int:
        """Patches on a side of a visual token."""

    @property
    def patch(self) -> int:
        """Pixels on a side of a patch."""

    @property
    def side(self) -> int:
        """Pixels on a side of the smallest picture that is cut."""

    @property
    def tiles(self) -> bool:
        """Whether all pictures have that side."""

    def __call__(self, pictures: torch.Tensor) -> torch.Tensor:
        """The tower's inputs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TowerShape:
    """How a tower's layers see: `whole` of them all patches of a frame, the others windows of `window` x `window` patches.

    `layers` and the `width` of their attention's heads in all; a frame has `extra` tokens beside its patches. Its features have
    `levels`.
    """

    layers: int
    whole: int
    width: int
    window: int = 0
    extra: int = 0
    levels: int = 1


class Family(ABC):
    """One family of models. Its value holds nothing: the weights are the arguments."""

    title: ClassVar[str]
    """How its models are called."""
    model_class: ClassVar[Any]
    """Of transformers."""
    rule: ClassVar[PositionRule] = "mrope"
    markers: ClassVar[Markers] = Markers()

    @abstractmethod
    def cutter(self, settings: Mapping[str, Any], config: Any) -> Cutter:
        """What cuts pictures, by the picture settings of a model folder (empty where it has none) and its config."""

    def check(self, config: Any, where: object) -> None:
        """Raise CheckpointError, naming `where`, for a config of the family that is not read."""
        return

    @abstractmethod
    def tower(self, model: Any) -> nn.Module:
        """Vision tower and what leads from it to the language model's width."""

    @abstractmethod
    def take_tower(self, model: Any) -> nn.Module:
        """The tower, taken out of the model."""

    @abstractmethod
    def use_attention(self, model: Any, *, text: str, vision: str) -> None:
        """Have the model's layers attend by these functions of transformers' registry."""

    @abstractmethod
    def features(self, tower: Any, inputs: torch.Tensor, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """Visual tokens (V, levels * D), in the tower's type, of its `inputs` of pictures with grids (I, 3) of patches.

        Levels stand side by side; the first enters the language model, the others are added to its states.
        """

    @abstractmethod
    def outline(self, tower: Any, grid_thw: torch.Tensor, shrinker: Shrinker) -> torch.Tensor:
        """`features` of a tower on the meta device of pictures without pixels; the grids stay on the CPU."""

    def deeper(self, length: int, places: torch.Tensor, levels: tuple[torch.Tensor, ...]) -> dict[str, Any]:
        """Arguments of the language model that add levels of features (V, D) at `places` (V,) of a row of `length` tokens."""
        raise NotImplementedError(f"{self.title} has one level of features")

    @abstractmethod
    def shape(self, tower: Any) -> TowerShape:
        """What its attention costs."""

    @abstractmethod
    def applied(self, name: str) -> Applied:
        """What the tower's weight of that name is multiplied with."""

    @abstractmethod
    def exported_settings(self, cutter: Any, limits: PixelLimits | Tiles) -> dict[str, Any]:
        """Picture settings of an exported folder, for pictures that are shown by these limits."""
