"""Floating-point operations of a step: what the model needs, and what this machine does for it.

A weight costs 2 a token and pass. A forward pass counts 1, the gradient of the inputs 1, that of the weights 1 where they are
trained. Causal attention over n tokens costs 2 n^2 times the width of its heads a layer, the tower's over a picture of n patches
4 n^2. Left out, since they are small: norms, activations, adapters, and attention inside of Qwen2.5-VL's windows.
"""

from dataclasses import dataclass
from typing import Any

import torch

from pipeline.batch import Batch
from pipeline.model.embedder import Embedder
from pipeline.recipe import Phase
from pipeline.train.gpus import GPUS
from pipeline.train.work import Chunk

PEAKS = {gpu.name.split("-")[0].upper(): gpu.peak for gpu in GPUS.values()}
"""Peak FLOP/s by the word in the device's name: A100, A800, ..."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Operations of this rank's share of a step: `model` without what is computed twice, `hardware` with it."""

    model: float
    hardware: float

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(model=self.model + other.model, hardware=self.hardware + other.hardware)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a model: weights that a token of the text, a scored token and a patch meet; widths of attention, all layers together.

    `text_passes` and `tower_passes` are those of a whole training pass: 3 where weights are trained, 2 where only adapters
    are, 1 for a frozen tower. `head_again` is 1 where the head is trained and its logits are computed twice.
    """

    text: int
    head: int
    tower: int
    attention: int
    picture_attention: int
    text_passes: int
    tower_passes: int
    head_again: int

    @classmethod
    def of(cls, embedder: Embedder) -> "Cost":
        """Look at a model before an engine cuts it up or takes its tower out."""
        text, tower = embedder.backbone.text, embedder.backbone.tower
        layers = list(text.layers.named_parameters())
        weights = [weight for name, weight in layers if ".lora_" not in name]
        config, head = text.config, embedder.backbone.model.lm_head.weight
        return cls(
            text=sum(weight.numel() for weight in weights),
            head=head.numel(),
            tower=sum(_a_patch(name, weight, tower.spatial_merge_size) for name, weight in tower.named_parameters()),
            attention=config.num_hidden_layers * config.hidden_size,
            picture_attention=picture_attention(tower),
            text_passes=3 if any(weight.requires_grad for weight in weights) else 2,
            tower_passes=3 if any(weight.requires_grad for weight in tower.parameters()) else 1,
            head_again=int(head.requires_grad),
        )

    def forward(self, batch: Batch) -> tuple[float, float]:
        """One forward pass of a batch: the language model's and the tower's part."""
        lengths = batch.spans.starts.diff().double()
        text = 2.0 * (self.text * batch.input_ids.numel() + self.head * batch.score_index.numel())
        patches = batch.grid_thw.prod(dim=-1).double()
        tower = 2.0 * self.tower * float(patches.sum()) + 4.0 * self.picture_attention * float(patches.square().sum())
        return text + 2.0 * self.attention * float(lengths.square().sum()), tower

    def chunk(self, chunk: Chunk, phase: Phase, *, is_kept: bool) -> Flops:
        """A chunk of a step: the gradient's passes, and on this machine the first pass without a graph as well."""
        text, tower = self.forward(chunk.full)
        needed = self.text_passes * text + self.tower_passes * tower
        head = 2.0 * self.head * chunk.full.score_index.numel()
        # A trained head's logits are computed again; with checkpointed layers all below it is.
        again = self.head_again * head + (text - head if phase.gradient_checkpointing else 0.0)
        first = self._first_pass(chunk.prefix, phase) if chunk.prefix is not None and not is_kept else 0.0
        return Flops(model=needed, hardware=needed + again + first)

    def _first_pass(self, prefix: Batch, phase: Phase) -> float:
        """The first pass without a graph; a trained tower takes part in it, a frozen one where its features are not kept."""
        text, tower = self.forward(prefix)
        return text + tower if self.tower_passes > 1 or phase.features == "recomputed" else text


def picture_attention(tower: Any) -> int:
    """Width of the tower's attention over whole pictures, all layers together. Qwen2.5-VL has few layers without windows."""
    whole = getattr(tower.config, "fullatt_block_indexes", tower.blocks)
    return len(whole) * int(tower.blocks[0].attn.qkv.in_features)


def _a_patch(name: str, weight: torch.Tensor, merge: int) -> int:
    """Weights that a patch meets: the merger sees merge x merge of them at once."""
    return weight.numel() // merge**2 if name.startswith("merger.mlp") else weight.numel()


def peak_of(device: torch.device) -> float | None:
    """FLOP/s that the maker of the device states; None where it is not known."""
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    return next((PEAKS[word] for word in words if word in PEAKS), None)
