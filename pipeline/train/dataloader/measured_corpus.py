"""A corpus as training reads it: with the lengths of its rows, and a word about those that pass the cap."""

import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from pipeline.data.qa import QaTable
from pipeline.data.shards import ShardIndex
from pipeline.recipe import Recipe
from pipeline.sequence import SequenceBuilder, Vocabulary, native_layout
from pipeline.train.dataloader.corpus import Corpus
from pipeline.train.dataloader.lengths import Lengths, write_left_out
from pipeline.train.dataloader.token_counts import ROWS_A_PROCESS, Ruler, ensure_lengths, table_name

logger = logging.getLogger(__name__)


def lengths_file(folder: Path, index: ShardIndex, ruler: Ruler, model: Path) -> Path:
    """The table of the rows' lengths, in the folder that keeps such tables."""
    return folder / table_name(index, ruler, model)


def ruler_of(recipe: Recipe, vocabulary: Vocabulary) -> Ruler:
    """What counts the tokens of a recipe's rows."""
    builder = SequenceBuilder(vocabulary=vocabulary, layout=recipe.phase.layout, max_length=recipe.max_length)
    # Within a chat the native form lacks the compression tokens and nothing else, so it is never the longer one.
    is_longer = recipe.phase.layout.template != "chat" and recipe.phase.mixture.native_share > 0
    native = replace(builder, layout=native_layout(recipe.phase.layout)) if is_longer else None
    return Ruler(builder=builder, pixels=recipe.pixels, native=native)


def measured(index: ShardIndex, qa: QaTable, ruler: Ruler, table: Path, progress: Callable[[int, int, str], None]) -> Corpus:
    """The corpus with its table of lengths, which is made if need be."""
    lengths = ensure_lengths(table, index, ruler, lambda done, total: progress(done, total, "rows measured"))
    return Corpus(index=index, qa=qa, lengths=lengths)


def warn_of_counting(table: Path, num_rows: int) -> None:
    """Say that ranks are about to wait for a count that needs no GPU, where it takes a while."""
    if num_rows >= ROWS_A_PROCESS and not table.exists():
        logger.warning("tokens of %d rows are counted first, while all GPUs wait; crem measure does it beforehand", num_rows)


def count_left_out(lengths: Lengths, table: Path, cap: int) -> dict[str, int]:
    """Count and list the rows that pass the cap; returns what is worth noting."""
    count = int((~lengths.fits(cap)).sum())
    listed = table.with_name(f"{table.stem}-over-{cap}.jsonl")
    if write_left_out(listed, table, lengths, cap):
        message = "%d of %d rows are left out, most for passing max_length = %d; they are listed, with hard negatives, in %s"
        logger.warning(message, count, len(lengths), cap, listed)
    return {"rows": len(lengths), "rows_over_max_length": count}
