"""The batch that a forecast assumes where no data has been looked at: every pair a picture and a text, all of them asked."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TypeVar

import numpy as np

from pipeline.batch import Row, chunk_by_tokens
from pipeline.data.sampler import deal
from pipeline.recipe import Recipe
from pipeline.roles import Role
from pipeline.sequence import TokenSequence
from pipeline.targets import Relevance
from pipeline.train.dataloader.held_out_work import HeldOutChunk, pack_held_out_chunk
from pipeline.train.dataloader.step_work import Chunk, pack_chunk
from pipeline.visual_tokens import PositionRule, VisualTokens

Packed = TypeVar("Packed")

SYSTEM, WORDS, QUESTION = 21, 40, 24
"""Tokens of the template's head, of a side's instruction and text, and of a question with its template."""
OWN_ANSWER, OUTSIDE_ANSWER = 64, 192
"""Tokens of the answer about a pair's own side, and of an outside conversation (the paper's are captions)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Assumed:
    """Rows of a global batch: `visual` tokens a picture; one picture a pair and a conversation; texts of fixed lengths.

    They are counted before the recipe's shrinker, as pixel limits count them. `rule` is the model's rule of positions.
    """

    recipe: Recipe
    visual: int
    rule: PositionRule = "mrope"

    def __str__(self) -> str:
        most, target = self.recipe.phase.negatives.most, self.recipe.phase.target
        left = int(self.tokens.counts([self.recipe.pixels.grid_with(self.visual)])[0])
        visual = f"{left} of {self.visual}" if left < self.visual else f"{self.visual}"
        if isinstance(target, Relevance):
            return f"queries of a picture of {visual} visual tokens, with one candidate and with {1 + target.most}, of texts"
        return (
            f"pairs of a picture of {visual} visual tokens and a text of {WORDS} tokens, answers of {OWN_ANSWER} "
            f"(outside: {OUTSIDE_ANSWER}) tokens" + (f", with {most} hard negatives each, of texts" if most else "")
        )

    @property
    def tokens(self) -> VisualTokens:
        """How pictures stand in a row."""
        return VisualTokens(merge=self.recipe.pixels.merge, rule=self.rule, shrinker=self.recipe.vision)

    def counted(self) -> list[tuple[Row, int]]:
        """Each sort of row and how many of it a global batch has."""
        mixture, target = self.recipe.phase.mixture, self.recipe.phase.target
        if isinstance(target, Relevance):
            one, several = (self._row(self.visual, 1, slot=-1, texts=1 + count) for count in (1, 1 + target.most))
            return [(one, 2 * mixture.pairs), (several, mixture.pairs)]
        query = self._row(self.visual, OWN_ANSWER if "query" in mixture.own_sides else 0, slot=0)
        positive = self._row(0, OWN_ANSWER if "positive" in mixture.own_sides else 0, slot=1)
        negative = self._row(0, OWN_ANSWER if "negatives" in mixture.own_sides else 0, slot=2)
        talk = self._row(self.visual, OUTSIDE_ANSWER, slot=-1)
        numbers = mixture.pairs, mixture.pairs, mixture.pairs * self.recipe.phase.negatives.most, mixture.outside
        return [(row, number) for row, number in zip((query, positive, negative, talk), numbers, strict=True) if number]

    def steps(self, num_ranks: int) -> list[list[Chunk]]:
        """The chunks of each rank, dealt and cut as training does it."""
        return self._dealt(num_ranks, pack_chunk)

    def looks(self, num_ranks: int) -> list[list[HeldOutChunk]]:
        """The chunks of each rank's share of the held-out slice, which has as many rows as the phase asks for."""
        phase = self.recipe.phase
        mixture, most = phase.mixture, phase.held_out
        if not most:
            return [[] for _ in range(num_ranks)]
        held_out = replace(mixture, pairs=most * bool(mixture.pairs), outside=most * bool(mixture.outside), sub_batch=1)
        return replace(self, recipe=self.recipe.with_phase(mixture=held_out))._dealt(num_ranks, pack_held_out_chunk)

    def _dealt(self, num_ranks: int, pack: Callable[[list[Row], Recipe], Packed]) -> list[list[Packed]]:
        """The rows dealt to ranks, cut and packed. Equal chunks are packed once."""
        rows = [row for row, number in self.counted() for _ in range(number)]
        packed: dict[tuple[int, ...], Packed] = {}

        def chunk(part: list[Row]) -> Packed:
            sorts = tuple(map(id, part))
            if sorts not in packed:
                packed[sorts] = pack(part, self.recipe)
            return packed[sorts]

        budget = self.recipe.phase.budget.tokens
        hands = deal([len(row.sequence) for row in rows], num_ranks)
        return [[chunk(part) for part in chunk_by_tokens([rows[place] for place in hand], budget)] for hand in hands]

    def _row(self, visual: int, answer: int, *, slot: int, texts: int = 1) -> Row:
        side = np.array([self.recipe.pixels.grid_with(visual)] if visual else np.zeros((0, 3)), dtype=np.int64)
        counts = {
            Role.SYSTEM: SYSTEM,
            Role.CONTEXT: int(self.tokens.counts(side).sum()) + texts * WORDS,
            Role.COMPRESSION: self.recipe.tokens.count,
            Role.QUESTION: QUESTION if answer else 0,
            Role.ANSWER: answer,
        }
        order = self.recipe.phase.layout.order
        roles = np.repeat([int(role) for role in order], [counts[role] for role in order])
        roles = roles[: self.recipe.max_length].astype(np.int8)
        starts = np.array([SYSTEM if Role.SYSTEM in order else 0] if visual else [], dtype=np.int64)
        unread = self._unread if answer and slot >= 0 else 0
        ids = np.zeros(len(roles), dtype=np.int64)
        sequence = TokenSequence(ids, roles, side, starts, unread=unread, visual=self.tokens)
        # Attention reads the context twice where an answer sees it without some of the tokens.
        compressed = Role.COMPRESSION in order and (not unread or self.recipe.phase.layout.gate_probability == 1)
        return Row(key="assumed", sequence=sequence, compressed=compressed, slot=slot)

    @property
    def _unread(self) -> int:
        """Compression tokens that an answer does not see, where it sees the most that are not all."""
        tokens = self.recipe.tokens
        return tokens.count - tokens.elastic[-2] if len(tokens.elastic) > 1 else 0
