"""A Side becomes token ids and roles. Both grow in lockstep here, so what a token is for is decided where it is born.

One template serves retrieval and generation (CREM, section 3.1):

    System: <system>   User: <image> [eInst] <chorus> [gInst]   Assistant: <answer>

Others are values of a layout (pipeline/roles.py): VLM2Vec's plain prompt, CoMa's turns, Bottleneck Tokens' target.

Text of a corpus is encoded with special tokens switched off: a row cannot smuggle in a template token.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from pipeline.errors import DataError
from pipeline.roles import Continues, Layout, Role
from pipeline.sample import IMAGE_MARKER, Side, Turn
from pipeline.spans import UNREAD
from pipeline.visual_tokens import QWEN, VisualTokens

Segment = tuple[Role, Sequence[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Vocabulary:
    """What the template needs of a model: `encode` (plain text only), the ids of the special tokens, its `visual` tokens."""

    encode: Callable[[str], Sequence[int]]
    im_start: int
    im_end: int
    vision_start: int
    vision_end: int
    image_pad: int
    chorus: tuple[int, ...]
    visual: VisualTokens = QWEN


@dataclass(frozen=True, slots=True, eq=False)
class TokenSequence:
    """`input_ids` (T,) int64, `roles` (T,) int8, `grid_thw` (I, 3) int64 patches, `image_starts` (I,) each picture's first token.

    `cut` says that an answer was shortened to fit the cap; `scored` and `continues` are the layout's. What stands behind the
    compression tokens sees all but the last `unread` of them, at the positions that it has where these are missing.
    """

    input_ids: np.ndarray
    roles: np.ndarray
    grid_thw: np.ndarray
    image_starts: np.ndarray
    cut: bool = False
    scored: tuple[Role, ...] = (Role.ANSWER,)
    continues: Continues = "next"
    unread: int = 0
    visual: VisualTokens = QWEN

    def __len__(self) -> int:
        return len(self.input_ids)

    def until(self, role: Role) -> "TokenSequence":
        """The part that ends with the last token of `role` (what a retrieval pass needs)."""
        end = int(np.flatnonzero(self.roles == role)[-1]) + 1
        return replace(self, input_ids=self.input_ids[:end], roles=self.roles[:end], cut=False)

    def scored_tokens(self) -> np.ndarray:
        """Indices of the tokens that the language loss scores, int64."""
        return np.flatnonzero(np.isin(self.roles, self.scored))

    def next_position(self) -> int:
        """The position of a token behind the compression tokens that end this sequence."""
        return len(self) if self.continues == "count" else int(self.positions()[:, -1].max()) + 1

    def attention_roles(self) -> np.ndarray:
        """The roles (T,) int8 as attention tells them apart: UNREAD ones are not COMPRESSION."""
        if not self.unread:
            return self.roles
        roles = self.roles.copy()
        roles[np.flatnonzero(roles == Role.COMPRESSION)[-self.unread :]] = UNREAD
        return roles

    def image_tokens(self) -> np.ndarray:
        """Positions of all visual tokens, picture after picture, int64."""
        sizes = self.visual.counts(self.grid_thw)
        runs = [np.arange(start, start + size) for start, size in zip(self.image_starts, sizes, strict=True)]
        return np.concatenate(runs) if runs else np.zeros(0, dtype=np.int64)

    def positions(self) -> np.ndarray:
        """Position ids (axes, T) int64 by the model's rule (`VisualTokens.positions`), and the layout's behind the tokens."""
        out = self.visual.positions(len(self), self.image_starts, self.grid_thw)
        if self.continues == "count" or self.unread:
            behind = int(np.flatnonzero(self.roles == Role.COMPRESSION)[-1]) + 1
            if self.continues == "count":
                out[:, behind:] = np.arange(behind, len(self))
            out[:, behind:] -= self.unread
        return out


def native_layout(layout: Layout) -> Layout:
    """The layout of native inference, whatever prompt a model embeds with: a chat without compression tokens, nothing hidden
    (CREM, section 3.3)."""
    order = (Role.SYSTEM, Role.CONTEXT, Role.QUESTION, Role.ANSWER)
    return Layout(order=order, system=layout.system, represent="")


def conversation_context(side: Side, layout: Layout) -> Side:
    """What is represented of a conversation: its pictures, under the layout's instruction for bare pictures if it has one."""
    if not layout.represent or not side.images or side.instruction or side.text:
        return side
    markers = " ".join(f"<|image_{number + 1}|>" for number in range(len(side.images)))
    return replace(side, instruction=f"{markers}\n{layout.represent}")


@dataclass(frozen=True, slots=True, kw_only=True)
class SequenceBuilder:
    """Builds sequences of one layout. `max_length` caps the tokens (paper: 2,048): an answer may be cut, context never.

    `keeps_space`: white space around a question is asked too, as others' prompts have it; corpora's is stripped.
    """

    vocabulary: Vocabulary
    layout: Layout
    max_length: int
    keeps_space: bool = False

    def build(self, side: Side, grid_thw: np.ndarray, turns: Sequence[Turn] = (), *, key: str = "") -> TokenSequence:
        """Tokens of a side and the given turns. A turn without an answer stays open: the sequence ends at the assistant's header.
        Segments whose roles the layout does not order (turns in a plain prompt) are left out.

        `grid_thw` (I, 3) counts the patches of each picture. Raises DataError, naming `key`, when context and question alone
        pass `max_length`, or when pictures and markers do not match.
        """
        grid_thw = np.asarray(grid_thw, dtype=np.int64).reshape(-1, 3)
        head = [self._segment(role, side, grid_thw, key) for role in self.layout.order if role < Role.QUESTION]
        asked = [segment for segment in self._turn_segments(turns) if segment[0] in self.layout.order]
        segments, cut = self._fit([*head, *asked], key)
        ids = np.concatenate([np.asarray(part, dtype=np.int64) for _, part in segments])
        roles = np.concatenate([np.full(len(part), role, dtype=np.int8) for role, part in segments])
        starts = np.flatnonzero(ids == self.vocabulary.vision_start) + 1
        layout, visual = self.layout, self.vocabulary.visual
        return TokenSequence(ids, roles, grid_thw, starts, cut, scored=layout.scored, continues=layout.continues, visual=visual)

    def system_ids(self) -> list[int]:
        """The constant head of every sequence: the system turn and the opening of the user turn."""
        v = self.vocabulary
        opening = [v.im_start, *v.encode(f"system\n{self.layout.system}"), v.im_end, *v.encode("\n")]
        return [*opening, v.im_start, *v.encode("user\n")]

    def _segment(self, role: Role, side: Side, grid_thw: np.ndarray, key: str) -> Segment:
        if role is Role.SYSTEM:
            return role, self.system_ids()
        if role is Role.COMPRESSION:
            return role, list(self.vocabulary.chorus)
        cue = self.vocabulary.encode(f"\n{self.layout.cue}") if self.layout.cue else []
        end = [self.vocabulary.im_end] if self.layout.template == "plain" else []
        return role, [*self._context_ids((side.instruction + side.text).strip(), side, grid_thw, key), *cue, *end]

    def _context_ids(self, text: str, side: Side, grid_thw: np.ndarray, key: str) -> Iterator[int]:
        """Ids of a text with its markers replaced by visual blocks; pictures without a marker come first."""
        parts = IMAGE_MARKER.split(text)
        words, numbers = parts[0::2], [int(number) for number in parts[1::2]]
        if len(grid_thw) != len(side.images) or (numbers and numbers != list(range(1, len(side.images) + 1))):
            raise DataError(f"{key or 'a row'}: {len(side.images)} pictures but markers {numbers}; mend the row or drop it")
        if not numbers:
            for grid in grid_thw:
                yield from self._visual_ids(grid)
        yield from self.vocabulary.encode(words[0])
        for number, following in zip(numbers, words[1:], strict=True):
            yield from self._visual_ids(grid_thw[number - 1])
            yield from self.vocabulary.encode(following)

    def _visual_ids(self, grid: np.ndarray) -> list[int]:
        v = self.vocabulary
        return [v.vision_start, *[v.image_pad] * int(v.visual.counts(grid)[0]), v.vision_end]

    def question_ids(self, question: str, *, follows: bool = False) -> list[int]:
        """A question with the template tokens up to the assistant's answer; `follows` says that an earlier answer precedes it.

        Behind a target layout's tokens stands the assistant's header alone.
        """
        v = self.vocabulary
        header = [v.im_start, *v.encode("assistant\n")]
        if self.layout.template == "target":
            return header
        opens = follows or self.layout.template == "turns"
        opening = [*(v.encode("\n") if follows else ()), v.im_start, *v.encode("user\n")] if opens else []
        words = question if self.keeps_space else question.strip()
        return [*opening, *v.encode(words), v.im_end, *v.encode("\n"), *header]

    def _turn_segments(self, turns: Sequence[Turn]) -> Iterator[Segment]:
        """Every question is [gInst] of its turn, template tokens included; the end token belongs to the answer."""
        for number, turn in enumerate(turns):
            yield Role.QUESTION, self.question_ids(turn.question, follows=number > 0)
            if turn.answer:
                yield Role.ANSWER, [*self.vocabulary.encode(turn.answer.strip()), self.vocabulary.im_end]

    def _fit(self, segments: list[Segment], key: str) -> tuple[list[Segment], bool]:
        """Cut at `max_length`, inside an answer only: later turns go whole, then the tail of the answer with its end token."""
        total = 0
        for position, (role, ids) in enumerate(segments):
            if total + len(ids) > self.max_length:
                kept = segments[:position]
                if role is Role.ANSWER and total < self.max_length:
                    return [*kept, (role, ids[: self.max_length - total])], True
                if role is Role.ANSWER:
                    kept.pop()  # a question whose answer finds no room at all
                if kept and kept[-1][0] is Role.ANSWER:
                    return kept, True
                raise DataError(
                    f"{key or 'a row'}: context and question pass the cap of {self.max_length} tokens; shorten or drop it"
                )
            total += len(ids)
        return segments, False
