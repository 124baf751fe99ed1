"""What the compression tokens of one model look at in pictures, in one layer: weights, their maps, and their figures."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from eval.attention.measures import coverage, coverage_together, entropy, share
from eval.pictures import size_of
from eval.results import Provenance
from pipeline.errors import ConfigError
from pipeline.inference import EmbeddingModel
from pipeline.manifest import fingerprint
from pipeline.model.token_attention import token_attention
from pipeline.sample import Side
from pipeline.sequence import conversation_context
from pipeline.templates import Templates

Array = npt.NDArray[np.float64]

_DECIMALS = 6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shown:
    """A side with pictures to look at, and what it is called; of a pair's, its dataset, and whether it is the query."""

    name: str
    side: Side
    dataset: str = ""
    is_query: bool = False

    def worded(self, templates: Templates) -> Side:
        """The side as a model of these templates reads it."""
        return templates.side(self.side, self.dataset, is_query=self.is_query) if self.dataset else self.side


@dataclass(frozen=True, slots=True, kw_only=True)
class HeadFigures:
    """Of one head, or (None) of the mean over heads: by compression token, and of all together (`eval.attention.measures`)."""

    head: int | None
    share: tuple[float, ...]
    coverage: tuple[float, ...]
    entropy: tuple[float, ...]
    coverage_together: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PictureFigures:
    """One picture of a shown side: figures by head, the mean first, and the mean's weights by compression token over the
    `rows` x `columns` places of the picture, row after row."""

    name: str
    picture: int
    rows: int
    columns: int
    heads: tuple[HeadFigures, ...]
    weights: tuple[tuple[float, ...], ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class ModelFigures:
    """All of one model."""

    provenance: Provenance
    label: str
    layer: int
    num_layers: int
    pictures: tuple[PictureFigures, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AttentionResult:
    """All of the models that were asked for."""

    models: tuple[ModelFigures, ...]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Look:
    """Maps (1 + H, K, rows, columns) of a picture, the mean over heads first, and its figures."""

    maps: Array
    figures: PictureFigures


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ModelLooks:
    """A model's looks at all pictures, in the order of the sides, and the same as figures."""

    looks: tuple[Look, ...]
    figures: ModelFigures


def looks_of(model: EmbeddingModel, label: str, shown: Sequence[Shown], layer: int | None) -> ModelLooks:
    """Have a model read the sides and note its attention in a layer counted from 0 (None: the middle one).

    Raises ConfigError, naming the model by its label, for one without compression tokens and for a layer that it does not have;
    DataError for a picture that cannot be decoded.
    """
    if not model.recipe.tokens.count:
        raise ConfigError(
            f"{label}: recipe {model.recipe.name} has no compression tokens to look with; name a checkpoint that has some"
        )
    num_layers = len(model.embedder.backbone.text.layers)
    at = num_layers // 2 if layer is None else layer
    if not 0 <= at < num_layers:
        raise ConfigError(f"--layer {at}: {label} has {num_layers} layers, 0 to {num_layers - 1}")
    found = tuple(look for each in shown for look in _looks(model, each, at))
    made_of = Provenance(model=model.fingerprint, data=fingerprint([each.side for each in shown]), settings={"layer": at})
    pictures = tuple(look.figures for look in found)
    figures = ModelFigures(provenance=made_of, label=label, layer=at, num_layers=num_layers, pictures=pictures)
    return ModelLooks(looks=found, figures=figures)


def _looks(model: EmbeddingModel, shown: Shown, layer: int) -> Iterator[Look]:
    """A look at each picture of a side."""
    side = conversation_context(shown.worded(model.templates), model.builder.layout)
    row = model.reader.row(side, slot=0)
    weights = token_attention(model.embedder, row, model.builder.layout, layer).double().numpy()
    weights = np.concatenate([weights.mean(axis=0, keepdims=True), weights])
    sequence = row.sequence
    grids = sequence.visual.grids(sequence.grid_thw).tolist()
    for number, (start, grid, encoded) in enumerate(zip(sequence.image_starts, grids, side.images, strict=True)):
        own = weights[..., start : start + int(np.prod(grid))]
        width, height = size_of(encoded)
        maps = model.recipe.pixels.over_picture(own, tuple(grid), height, width)
        yield Look(maps=maps, figures=_figures(shown.name, number, own, maps))


def _figures(name: str, number: int, weights: Array, maps: Array) -> PictureFigures:
    """Figures of weights (1 + H, K, V)."""
    _, tokens, rows, columns = maps.shape
    return PictureFigures(
        name=name,
        picture=number,
        rows=rows,
        columns=columns,
        heads=tuple(_of_head(None if at == 0 else at - 1, own) for at, own in enumerate(weights)),
        weights=tuple(map(tuple, maps[0].reshape(tokens, -1).round(_DECIMALS).tolist())),
    )


def _of_head(head: int | None, weights: Array) -> HeadFigures:
    by_token = (tuple(measure(weights).round(_DECIMALS).tolist()) for measure in (share, coverage, entropy))
    shares, coverages, entropies = by_token
    together = round(float(coverage_together(weights)), _DECIMALS)
    return HeadFigures(head=head, share=shares, coverage=coverages, entropy=entropies, coverage_together=together)
