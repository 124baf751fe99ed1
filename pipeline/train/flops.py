"""Floating-point operations of a step, the one count of the log and of the forecast: what the model needs, and what is computed.

A linear map costs 2 a weight for each token that meets it. A forward pass counts 1, the gradient of the inputs 1, that of the
weights 1 where they are trained; so with adapters. Attention costs 4 times the width of its heads for each query and key that it
sees, and twice that in its gradients. Left out, since they are small: norms, activations, rotations, pooling, and the lengths of
DoRA's rows, which are taken once a chunk.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import reduce
from operator import add

import torch
from torch import nn

from pipeline.batch import Batch
from pipeline.model.adapters import MAGNITUDE
from pipeline.model.dropout import TokenDropout
from pipeline.model.embedder import Embedder
from pipeline.model.families.family import Applied, TowerShape
from pipeline.phase import Phase
from pipeline.train.dataloader.held_out_work import HeldOutChunk
from pipeline.train.dataloader.step_work import Chunk
from pipeline.train.forecast.gpus import GPUS
from pipeline.visual_tokens import VisualTokens

PEAKS = {gpu.name.split("-")[0].upper(): gpu.peak for gpu in GPUS.values()}
"""Peak FLOP/s by the word in the device's name: A100, A800, ..."""

_LAST_MAPS = ("mlp.down_proj.weight", "mlp.down_proj.lora_B.default.weight", "mlp.fc2.weight")
"""The last map of a layer: when a checkpointed layer runs again, torch stops before it, for nothing is kept of its outputs.

Not so under ZeRO-3, whose own map keeps its inputs after it has run: there the count of replays is too low by these.
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Flops:
    """Operations of this rank's share of a step: `model` without what is computed twice, `hardware` with it."""

    model: float
    hardware: float

    def __add__(self, other: "Flops") -> "Flops":
        return Flops(model=self.model + other.model, hardware=self.hardware + other.hardware)


@dataclass(frozen=True, slots=True)
class Passes:
    """Operations of a forward pass, of the gradients after it, and of what is computed again between the two."""

    forward: float = 0.0
    backward: float = 0.0
    again: float = 0.0

    def __add__(self, other: "Passes") -> "Passes":
        return Passes(self.forward + other.forward, self.backward + other.backward, self.again + other.again)

    def times(self, number: float) -> "Passes":
        """Those of so many tokens."""
        return Passes(self.forward * number, self.backward * number, self.again * number)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cost:
    """Of a model: passes of a packed `token`, of a `score`d one, and of a text's `pair` of a query and a key that it sees.

    Likewise of a `patch` of pixels, of a `place` in the tower's layers, of a `visual` token, and of pairs of places, in layers
    that see whole pictures and in those that see windows (Qwen2.5-VL). `again` of layers counts where they are checkpointed,
    that of the head always.
    """

    token: Passes
    score: Passes
    pair: Passes
    patch: Passes
    place: Passes
    visual: Passes
    picture_pair: Passes
    window_pair: Passes
    shape: TowerShape
    tokens: VisualTokens
    tower_trains: bool

    @classmethod
    def of(cls, embedder: Embedder) -> "Cost":
        """Look at a model before an engine cuts it up or takes its tower out."""
        text, tower, family = embedder.backbone.text, embedder.backbone.tower, embedder.backbone.family
        config, head = text.config, embedder.backbone.model.lm_head.weight
        depth = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
        trains = any(weight.requires_grad for weight in tower.parameters())
        shape, scored = family.shape(tower), _map(head)
        of_tower: dict[Applied, list[Passes]] = {"pixels": [], "layer": [], "token": [], "nothing": []}
        for name, weight in _maps(tower):
            applied = family.applied(name)
            of_tower[applied].append(_of_tower(name, weight, applied, trains))
        return cls(
            token=_sum(_of_text(text.layers)),
            score=Passes(scored.forward, scored.backward, scored.forward * head.requires_grad),
            pair=_pair(config.num_hidden_layers * config.num_attention_heads * depth, has_gradients=True),
            patch=_sum(of_tower["pixels"]),
            place=_sum(of_tower["layer"]),
            visual=_sum(of_tower["token"]),
            picture_pair=_pair(shape.whole * shape.width, has_gradients=trains),
            window_pair=_pair((shape.layers - shape.whole) * shape.width, has_gradients=trains),
            shape=shape,
            tokens=embedder.visual_tokens,
            tower_trains=trains,
        )

    def text(self, batch: Batch) -> Passes:
        """The language model's layers over a batch."""
        return self.sequences(batch.spans.cu_seqlens.diff(), tokens=batch.input_ids.numel())

    def sequences(self, lengths: torch.Tensor, *, tokens: int) -> Passes:
        """The language model's layers over causal sequences of these lengths (N,), which have so many distinct tokens."""
        lengths = lengths.double()
        seen = float((lengths * (lengths + 1) / 2).sum())
        return self.token.times(tokens) + self.pair.times(seen)

    def head(self, batch: Batch) -> Passes:
        """The losses of a batch's scored tokens."""
        return self.score.times(batch.score_index.numel())

    def tower(self, batch: Batch) -> Passes:
        """The vision tower and its merger over a batch's pictures."""
        return self.pictures(batch.grid_thw)

    def pictures(self, grid_thw: torch.Tensor) -> Passes:
        """The vision tower and its merger over pictures of these grids of patches (I, 3)."""
        frames, rows, columns = grid_thw.double().unbind(dim=-1)
        places = rows * columns + self.shape.extra
        found = self.patch.times(float((frames * rows * columns).sum())) + self.place.times(float((frames * places).sum()))
        found += self.visual.times(float(self.tokens.counts(grid_thw.cpu().numpy()).sum()))
        found += self.picture_pair.times(float((frames * places.square()).sum()))
        if not self.shape.window:
            return found
        inside = frames * _squares(rows, self.shape.window) * _squares(columns, self.shape.window)
        return found + self.window_pair.times(float(inside.sum()))

    def chunk(self, chunk: Chunk, phase: Phase, *, is_kept: bool) -> Flops:
        """A chunk of a step: the gradient's passes, and on this machine the first pass without a graph as well."""
        text, head, tower = self.text(chunk.full), self.head(chunk.full), self.tower(chunk.full)
        needed = sum(part.forward + part.backward for part in (text, head, tower)) + self._reference(chunk.full)
        # Divergences are computed again from both logits, whatever the head.
        head_again = head.again if chunk.full.reference is None else 2 * head.forward
        again = head_again + (text.again + tower.again if phase.gradient_checkpointing else 0.0)
        first = self._first_pass(chunk.prefix, phase) if chunk.prefix is not None and not is_kept else 0.0
        return Flops(model=needed, hardware=needed + again + first)

    def step(self, chunks: Sequence[Chunk], phase: Phase) -> Flops:
        """The chunks of a rank's step, of which the last ones keep their first pass. Idle chunks count nothing."""
        first_kept = len(chunks) - phase.budget.kept
        parts = (self.chunk(chunk, phase, is_kept=index >= first_kept) for index, chunk in enumerate(chunks))
        return sum(parts, Flops(model=0.0, hardware=0.0))

    def look(self, chunks: Sequence[HeldOutChunk], phase: Phase) -> float:
        """The forward passes over held-out rows: with compression, and without where an answer is scored; the tower once, but
        a trained one in each of them under ZeRO-3."""
        total = 0.0
        for chunk in chunks:
            batch, full = chunk.compressed, chunk.full_spans
            spans = [batch.spans] if full is None else [batch.spans, full]
            texts = [self.text(replace(batch, spans=seen)) + self.head(batch) for seen in spans]
            total += sum(passes.forward for passes in texts)
            total += self.tower(batch).forward * (len(spans) if self.tower_trains and phase.zero_stage == 3 else 1)
        return total

    def _reference(self, batch: Batch) -> float:
        """The pass where nothing is hidden, without a graph, up to its logits; nothing where no loss compares with it."""
        if batch.reference is None:
            return 0.0
        return self.text(replace(batch, spans=batch.reference)).forward + self.head(batch).forward

    def _first_pass(self, prefix: Batch, phase: Phase) -> float:
        """The first pass without a graph; a trained tower takes part in it, a frozen one where its features are not kept."""
        text = self.text(prefix).forward + self.head(prefix).forward + self._reference(prefix)
        return text + self.tower(prefix).forward if self.tower_trains or phase.features == "recomputed" else text


def _maps(module: nn.Module) -> list[tuple[str, torch.Tensor]]:
    """The weights of linear maps, by name: all but biases and gains."""
    return [(name, weight) for name, weight in module.named_parameters() if weight.ndim > 1]


def _map(weight: torch.Tensor, *, has_input_gradient: bool = True) -> Passes:
    """Of one token through a map."""
    product = 2.0 * weight.numel()
    return Passes(product, product * (has_input_gradient + weight.requires_grad))


def _of_layer(weight: torch.Tensor, *, is_last: bool) -> Passes:
    """Of one token through a map of a layer that runs again, but for its last map, where layers are checkpointed."""
    passes = _map(weight)
    return Passes(passes.forward, passes.backward, 0.0 if is_last else passes.forward)


def _of_text(layers: nn.Module) -> Iterator[Passes]:
    """Of one token through the maps of the language model's layers.

    DoRA keeps what comes out of a target's maps, so none of them is a layer's last; and under dropout it takes the target's own
    map of both the whole inputs and those that are left.
    """
    scaled = {name.partition(MAGNITUDE)[0] for name, _ in layers.named_parameters() if MAGNITUDE in name}
    has_dropout = any(isinstance(module, TokenDropout) for module in layers.modules())
    for name, weight in _maps(layers):
        target = name.partition(".base_layer.")[0]
        is_last = name.endswith(_LAST_MAPS) and name.partition(".lora_")[0] not in scaled
        yield _of_layer(weight, is_last=is_last).times(1 + (has_dropout and target in scaled))


def _of_tower(name: str, weight: torch.Tensor, applied: Applied, trains: bool) -> Passes:
    """Of one patch, place or visual token through a map of the tower: pixels have no gradient."""
    if not trains:
        return Passes(_map(weight).forward)
    if applied == "layer":
        return _of_layer(weight, is_last=name.endswith(_LAST_MAPS))
    return _map(weight, has_input_gradient=applied != "pixels")


def _pair(width: int, *, has_gradients: bool) -> Passes:
    """Of a query and a key that it sees: their product and the value's share, in heads of `width` in all."""
    products = 4.0 * width
    return Passes(products, 2 * products, products) if has_gradients else Passes(products)


def _squares(sides: torch.Tensor, window: int) -> torch.Tensor:
    """The sum of the squares of the pieces that windows cut a side into; the last piece may be shorter."""
    return sides.div(window, rounding_mode="floor") * window**2 + sides.remainder(window).square()


def _sum(passes: Iterable[Passes]) -> Passes:
    return reduce(add, passes, Passes())


def peak_of(device: torch.device) -> float | None:
    """FLOP/s that the maker of the device states; None where it is not known."""
    if device.type != "cuda":
        return None
    words = torch.cuda.get_device_name(device).replace("-", " ").split()
    return next((PEAKS[word] for word in words if word in PEAKS), None)
