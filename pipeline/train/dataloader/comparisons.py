"""What a reranker is trained on in a step: rows that stand for a query with one candidate, or with a list of them.

Of each pair there are up to three: a right candidate (Yes), one that is not (No), and the pair's positive in a list of negatives
(its place). Right are the pair's positive and, where the target has it so, what a judge said yes to. All is drawn from seed, step
and row, so that it does not depend on ranks.
"""

from collections.abc import Iterator, Sequence

from pipeline.batch import OUTSIDE, OWN
from pipeline.data.sampler import Draw, generator
from pipeline.sequence import SequenceBuilder
from pipeline.targets import NO, SIDES, YES, Relevance
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.plan import PlannedSide, References

Reference = tuple[int, int]
"""Row and side of a candidate."""

ANSWER_TOKENS = 8
"""Room for an answer with its end."""


class Comparisons:
    """The comparisons of a draw. Where a list does not fit `max_length` it has fewer negatives; below `least` there is none."""

    def __init__(
        self, corpus: Corpus, target: Relevance, builder: SequenceBuilder, *, seed: int, held_out: tuple[int, ...]
    ) -> None:
        self.corpus, self.target, self.seed, self.held_out = corpus, target, seed, frozenset(held_out)
        asked = {count: len(builder.question_ids(target.question(count))) for count in (1, 2)}
        label = len(builder.vocabulary.encode(f"\nCandidate {target.most + 1}:\n"))
        self._most_context = {count: builder.max_length - ANSWER_TOKENS - tokens for count, tokens in asked.items()}
        self._label = label

    def sides(self, draw: Draw, negatives: References, step: int) -> tuple[PlannedSide, ...]:
        """The rows of a step, pair after pair; `negatives` are those of each pair."""
        pairs = zip(draw.pairs, negatives, strict=True)
        return tuple(side for row, own in pairs for side in self._of_pair(row, list(own), step))

    def _of_pair(self, row: int, negatives: list[Reference], step: int) -> Iterator[PlannedSide]:
        drawn = generator(self.seed, "compared", step, row)
        right = [(row, SIDES.index("positive")), *self._also_right(row)]
        for answer, found in ((YES, right), (NO, negatives)):
            if found:
                candidate = found[int(drawn.integers(len(found)))]
                if self._fits(row, [candidate]):
                    yield _planned(row, [candidate], answer, OWN)
        others = [negatives[place] for place in drawn.permutation(len(negatives)).tolist()]
        others = others[: int(drawn.integers(self.target.least, self.target.most + 1))]
        while len(others) >= self.target.least and not self._fits(row, [right[0], *others]):
            others.pop()
        if len(others) >= self.target.least:
            place = int(drawn.integers(len(others) + 1))
            yield _planned(row, [*others[:place], right[0], *others[place:]], str(place + 1), OUTSIDE)

    def _also_right(self, row: int) -> list[Reference]:
        """What a judge said yes to for a row, where that is believed."""
        found = self.corpus.right.of(row) if self.corpus.right and self.target.judged_right else []
        return [reference for reference in found if reference[0] not in self.held_out]

    def _fits(self, row: int, candidates: Sequence[Reference]) -> bool:
        """Whether a comparison is sure to fit: each side is counted with a template of its own, of which one is left."""
        tokens = sum(self.corpus.lengths.context(*each) for each in ((row, 0), *candidates))
        return tokens + self._label * (1 + len(candidates)) <= self._most_context[min(2, len(candidates))]


def _planned(row: int, candidates: list[Reference], answer: str, loss_group: int) -> PlannedSide:
    return PlannedSide(
        row=row, side_index=0, slot=-1, loss_group=loss_group, asks=True, candidates=tuple(candidates), answer=answer
    )
