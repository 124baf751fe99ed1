"""Makes the toy world: a data folder in the release layouts, small enough to train on without an accelerator.

Its pictures show up to four coloured shapes; see `scenes`. The data sets borrow MMEB's names, so that meta-tasks and the
IND/OOD split come from MMEB's own registry. Equal arguments give equal bytes.
"""

import logging
from collections.abc import Callable
from pathlib import Path

from data_prep.toy_captions import write_captions
from data_prep.toy_choices import write_choices
from data_prep.toy_conversations import write_conversations
from data_prep.toy_files import PictureBook, write_zip
from data_prep.toy_mmeb import write_eval, write_train
from data_prep.toy_tasks import TASKS
from pipeline.data.mmeb_eval import EVAL
from pipeline.errors import ConfigError, DataError

FACTS = "scene_facts.jsonl"
"""Beside the data layout: what every picture shows, for the stand-in teacher alone. Nothing that trains or scores may read it."""

INSTRUCTION_LAYOUT = "instruction-layout"
"""A data folder in the data folder: MMEB-eval once more, as MMEB-V2's image part has it."""

_logger = logging.getLogger(__name__)


def write_toy_world(
    out: Path,
    *,
    seed: int,
    train_rows: int,
    eval_rows: int,
    conversations: int,
    mcq_rows: int,
    times: int = 1,
    progress: Callable[[str], None] = _logger.info,
) -> dict[str, int]:
    """Fills `out`, a new or empty folder, and returns what was written, by name.

    `train_rows` and `eval_rows` count the rows of each data set, `conversations` the training rows (eval gets a tenth),
    `mcq_rows` the rows of each benchmark. Pictures are `times` as wide and high as drawn.
    `progress` gets a line after each part. Raises ConfigError for a size below one and DataError if `out` already holds files.
    """
    sizes = {"train_rows": train_rows, "eval_rows": eval_rows, "conversations": conversations, "mcq_rows": mcq_rows}
    _check(out, sizes)
    book = PictureBook(times)
    for name, task in TASKS.items():
        if task.is_trained:
            write_train(out / "MMEB-train", name, seed=seed, rows=train_rows, book=book)
            progress(f"MMEB-train/{name}: {train_rows} rows")
    _write_all_eval(out, seed=seed, rows=eval_rows, book=book)
    progress(f"MMEB-eval: {len(TASKS)} data sets of {eval_rows} rows")
    counts = write_conversations(out / "conversations", seed=seed, rows=conversations, book=book)
    progress(f"conversations: {counts['train']} train, {counts['eval']} eval rows")
    questions = write_choices(out / "mcq", seed=seed, rows=mcq_rows, book=book)
    progress(f"mcq: {questions}")
    captions = write_captions(out / "cross-domain", seed=seed, rows=eval_rows, book=book)
    progress(f"cross-domain: {captions}")
    book.write(out / FACTS)
    return {
        "train_pairs": train_rows * sum(task.is_trained for task in TASKS.values()),
        "eval_queries": eval_rows * len(TASKS),
        "train_conversations": counts["train"],
        "eval_conversations": counts["eval"],
        **questions,
        **captions,
        "pictures": len(book),
    }


def _write_all_eval(out: Path, *, seed: int, rows: int, book: PictureBook) -> None:
    """MMEB-eval in both its layouts, with the same pictures."""
    pictures: dict[str, bytes] = {}
    for name in TASKS:
        root, apart = out / EVAL, out / INSTRUCTION_LAYOUT / EVAL
        pictures |= write_eval(root, name, seed=seed, rows=rows, book=book, apart=apart)
    for folder in (out, out / INSTRUCTION_LAYOUT):
        write_zip(folder / EVAL / "images.zip", pictures)


def _check(out: Path, sizes: dict[str, int]) -> None:
    for name, size in sizes.items():
        if size < 1:
            raise ConfigError(f"toy world: {name} is {size}; it must be at least 1")
    if out.exists() and any(out.iterdir()):
        raise DataError(f"{out}: the toy world needs a new or empty folder; name another one or delete this one")
    out.mkdir(parents=True, exist_ok=True)
