"""From the corpus to a rank's chunks of a step: plan the global batch, deal it to ranks, read, tokenise, decode and pack.

A map from step number to work, so torch's DataLoader can run it in any number of workers without changing what is read.
"""

import hashlib
import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from torch.utils.data import Dataset

from pipeline.batch import OUTSIDE, Row
from pipeline.data.qa import QaTable
from pipeline.data.sampler import Draw, Stream, coin, deal, generator
from pipeline.data.shards import RowInfo, ShardIndex
from pipeline.errors import ConfigError, PipelineError
from pipeline.model.inputs import load_pixels
from pipeline.recipe import Phase, Recipe
from pipeline.sample import Sample, Side, Turn
from pipeline.sequence import SequenceBuilder, Vocabulary, native_layout
from pipeline.train.plan import SIDES, Item, Plan, least_rows, make_plan, plan_step
from pipeline.train.work import StepWork, pack_work

logger = logging.getLogger(__name__)


class RowBuilder:
    """Turns a side of a sample into a Row, with every random choice drawn from (seed, step, key, side)."""

    def __init__(self, recipe: Recipe, phase: Phase, vocabulary: Vocabulary) -> None:
        self.recipe, self.phase = recipe, phase
        self.builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.layout, max_length=recipe.max_length)
        self.native_builder = replace(self.builder, layout=native_layout(recipe.layout))

    def build(self, sample: Sample, item: Item, turns: Sequence[Turn], *, step: int) -> Row:
        """The row of an item. Raises DataError, naming the key, for a picture that does not decode or a context over the cap."""
        side, outside = sample.sides[item.place], item.group == OUTSIDE
        words = (self.recipe.seed, step, sample.key, item.side)
        native = outside and coin(self.phase.mixture.native_share, "native", *words)
        side = conversation_context(side, native=native) if outside else side
        pixels = tuple(load_pixels(picture, self.recipe.pixels, where=sample.key) for picture in side.images)
        patch = self.recipe.pixels.patch
        grids = np.array([(1, p.shape[1] // patch, p.shape[2] // patch) for p in pixels], dtype=np.int64)
        return Row(
            key=sample.key,
            sequence=(self.native_builder if native else self.builder).build(side, grids, turns, key=sample.key),
            pixels=pixels,
            compressed=not native and coin(self.recipe.layout.gate_probability, "gate", *words),
            slot=item.slot,
            item=side_digest(side),
            group=item.group,
        )


def side_digest(side: Side) -> int:
    """A number that is equal for equal contents: instruction, text and pictures."""
    digest = hashlib.sha256(f"{side.instruction}\0{side.text}".encode())
    for picture in side.images:
        digest.update(hashlib.sha256(picture).digest())
    return int.from_bytes(digest.digest()[:7], "little")


def conversation_context(side: Side, *, native: bool) -> Side:
    """What is represented of a conversation: its pictures under the paper's generic [eInst], or the bare pictures natively."""
    if native or not side.images or side.instruction or side.text:
        return side
    return replace(
        side, instruction=" ".join(f"<|image_{n + 1}|>" for n in range(len(side.images))) + "\nRepresent the given image."
    )


class Feed(Dataset[StepWork | PipelineError]):
    """`feed[step]` is this rank's work of that step. `held_out` rows are kept away from training for the running evaluation."""

    def __init__(
        self,
        index: ShardIndex,
        qa: QaTable,
        recipe: Recipe,
        phase: Phase,
        vocabulary: Vocabulary,
        *,
        rank: int = 0,
        num_ranks: int = 1,
    ) -> None:
        self.index, self.qa = index, qa
        self.recipe, self.phase = recipe, phase
        self.rank, self.num_ranks = rank, num_ranks
        self.rows = RowBuilder(recipe, phase, vocabulary)
        _refuse_few(phase, num_ranks)
        mixture, self.held_out = phase.mixture, held_out_rows(index, phase, recipe.seed)
        hidden = set(self.held_out.pairs) | set(self.held_out.outside)
        pairs = {name: [row for row in index.datasets[name] if row not in hidden] for name in names_of(index, "pairs")}
        talks = {name: [row for row in index.datasets[name] if row not in hidden] for name in names_of(index, "conversations")}
        weights = dict(mixture.weights)
        shares = {name: weights.get(name, 1.0) * min(len(rows), mixture.cap) for name, rows in pairs.items()}
        runs = mixture.pairs // mixture.sub_batch
        if mixture.pairs:
            _warn_of_small(pairs, mixture.sub_batch)
        self.pairs = Stream(pairs, shares, runs=runs, run_length=mixture.sub_batch, seed=recipe.seed)
        talk_shares = {name: weights.get(name, 1.0) * len(rows) for name, rows in talks.items()}
        self.outside = Stream(talks, talk_shares, runs=mixture.outside, run_length=1, seed=recipe.seed)

    def draw(self, step: int) -> Draw:
        """Corpus rows of a step."""
        return Draw(tuple(self.pairs.at(step)), tuple(self.outside.at(step)))

    def __getitem__(self, step: int) -> StepWork | PipelineError:
        """This rank's work of a step; a bad row comes back as the error itself: a worker process cannot raise it whole."""
        try:
            return self.work(self.draw(step), step)
        except PipelineError as error:
            return error

    def work(self, draw: Draw, step: int) -> StepWork:
        """This rank's share of a global batch, read and packed."""
        plan = plan_step(draw, self.phase, step)
        items = plan.items
        hand = deal([self._cost(item) for item in items], self.num_ranks)[self.rank] if self.num_ranks > 1 else range(len(items))
        rows = [self._row(items[place], step) for place in hand]
        return pack_work(rows, plan, self.recipe, self.phase)

    def global_rows(self, draw: Draw, step: int) -> list[Row]:
        """All rows of a global batch, whatever the rank."""
        return [self._row(item, step) for item in plan_step(draw, self.phase, step).items]

    def held_out_batch(self) -> tuple[list[Row], Plan]:
        """The rows set aside, as both losses see them, whatever their weights."""
        plan = make_plan(self.held_out, self.phase.mixture, 1.0, 1.0)
        return [self._row(item, step=-1) for item in plan.items], plan

    def _row(self, item: Item, step: int) -> Row:
        sample = self.index.read(item.row)
        turns: Sequence[Turn] = ()
        if item.group == OUTSIDE:
            turns = sample.query.turns
        elif item.asks:
            turns = self.qa.turns(sample.dataset, sample.key, SIDES[item.place])
        return self.rows.build(sample, item, turns, step=step)

    def _cost(self, item: Item) -> float:
        """Estimated tokens of an item, from the index alone: text bytes and the visual tokens of its pictures."""
        info: RowInfo = self.index.info(item.row)
        grids = [self.recipe.pixels.grid(height, width) for width, height in info.image_sizes]
        return info.text_bytes / 4 + sum(t * h * w for t, h, w in grids) / self.recipe.pixels.merge**2


def _warn_of_small(pairs: Mapping[str, Sequence[int]], sub_batch: int) -> None:
    for name, rows in pairs.items():
        if len(rows) < sub_batch:
            logger.warning(
                "%s: %d rows to train on are fewer than mixture.sub_batch = %d; it is never drawn", name, len(rows), sub_batch
            )


def names_of(index: ShardIndex, kind: str) -> list[str]:
    """Datasets of a kind."""
    return [name for name in sorted(index.datasets) if index.kind(name) == kind]


def _refuse_few(phase: Phase, num_ranks: int) -> None:
    least = least_rows(phase)
    if least < num_ranks:
        raise ConfigError(f"mixture: a step of {least} rows is less than one for each of {num_ranks} processes; start fewer")


def held_out_rows(index: ShardIndex, phase: Phase, seed: int) -> Draw:
    """Rows set aside from training: `phase.held_out` pairs spread over datasets by size, and as many conversations.

    At most a tenth of either, and none of a kind that the phase does not read.
    """

    def choose(kind: str, is_read: bool) -> tuple[int, ...]:
        if not is_read:
            return ()
        rows = np.array([row for name in names_of(index, kind) for row in index.datasets[name]], dtype=np.int64)
        chosen = generator(seed, "held out", kind).permutation(rows)[: min(phase.held_out, len(rows) // 10)]
        return tuple(sorted(chosen.tolist()))

    return Draw(choose("pairs", phase.mixture.pairs > 0), choose("conversations", phase.mixture.outside > 0))
