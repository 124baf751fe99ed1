"""From the corpus to a rank's chunks of a step: plan the global batch, deal it to ranks, read, tokenise, decode and pack.

A map from step number to work, so torch's DataLoader can run it in any number of workers without changing what is read.
"""

import hashlib
import logging
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from pipeline.batch import OUTSIDE, Batch, Row
from pipeline.data.sampler import Draw, Stream, coin, deal, generator, seed_of
from pipeline.errors import ConfigError, DataError, PipelineError
from pipeline.losses.weights import weight_at
from pipeline.model.inputs import WHOLE, View, load_pixels
from pipeline.phase import Phase
from pipeline.recipe import Recipe
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder, Vocabulary, conversation_context, native_layout
from pipeline.targets import Relevance
from pipeline.train.dataloader.comparisons import Comparisons
from pipeline.train.dataloader.corpus import Corpus, divide, shares, warn_of_small
from pipeline.train.dataloader.hard_negatives import HardNegatives
from pipeline.train.dataloader.held_out_work import HELD_OUT, HeldOutWork, pack_held_out
from pipeline.train.dataloader.plan import Plan, PlannedSide, compare, least_rows, make_plan, plan_step
from pipeline.train.dataloader.step_work import StepWork, pack_for, pack_work
from pipeline.train.dataloader.unreadable import Unreadable, UnreadableError

logger = logging.getLogger(__name__)

TOKEN_BYTES = 130
"""Of a token in a work, at most, in both passes: ids, positions, spans, numbers of noise, positions of pictures and scores."""
REFERENCE_BYTES = 40
"""Of a token more where a work has spans of a reference."""


class RowBuilder:
    """Turns a side of a sample into a Row, with every random choice drawn from (seed, step, key, side)."""

    def __init__(self, recipe: Recipe, vocabulary: Vocabulary) -> None:
        self.recipe, self.phase = recipe, recipe.phase
        self.builder = SequenceBuilder(vocabulary=vocabulary, layout=self.phase.layout, max_length=recipe.max_length)
        self.native_builder = replace(self.builder, layout=native_layout(self.phase.layout))

    def has_room(self, turn: Turn, context: int) -> bool:
        """Whether a question and one token of its answer fit behind so many tokens of context."""
        return context + len(self.builder.question_ids(turn.question)) < self.recipe.max_length

    def pixels(self, picture: bytes, key: str, view: View, dataset: str = "") -> np.ndarray:
        """An encoded picture of the row `key`, decoded, cut to its view and resized: uint8 (3, H, W)."""
        return load_pixels(picture, self.recipe.pixels.of(self.phase.name, dataset), where=key, view=view)

    def build(self, sample: Sample, planned: PlannedSide, turns: Sequence[Turn], *, step: int) -> Row:
        """The row of a planned side. Raises DataError, naming the key, for a picture that does not decode or a long context."""
        side, layout = sample.sides[planned.side_index], self.phase.layout
        outside = planned.loss_group == OUTSIDE and not planned.candidates
        words = (self.recipe.order_seed, step, sample.key, planned.name)
        native = outside and coin(self.phase.mixture.native_share, "native", *words)
        asked = self._tokens_asked(planned, step, *words)
        # An embedded row has all tokens, since it is embedded at every number.
        every = len(self.builder.vocabulary.chorus)
        read, unread = (every, self.recipe.tokens.count - asked) if planned.slot >= 0 else (asked, 0)
        builder = self._builder(read, native=native)
        if outside:
            side = conversation_context(side, builder.layout)
        elif planned.asks and not self.phase.embeds:
            side = self.phase.target.context(side)
        pixels = tuple(
            self.pixels(picture, sample.key, self._view(step, number, *words), sample.dataset)
            for number, picture in enumerate(side.images)
        )
        grids = np.array([self.recipe.pixels.grid_of(*shown.shape[1:]) for shown in pixels], dtype=np.int64)
        return Row(
            key=sample.key,
            sequence=replace(builder.build(side, grids, turns, key=sample.key), unread=unread),
            pixels=pixels,
            compressed=not native and bool(layout.hidden) and coin(layout.gate_probability, "gate", *words),
            slot=planned.slot,
            item=side_digest(side),
            loss_group=planned.loss_group,
            asked=planned.asks,
            noise=(seed_of("noise", self.recipe.order_seed, step), seed_of("noise", *words)),
        )

    def _builder(self, count: int, *, native: bool) -> SequenceBuilder:
        """What builds rows of the first `count` compression tokens, or of none."""
        if native or count == self.recipe.tokens.count:
            return self.native_builder if native else self.builder
        vocabulary = self.builder.vocabulary
        return replace(self.builder, vocabulary=replace(vocabulary, chorus=vocabulary.chorus[:count]))

    def _tokens_asked(self, planned: PlannedSide, step: int, *words: object) -> int:
        """How many compression tokens answer: drawn among the elastic numbers; held-out rows (step -1) are asked of all."""
        tokens = self.recipe.tokens
        if not tokens.elastic or not planned.asks or step < 0:
            return tokens.count
        return int(generator("tokens", *words).choice(tokens.elastic))

    def _view(self, step: int, *words: object) -> View:
        """What is seen of a picture at a step; held-out rows are seen whole."""
        least = self.phase.mixture.least_view
        return WHOLE if step == HELD_OUT or least == 1 else View.draw(least, generator("view", *words))


def side_digest(side: Side) -> int:
    """A number that is equal for equal contents: instruction, text and pictures."""
    digest = hashlib.sha256(f"{side.instruction}\0{side.text}".encode())
    for picture in side.images:
        digest.update(hashlib.sha256(picture).digest())
    return int.from_bytes(digest.digest()[:7], "little")


class StepDataset(Dataset[StepWork | HeldOutWork | PipelineError]):
    """`dataset[step]` is this rank's work of that step, `dataset[HELD_OUT]` its share of the `held_out` rows, which are kept out
    of training. The recipe's last phase, with numbers for its chunks, says what is read.
    """

    def __init__(self, corpus: Corpus, recipe: Recipe, vocabulary: Vocabulary, *, rank: int = 0, num_ranks: int = 1) -> None:
        """Raises ConfigError where the corpus cannot fill the mixture."""
        self.corpus, self.recipe, self.phase = corpus, recipe, recipe.phase
        self.rank, self.num_ranks = rank, num_ranks
        self.rows, phase = RowBuilder(recipe, vocabulary), recipe.phase
        _refuse_few(phase, num_ranks)
        mixture, division = phase.mixture, divide(corpus, phase, max_length=recipe.max_length, seed=recipe.order_seed)
        self.held_out = division.held_out
        self.negatives = HardNegatives(corpus, phase.negatives, recipe.max_length, division.held_out.pairs)
        if mixture.pairs:
            warn_of_small(division.pairs, mixture.sub_batch)
        runs, pair_shares = mixture.pairs // mixture.sub_batch, shares(division.pairs, mixture, cap=mixture.cap)
        self.pairs = Stream(division.pairs, pair_shares, runs=runs, run_length=mixture.sub_batch, seed=recipe.order_seed)
        talk_shares = shares(division.talks, mixture)
        self.comparisons = self._comparisons()
        self.outside = Stream(division.talks, talk_shares, runs=mixture.outside, run_length=1, seed=recipe.order_seed)

    def _comparisons(self) -> Comparisons | None:
        """What makes the rows of a phase that compares; None for others."""
        target, recipe = self.phase.target, self.recipe
        if not isinstance(target, Relevance):
            return None
        seed, held_out = recipe.order_seed, self.held_out.pairs
        return Comparisons(self.corpus, target, self.rows.builder, seed=seed, held_out=held_out)

    def draw(self, step: int) -> Draw:
        """Corpus rows of a step, or those held out."""
        if step == HELD_OUT:
            return self.held_out
        return Draw(tuple(self.pairs.at(step)), tuple(self.outside.at(step)))

    def __getitem__(self, step: int) -> StepWork | HeldOutWork | PipelineError:
        """This rank's work of a step; a bad row comes back as the error itself: a worker process cannot raise it whole."""
        try:
            return self.held_out_work() if step == HELD_OUT else self.work(self.draw(step), step)
        except PipelineError as error:
            return error

    def plan(self, draw: Draw, step: int) -> Plan:
        """What a step trains on, whatever the rank. Held-out rows are as both losses see them, whatever their weights."""
        negatives = [self.negatives.of(row) for row in draw.pairs]
        if self.comparisons:
            weight = 1.0 if step == HELD_OUT else weight_at(self.phase.language_weight, step)
            return compare(self.comparisons.sides(draw, negatives, step), weight)
        if step == HELD_OUT:
            return make_plan(draw, negatives, self.phase.mixture, (1.0, 1.0))
        return plan_step(draw, negatives, self.phase, step)

    def work(self, draw: Draw, step: int) -> StepWork:
        """This rank's share of a global batch, read and packed. Raises DataError where nothing of it can be read."""
        plan = self.plan(draw, step)
        rows, unreadable = self._readable(self._own(plan), step)
        if unreadable and not rows:
            raise DataError(
                f"step {step + 1}: none of this rank's {len(unreadable)} sides can be read, last {unreadable[-1].shard}: "
                f"{unreadable[-1].reason}; bring a disk that is away back, else convert again"
            )
        return replace(pack_work(rows, plan, self.recipe), asks=self._expects_answers(plan), unreadable=unreadable)

    def _expects_answers(self, plan: Plan) -> bool:
        """Whether some row of a plan is asked something that ought to have an answer."""
        if self.comparisons:
            return bool(plan.sides)
        target, index = self.phase.target, self.corpus.index
        asked = [planned for planned in plan.sides if planned.asks]
        return any(side.loss_group == OUTSIDE or target.expects(index.info(side.row).dataset) for side in asked)

    def step_bytes(self, step: int) -> int:
        """About the bytes of this rank's work of a step, by the table of lengths alone: nothing is read."""
        own = self._own(self.plan(self.draw(step), step))
        sizes = [self.corpus.lengths.size(*part) for planned in own for part in planned.parts]
        visual_token = 3 * self.recipe.pixels.factor**2
        token = TOKEN_BYTES + REFERENCE_BYTES * self.phase.language.has_reference
        return sum(tokens * token + visual * visual_token for tokens, visual in sizes)

    def _own(self, plan: Plan) -> list[PlannedSide]:
        """The sides of a plan that are dealt to this rank."""
        if self.num_ranks == 1:
            return list(plan.sides)
        hands = deal([self._cost(planned) for planned in plan.sides], self.num_ranks)
        return [plan.sides[number] for number in hands[self.rank]]

    def held_out_work(self) -> HeldOutWork:
        """This rank's share of the held-out rows, read and packed; there may be none, or none that can be read."""
        plan = self.plan(self.held_out, HELD_OUT)
        rows, unreadable = self._readable(self._own(plan), HELD_OUT)
        return pack_held_out(rows, plan, self.recipe, unreadable)

    def dummy(self) -> Batch:
        """The cheapest row of the first step that can be read, alone and the same on every rank: a resumed run begins with it."""
        unread: UnreadableError | None = None
        for planned in sorted(self.plan(self.draw(0), 0).sides, key=self._cost):
            try:
                return pack_for(self.recipe, [self.row(planned, 0)])
            except UnreadableError as error:
                unread = error
        raise unread or ConfigError("mixture: the first step has no rows")

    def global_rows(self, draw: Draw, step: int) -> list[Row]:
        """All rows of a global batch, whatever the rank."""
        return [self.row(planned, step) for planned in self.plan(draw, step).sides]

    def _readable(self, sides: Sequence[PlannedSide], step: int) -> tuple[list[Row], tuple[Unreadable, ...]]:
        """The rows of planned sides, and what is left out of them."""
        rows, unreadable = [], []
        for planned in sides:
            try:
                rows.append(self.row(planned, step))
            except UnreadableError as error:
                unreadable.append(error.found)
        return rows, tuple(unreadable)

    def row(self, planned: PlannedSide, step: int) -> Row:
        """The row of a planned side. Raises UnreadableError, naming shard and key, for a picture that does not decode."""
        sample = self._sample(planned.row)
        if planned.candidates:
            sample = self._compared(sample, planned)
        turns, is_cut = self._turns(sample, planned)
        try:
            row = self.rows.build(sample, planned, turns, step=step)
        except DataError as error:
            shard = str(self.corpus.index.shard(planned.row))
            raise UnreadableError(Unreadable(key=sample.key, side=planned.name, shard=shard, reason=str(error))) from error
        return replace(row, sequence=replace(row.sequence, cut=True)) if is_cut else row

    def _sample(self, row: int) -> Sample:
        """A row of the corpus, its sides worded as the recipe says."""
        return self.recipe.templates.sample(self.corpus.index.read(row))

    def _compared(self, sample: Sample, planned: PlannedSide) -> Sample:
        """The sample with its query and what that is compared with in the place of its query, and what is learnt of them."""
        target = self.phase.target
        assert isinstance(target, Relevance)
        candidates = [self._sample(row).sides[side] for row, side in planned.candidates]
        turn = Turn(question=target.question(len(candidates)), answer=planned.answer)
        return replace(sample, query=replace(target.compared(sample.query, candidates), turns=(turn,)))

    def _turns(self, sample: Sample, planned: PlannedSide) -> tuple[Sequence[Turn], bool]:
        """What a side is asked, and whether its own question was left out for want of room."""
        if planned.candidates:
            return sample.query.turns, False
        if planned.loss_group == OUTSIDE or not planned.asks:
            return sample.query.turns if planned.asks else (), False
        turns = self.phase.target.turns(sample, planned.name, self.corpus.qa)
        if not turns or self.rows.has_room(turns[0], self.corpus.lengths.context(planned.row, planned.side_index)):
            return turns, False
        # The pair itself fits: it stays, and its question counts as a cut answer.
        return (), True

    def _cost(self, planned: PlannedSide) -> float:
        return sum(self.corpus.lengths.cost(*part) for part in planned.parts)


def _refuse_few(phase: Phase, num_ranks: int) -> None:
    least = least_rows(phase)
    if least < num_ranks:
        raise ConfigError(f"mixture: a step of {least} rows is less than one for each of {num_ranks} processes; start fewer")
