"""A frozen vision tower as a plain function, outside of the module that an engine wraps: nothing partitions or gathers it."""

from collections.abc import Callable, Sequence
from typing import Any

import torch

from pipeline.batch import Batch
from pipeline.model.families.family import Cutter

See = Callable[[Any, torch.Tensor, torch.Tensor], torch.Tensor]
"""Tower, its inputs, grids (I, 3) -> features (V, levels * D)."""


def cut(cutter: Cutter, stacks: Sequence[torch.Tensor]) -> torch.Tensor:
    """A tower's inputs, float32, of stacks (I_s, 3, H, W) uint8 of equally large pictures."""
    return torch.cat([cutter(stack) for stack in stacks])


class FrozenTower:
    """Visual tokens of a batch's pictures, without a graph, on the device and in the type that the tower was given."""

    def __init__(self, tower: Any, see: See, cutter: Cutter, device: torch.device, dtype: torch.dtype) -> None:
        self.tower, self.see = tower.to(device).eval(), see
        for weight in self.tower.parameters():  # not the buffers: rotary frequencies stay float32, as DeepSpeed leaves them
            weight.data = weight.data.to(dtype)
        self.cutter, self.device, self.dtype = cutter, device, dtype

    @torch.no_grad()
    def __call__(self, batch: Batch) -> torch.Tensor:
        """Features (V, levels * D) in the order of `batch.image_index`. The batch has pictures."""
        inputs = cut(self.cutter, [stack.to(self.device) for stack in batch.pixels])
        return self.see(self.tower, inputs.to(self.dtype), batch.grid_thw.to(self.device))
