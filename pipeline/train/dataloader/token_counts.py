"""Counting the tokens of every row: the texts are tokenised as training will do it, the pictures known by their size alone."""

import logging
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from torch.utils.data import DataLoader, Dataset

from pipeline.data.atomic_write import atomic_file
from pipeline.data.shards import ShardIndex
from pipeline.errors import DataError, PipelineError
from pipeline.lock import leave_to_parent
from pipeline.manifest import file_digest, fingerprint
from pipeline.model.inputs import PixelLimits
from pipeline.model.shrinkers import KEEP_ALL
from pipeline.model.tiles import Tiles
from pipeline.recipe import Recipe
from pipeline.roles import REPRESENT_IMAGE
from pipeline.sample import Sample, Side
from pipeline.sequence import SequenceBuilder, Vocabulary, conversation_context, native_layout
from pipeline.templates import Templates
from pipeline.train.dataloader.lengths import NEVER_FITS, SCHEMA, Lengths, read_lengths

logger = logging.getLogger(__name__)

PIECE_ROWS = 1000
PART_ROWS = 20_000
"""Rows of a part: what a kill costs at most."""
ROWS_A_PROCESS = 20_000
"""A corpus with fewer rows is counted in this process: starting others would take longer."""

FORMAT = 1
"""Rises when the table or the way of counting changes."""

_TOKENIZER_FILES = (
    "tokenizer.json", "tokenizer_config.json", "vocab.json", "merges.txt", "added_tokens.json", "special_tokens_map.json",
)  # fmt: skip
_UNWORDED = Templates()
_PROBE = Side(instruction="Represent the given text: ", text="probe")

Progress = Callable[[int, int], None]
"""Called with (rows counted, rows in all)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ruler:
    """Counts the tokens of rows of one recipe's layout; `builder`'s own cap does not matter.

    `native` builds conversations of recipes that also read them natively with another prompt; the longer form counts.
    """

    builder: SequenceBuilder
    pixels: PixelLimits | Tiles
    native: SequenceBuilder | None = None
    phase: str = ""
    templates: Templates = _UNWORDED

    def row(self, index: ShardIndex, row: int) -> dict[str, Any]:
        """A row of the table. A row that cannot become tokens has a problem instead; raises DataError for a damaged shard."""
        info, sample = index.info(row), self.templates.sample(index.texts(row))
        try:
            counts = list(self._sides(sample, info.image_sizes))
        except DataError as error:
            return {"key": info.key, "tokens": [0], "needed": [NEVER_FITS], "visual": [0], "problem": str(error)}
        tokens, needed, visual = (list(numbers) for numbers in zip(*counts, strict=True))
        return {"key": info.key, "tokens": tokens, "needed": needed, "visual": visual, "problem": None}

    def _sides(self, sample: Sample, sizes: Iterable[tuple[int, int]]) -> Iterator[tuple[int, ...]]:
        """Tokens, needed and visual tokens of each side; `sizes` are (width, height) of all its pictures, side after side."""
        rest = iter(sizes)
        for side in sample.sides:
            limits = self.pixels.of(self.phase, sample.dataset)
            grids = np.array([limits.grid(height, width) for width, height in _take(rest, len(side.images))])
            forms = [(self.builder, side if sample.positive else conversation_context(side, self.builder.layout))]
            if self.native and not sample.positive:
                forms.append((self.native, conversation_context(side, self.native.layout)))
            counts = [self._side(builder, form, grids, sample.key) for builder, form in forms]
            yield tuple(max(numbers) for numbers in zip(*counts, strict=True))

    def _side(self, builder: SequenceBuilder, side: Side, grids: np.ndarray, key: str) -> tuple[int, int, int]:
        builder = replace(builder, max_length=sys.maxsize)
        # What the tower sees: a shrinker leaves out some of them behind it.
        visual = int(replace(builder.vocabulary.visual, shrinker=None).counts(grids).sum())
        context = len(builder.build(side, grids, key=key))
        if not side.turns:
            return context, context, visual
        # The first question must be followed by at least one token of its answer, or there is nothing to learn.
        needed = context + len(builder.question_ids(side.turns[0].question)) + 1
        return len(builder.build(side, grids, side.turns, key=key)), needed, visual


def ruler_of(recipe: Recipe, vocabulary: Vocabulary) -> Ruler:
    """What counts the tokens of a recipe's rows."""
    builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
    # Within a chat the native form lacks the compression tokens and nothing else, so it is never the longer one.
    is_longer = recipe.phase.layout.template != "chat" and recipe.phase.mixture.native_share > 0
    native = replace(builder, layout=native_layout(recipe.phase.layout)) if is_longer else None
    return Ruler(builder=builder, pixels=recipe.pixels, native=native, phase=recipe.phase.name, templates=recipe.templates)


def lengths_file(folder: Path, index: ShardIndex, ruler: Ruler, model: Path) -> Path:
    """The table of the rows' lengths, in the folder that keeps such tables."""
    return folder / table_name(index, ruler, model)


def table_name(index: ShardIndex, ruler: Ruler, model_folder: Path) -> str:
    """File name of a corpus's table: it depends on shards, tokenizer, template, order of roles and pixel limits."""
    tokenizer = {name: file_digest(model_folder / name) for name in _TOKENIZER_FILES if (model_folder / name).is_file()}
    probe = ruler.builder.build(_PROBE, np.zeros((0, 3))).input_ids.tolist()
    layouts = [builder.layout for builder in (ruler.builder, ruler.native) if builder]
    # What is hidden, and how often, changes no length.
    shapes: list[object] = [(layout.order, layout.template) for layout in layouts]
    # Named where it is not the instruction that all tables once were made with.
    shapes += [ruler.builder.layout.represent] if ruler.builder.layout.represent != REPRESENT_IMAGE else []
    shrinker = ruler.builder.vocabulary.visual.shrinker
    shapes += [] if shrinker in (None, KEEP_ALL) else [shrinker]
    # Tiles are of a phase, grids of all.
    shapes += [ruler.phase] if isinstance(ruler.pixels, Tiles) and ruler.pixels.by_phase else []
    # Sides without templates are as they were before there were any.
    shapes += [ruler.templates] if ruler.templates.instructions else []
    settings = [FORMAT, index.fingerprint, tokenizer, probe, shapes, ruler.pixels]
    return f"{fingerprint(settings)[:16]}.parquet"


def ensure_lengths(path: Path, index: ShardIndex, ruler: Ruler, progress: Progress) -> Lengths:
    """The table of a file, made first if it is missing or damaged. It appears whole or not at all.

    It is made of parts; those that are there already, from a count that was ended or from slices, are not counted again.
    """
    try:
        return read_lengths(path, len(index))
    except DataError as error:
        if path.exists():
            logger.warning("%s", error)
    measure_parts(path, index, ruler, progress)
    folder = parts_folder(path)
    with atomic_file(path) as aside, pq.ParquetWriter(aside, SCHEMA) as writer:
        for part in part_rows(len(index)):
            writer.write_table(pq.read_table(folder / part_name(part), schema=SCHEMA))
    shutil.rmtree(folder)
    return read_lengths(path, len(index))


def warn_of_counting(table: Path, num_rows: int) -> None:
    """Say that ranks are about to wait for a count that needs no GPU, where it takes a while."""
    if num_rows >= ROWS_A_PROCESS and not table.exists():
        logger.warning("tokens of %d rows are counted first, while all GPUs wait; crem measure does it beforehand", num_rows)


def measure_parts(
    path: Path, index: ShardIndex, ruler: Ruler, progress: Progress, *, slice_index: int = 0, num_slices: int = 1
) -> int:
    """Count the rows of the parts of a table that are missing, or of one slice of them; returns how many were counted.

    Slices may be made at the same time, on any machine that shares the folder.
    """
    folder, own = parts_folder(path), part_rows(len(index))[slice_index::num_slices]
    if _is_whole(path, len(index)):
        return 0
    folder.mkdir(parents=True, exist_ok=True)
    missing = [part for part in own if not _is_whole(folder / part_name(part), len(part))]
    begun, total, done = time.monotonic(), sum(map(len, own)), sum(map(len, own)) - sum(map(len, missing))
    pieces = measure(index, ruler, missing, processes=spare_processes(total - done))
    for part in missing:
        with atomic_file(folder / part_name(part)) as aside, pq.ParquetWriter(aside, SCHEMA) as writer:
            for rows in islice(pieces, num_pieces(part)):
                writer.write_table(pa.Table.from_pylist(rows, schema=SCHEMA))
                done += len(rows)
                progress(done, total)
    counted = sum(map(len, missing))
    logger.info("tokens of %d rows counted in %.0f s: %s", counted, time.monotonic() - begun, path)
    return counted


def parts_folder(path: Path) -> Path:
    """Where the parts of a table wait until all are there."""
    return path.with_suffix(".parts")


def part_rows(num_rows: int) -> list[range]:
    """The rows of each part of a table."""
    return [range(first, min(first + PART_ROWS, num_rows)) for first in range(0, num_rows, PART_ROWS)]


def part_name(part: range) -> str:
    """File name of a part; it bears its rows, so that parts of another size are never taken for it."""
    return f"{part.start:09d}-{part.stop:09d}.parquet"


def num_pieces(part: range) -> int:
    """In how many pieces a part is counted."""
    return -(-len(part) // PIECE_ROWS)


def _is_whole(file: Path, num_rows: int) -> bool:
    """Whether a part is there and can be read to its end."""
    try:
        return file.exists() and len(read_lengths(file, num_rows)) == num_rows
    except DataError:
        return False


def measure(index: ShardIndex, ruler: Ruler, parts: Sequence[range], *, processes: int) -> Iterator[list[dict[str, Any]]]:
    """Rows of some parts of the table in order, piece by piece; 0 processes: all in this one.

    Raises DataError for a damaged shard.
    """
    loader = DataLoader(
        _Pieces(index, ruler, parts),
        batch_size=None,
        num_workers=processes,
        collate_fn=_as_it_is,
        worker_init_fn=lambda _: leave_to_parent(),
    )
    for piece in loader:
        if isinstance(piece, PipelineError):
            raise piece
        yield piece


def spare_processes(num_rows: int) -> int:
    """How many processes count so many rows: one a core that this process may use, as far as each has enough to do."""
    processes = min(len(os.sched_getaffinity(0)), num_rows // ROWS_A_PROCESS)
    return processes if processes > 1 else 0


class _Pieces(Dataset[list[dict[str, Any]] | PipelineError]):
    """The rows of parts in pieces; an error comes back as a value, since a process cannot raise it whole."""

    def __init__(self, index: ShardIndex, ruler: Ruler, parts: Sequence[range]) -> None:
        self.index, self.ruler = index, ruler
        self.pieces = [part[first : first + PIECE_ROWS] for part in parts for first in range(0, len(part), PIECE_ROWS)]

    def __len__(self) -> int:
        return len(self.pieces)

    def __getitem__(self, number: int) -> list[dict[str, Any]] | PipelineError:
        try:
            return [self.ruler.row(self.index, row) for row in self.pieces[number]]
        except PipelineError as error:
            return error


def _as_it_is(piece: Any) -> Any:
    return piece


def _take(sizes: Iterator[tuple[int, int]], count: int) -> list[tuple[int, int]]:
    return [next(sizes) for _ in range(count)]
