"""What a step trains on: the sequences of its global batch, before anything is read.

A loss whose weight is 0 at the step asks for nothing: without the language loss no question is asked and no conversation read,
so rows end with what is pooled; without the contrastive loss no row has an embedding, and only sides with a question are read.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from pipeline.batch import OUTSIDE, OWN
from pipeline.data.sampler import Draw
from pipeline.losses.weights import changes, weight_at
from pipeline.phase import Mixture, Phase
from pipeline.targets import SIDES

Places = Sequence[Sequence[int]]
"""For each pair of a draw, the places of its hard negatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Item:
    """One sequence of a global batch.

    `place` says which of `Sample.sides` of the corpus row it is, `slot` where its embedding stands in the global batch (-1:
    none), `group` whose mean its answers enter (OWN or OUTSIDE), `asks` whether it is asked its questions.
    """

    row: int
    place: int
    slot: int
    group: int
    asks: bool

    @property
    def side(self) -> str:
        """The side's name, which seeds its random choices."""
        return SIDES[self.place] if self.place < len(SIDES) else f"negative_{self.place - len(SIDES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sequences of a global batch, the number of its pairs in the contrastive loss, and the weights of the two losses."""

    items: tuple[Item, ...]
    num_pairs: int
    contrastive_weight: float
    language_weight: float

    @property
    def num_slots(self) -> int:
        """Embeddings in the global batch."""
        return sum(item.slot >= 0 for item in self.items)


def plan_step(draw: Draw, negatives: Places, phase: Phase, step: int) -> Plan:
    """The plan of a training step."""
    weights = weight_at(phase.contrastive_weight, step), weight_at(phase.language_weight, step)
    return make_plan(draw, negatives, phase.mixture, weights)


def make_plan(draw: Draw, negatives: Places, mixture: Mixture, weights: tuple[float, float]) -> Plan:
    """A plan for any rows and any weights of the contrastive and the language loss."""
    contrastive_weight, language_weight = weights
    own = mixture.own_sides if language_weight else ()
    items = _embedded_items(draw, negatives, own) if contrastive_weight else _asked_items(draw, own)
    talks = draw.outside if language_weight else ()
    return Plan(
        items=(*items, *(Item(row=row, place=0, slot=-1, group=OUTSIDE, asks=True) for row in talks)),
        num_pairs=len(draw.pairs) if contrastive_weight else 0,
        contrastive_weight=contrastive_weight,
        language_weight=language_weight,
    )


def least_rows(phase: Phase) -> int:
    """Sequences in the smallest global batch of a phase."""
    steps = {*changes(phase.contrastive_weight), *changes(phase.language_weight)}
    draw = Draw(pairs=tuple(range(phase.mixture.pairs)), outside=tuple(range(phase.mixture.outside)))
    return min(len(plan_step(draw, [()] * len(draw.pairs), phase, step).items) for step in steps)


def _embedded_items(draw: Draw, negatives: Places, own: tuple[str, ...]) -> Iterator[Item]:
    """Queries, positives in the same order, then the hard negatives, which are asked nothing."""
    for place, name in enumerate(SIDES):
        for number, row in enumerate(draw.pairs):
            yield Item(row=row, place=place, slot=place * len(draw.pairs) + number, group=OWN, asks=name in own)
    hard = [(row, place) for row, places in zip(draw.pairs, negatives, strict=True) for place in places]
    for number, (row, place) in enumerate(hard):
        yield Item(row=row, place=place, slot=len(SIDES) * len(draw.pairs) + number, group=OWN, asks=False)


def _asked_items(draw: Draw, own: tuple[str, ...]) -> Iterator[Item]:
    """The sides that are asked their own question."""
    for place, name in enumerate(SIDES):
        if name in own:
            yield from (Item(row=row, place=place, slot=-1, group=OWN, asks=True) for row in draw.pairs)
