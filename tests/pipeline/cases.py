"""Seeded cases of packed attention: a random layout that is no leak, and random rows of it in one another's company."""

from dataclasses import dataclass

import numpy as np

from pipeline.batch import Row
from pipeline.errors import ConfigError
from pipeline.roles import Hide, Layout, Role
from pipeline.sequence import TokenSequence, Vocabulary
from tests.pipeline.corpus import WORDS

HEAD = (Role.SYSTEM, Role.CONTEXT, Role.COMPRESSION)
TURN = (Role.QUESTION, Role.ANSWER)
TURN_ORDERS = (TURN, TURN, TURN, TURN[1:], ())


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Case:
    """Rows to pack together and the layout that says who sees whom."""

    layout: Layout
    rows: list[Row]


def random_case(seed: int, vocabulary: Vocabulary, *, layout: Layout | None = None) -> Case:
    """One to three rows, their gates tossed; half of the cases give all rows the same SYSTEM tokens."""
    rng = np.random.default_rng(seed)
    layout = layout or random_layout(rng)
    constant = list(vocabulary.encode("a picture of")) if rng.random() < 0.5 else None
    rows = [random_sequence_row(rng, layout, vocabulary, system=constant) for _ in range(rng.integers(1, 4))]
    return Case(layout=layout, rows=rows)


def random_layout(rng: np.random.Generator) -> Layout:
    """A layout that passes the leak check: 0 to 3 hidden pairs; roles of the head in any order, some of them absent."""
    while True:
        head = [role for role in HEAD if role == Role.CONTEXT or rng.random() < 0.85]
        if rng.random() < 0.3:
            rng.shuffle(head)  # type: ignore[arg-type]
        order = (*head, *TURN_ORDERS[rng.integers(len(TURN_ORDERS))])
        hidden = tuple(_random_hide(rng, order) for _ in range(rng.integers(4) if len(order) > 1 else 0))
        try:
            return Layout(order=order, hidden=hidden)
        except ConfigError:
            continue


def _random_hide(rng: np.random.Generator, order: tuple[Role, ...]) -> Hide:
    mixed = [order[place] for place in rng.permutation(len(order))]
    num_queries = int(rng.integers(1, min(3, len(order))))
    num_keys = int(rng.integers(1, min(3, len(order) - num_queries + 1)))
    return Hide(tuple(mixed[:num_queries]), tuple(mixed[num_queries:][:num_keys]))


def random_sequence_row(rng: np.random.Generator, layout: Layout, vocabulary: Vocabulary, *, system: list[int] | None) -> Row:
    """A row of `layout`: its head, now and then without COMPRESSION (a native row), and up to three turns."""
    kinds = [role for role in layout.order if role in HEAD and (role != Role.COMPRESSION or rng.random() < 0.8)]
    turns = [role for role in layout.order if role in TURN] * int(rng.integers(4))
    sizes = [(1, 2 * int(rng.integers(1, 3)), 2 * int(rng.integers(1, 3))) for _ in range(rng.integers(3))]
    grids = np.array(sizes, dtype=np.int64).reshape(-1, 3)
    segments = [(role, _random_ids(rng, role, vocabulary, grids, system)) for role in [*kinds, *turns]]
    ids = np.concatenate([np.asarray(part, dtype=np.int64) for _, part in segments])
    roles = np.concatenate([np.full(len(part), role, dtype=np.int8) for role, part in segments])
    starts = np.flatnonzero(ids == vocabulary.vision_start) + 1
    pixels = tuple(rng.integers(0, 255, (3, 14 * height, 14 * width), dtype=np.uint8) for _, height, width in grids)
    return Row(key="", sequence=TokenSequence(ids, roles, grids, starts), pixels=pixels, compressed=bool(rng.integers(2)))


def _random_ids(
    rng: np.random.Generator, role: Role, vocabulary: Vocabulary, grids: np.ndarray, system: list[int] | None
) -> list[int]:
    """Words; SYSTEM the given ones, if any; in CONTEXT the pictures stand among the words."""
    if role == Role.COMPRESSION:
        return list(vocabulary.chorus[: rng.integers(1, len(vocabulary.chorus) + 1)])
    if role == Role.SYSTEM and system is not None:
        return system
    ids = _words(rng, vocabulary)
    for grid in grids if role == Role.CONTEXT else ():
        block = [vocabulary.vision_start, *[vocabulary.image_pad] * (int(grid.prod()) // 4), vocabulary.vision_end]
        ids += [*block, *_words(rng, vocabulary)]
    return ids


def _words(rng: np.random.Generator, vocabulary: Vocabulary) -> list[int]:
    return [token for word in rng.choice(WORDS, size=rng.integers(1, 6)) for token in vocabulary.encode(str(word))]
