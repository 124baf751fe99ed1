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

NEGATIVES = "negatives"
"""How `Mixture.own_sides` names the hard negatives."""

References = Sequence[Sequence[tuple[int, int]]]
"""For each pair of a draw, row and side of each of its hard negatives."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedSide:
    """One sequence of a global batch.

    `side_index` says which of `Sample.sides` of the corpus row it is, `slot` where its embedding stands in the global batch
    (-1: none), `loss_group` whose mean its answers enter (OWN or OUTSIDE), `asks` whether it is asked its questions.
    `candidates` (row and side_index of each) stand below a query that is compared with them, `answer` is what is learnt of it.
    """

    row: int
    side_index: int
    slot: int
    loss_group: int
    asks: bool
    candidates: tuple[tuple[int, int], ...] = ()
    answer: str = ""

    @property
    def parts(self) -> tuple[tuple[int, int], ...]:
        """Row and side_index of all that stands in the sequence."""
        return ((self.row, self.side_index), *self.candidates)

    @property
    def name(self) -> str:
        """The side's name, which seeds its random choices."""
        if self.candidates:
            return f"compared_{self.answer.lower()}"
        return SIDES[self.side_index] if self.side_index < len(SIDES) else f"negative_{self.side_index - len(SIDES)}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The sequences of a global batch, the number of its pairs in the contrastive loss, and the weights of the two losses.

    `owners` (H,) are the numbers of the pairs that the hard negatives are of.
    """

    sides: tuple[PlannedSide, ...]
    num_pairs: int
    owners: tuple[int, ...]
    contrastive_weight: float
    language_weight: float

    @property
    def num_slots(self) -> int:
        """Embeddings in the global batch."""
        return sum(side.slot >= 0 for side in self.sides)


def plan_step(draw: Draw, negatives: References, phase: Phase, step: int) -> Plan:
    """The plan of a training step."""
    weights = weight_at(phase.contrastive_weight, step), weight_at(phase.language_weight, step)
    return make_plan(draw, negatives, phase.mixture, weights)


def compare(sides: tuple[PlannedSide, ...], language_weight: float) -> Plan:
    """A plan of comparisons alone."""
    return Plan(sides=sides, num_pairs=0, owners=(), contrastive_weight=0.0, language_weight=language_weight)


def make_plan(draw: Draw, negatives: References, mixture: Mixture, weights: tuple[float, float]) -> Plan:
    """A plan for any rows and any weights of the contrastive and the language loss."""
    contrastive_weight, language_weight = weights
    own = mixture.own_sides if language_weight else ()
    sides = _embedded_sides(draw, negatives, own) if contrastive_weight else _asked_sides(draw, negatives, own)
    talks = draw.outside if language_weight else ()
    return Plan(
        sides=(*sides, *(PlannedSide(row=row, side_index=0, slot=-1, loss_group=OUTSIDE, asks=True) for row in talks)),
        num_pairs=len(draw.pairs) if contrastive_weight else 0,
        owners=tuple(pair for pair, own in enumerate(negatives) for _ in own) if contrastive_weight else (),
        contrastive_weight=contrastive_weight,
        language_weight=language_weight,
    )


def least_rows(phase: Phase) -> int:
    """Sequences in the smallest global batch of a phase."""
    steps = {*changes(phase.contrastive_weight), *changes(phase.language_weight)}
    draw = Draw(pairs=tuple(range(phase.mixture.pairs)), outside=tuple(range(phase.mixture.outside)))
    return min(len(plan_step(draw, [()] * len(draw.pairs), phase, step).sides) for step in steps)


def _embedded_sides(draw: Draw, negatives: References, own: tuple[str, ...]) -> Iterator[PlannedSide]:
    """Queries, positives in the same order, then the hard negatives."""
    for side_index, name in enumerate(SIDES):
        for number, row in enumerate(draw.pairs):
            slot = side_index * len(draw.pairs) + number
            yield PlannedSide(row=row, side_index=side_index, slot=slot, loss_group=OWN, asks=name in own)
    for number, (row, side_index) in enumerate(reference for own in negatives for reference in own):
        slot = len(SIDES) * len(draw.pairs) + number
        yield PlannedSide(row=row, side_index=side_index, slot=slot, loss_group=OWN, asks=NEGATIVES in own)


def _asked_sides(draw: Draw, negatives: References, own: tuple[str, ...]) -> Iterator[PlannedSide]:
    """The sides that are asked their own question, in the same order."""
    for side_index, name in enumerate(SIDES):
        if name in own:
            yield from (PlannedSide(row=row, side_index=side_index, slot=-1, loss_group=OWN, asks=True) for row in draw.pairs)
    for row, side_index in (reference for found in negatives for reference in found) if NEGATIVES in own else ():
        yield PlannedSide(row=row, side_index=side_index, slot=-1, loss_group=OWN, asks=True)
