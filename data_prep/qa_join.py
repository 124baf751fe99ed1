"""The second half of a synthesis: what has been answered becomes side files in row order, and what has not becomes rejects.

Nothing is held but one row: every side's script is followed again with what the journal has. The filters judge here, so that an
old journal is cleaned as it is joined.
"""

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TextIO

from data_prep.qa_counts import Counts, listed
from data_prep.qa_kinds import Kind
from data_prep.qa_script import Failure
from data_prep.qa_teacher import Teacher, follow, outcome_of
from pipeline.chat import Journal
from pipeline.data.atomic_write import atomic_file
from pipeline.data.keys import source_row
from pipeline.data.qa import QaEntry, QaTable, kind_folder, shares_text, write_qa
from pipeline.data.reject import Reject
from pipeline.data.shards import ShardIndex
from pipeline.roles import RECONSTRUCT_TEXT
from pipeline.sample import Sample, Side, Turn

logger = logging.getLogger(__name__)

Progress = Callable[[int, int, str], None]
"""Called with (rows done, rows in all, their dataset)."""

REJECTS_NAME = "rejects.jsonl"
VOID = Failure("void", "neither picture nor text")


def pair_datasets(index: ShardIndex) -> dict[str, range]:
    """The rows of each dataset of pairs, by name."""
    return {name: rows for name, rows in sorted(index.datasets.items()) if index.kind(name) == "pairs"}


class Join:
    """One pass over the corpus, dataset by dataset."""

    def __init__(self, index: ShardIndex, out: Path, kind: Kind, *, teacher: Teacher | None, journal: Journal) -> None:
        self._index, self._out, self._kind, self._teacher, self._journal = index, out, kind, teacher, journal
        self.counts = Counts()

    @property
    def rejects_path(self) -> Path:
        """Where sides without a turn are listed with their reasons."""
        return kind_folder(self._out, self._kind.name) / REJECTS_NAME

    def run(self, progress: Progress) -> Counts:
        """Write the side file of every dataset of pairs, and the rejects."""
        datasets = pair_datasets(self._index)
        done, total = 0, sum(map(len, datasets.values()))
        table = QaTable(kind_folder(self._out, self._kind.name), self._kind.name)
        with atomic_file(self.rejects_path) as path, path.open("w", encoding="utf-8") as rejects:
            for name, rows in datasets.items():
                before = Counts(read=self.counts.read, reasons=Counter(self.counts.reasons))

                def entries(rows: range = rows, name: str = name, done: int = done) -> Iterator[QaEntry]:
                    for number, row in enumerate(rows, start=done + 1):
                        yield self._entry(self._index.read(row), rejects)
                        progress(number, total, name)

                write_qa(entries(), self._out, dataset=name, kind=self._kind.name)
                done += len(rows)
                self._say_rejected(name, before)
                logger.info("%s: sides with %s: %s", name, self._kind.name, shares_text(table.shares(name)))
        if self.counts.unmarked:
            logger.warning(
                "%d sides are described by answers without finish_reason: any that was cut short cannot be told, and is learnt",
                self.counts.unmarked,
            )
        return self.counts

    def _say_rejected(self, dataset: str, before: Counts) -> None:
        if rejected := self.counts.reasons - before.reasons:
            sides = self.counts.read - before.read
            logger.warning("%s: %d of %d sides get no question: %s", dataset, rejected.total(), sides, listed(rejected))

    def _entry(self, sample: Sample, rejects: TextIO) -> QaEntry:
        sides = []
        for number, side in enumerate(self._kind.sides(sample)):
            turns = self._turns(side)
            if isinstance(turns, Failure):
                self.counts.rejected += 1
                self.counts.reasons[turns.kind] += 1
                reason = f"{side_name(number)}: {turns.reason}"
                reject = Reject(source=sample.dataset, row=source_row(sample.key), key=sample.key, reason=reason)
                rejects.write(json.dumps(asdict(reject)) + "\n")
            sides.append(() if isinstance(turns, Failure) else turns)
        query, positive, *negatives = sides
        return QaEntry(key=sample.key, query=query, positive=positive, negatives=tuple(negatives))

    def _turns(self, side: Side) -> tuple[Turn, ...] | Failure:
        """The turns of a side, or why it has none that it could have; counted but for the latter."""
        if side.is_text_only:
            return self._reconstructed(side.text) if self._kind.texts else ()
        self.counts.read += 1
        if self._teacher is None:
            self.counts.skipped += 1
            return ()
        script = outcome_of(side, self._kind, model=self._teacher.model, sampling=self._teacher.sampling(self._kind))
        outcome = follow(script, self._journal)
        if isinstance(outcome, Failure):
            return outcome
        self.counts.described += 1
        self.counts.unmarked += outcome.unmarked
        self.counts.lengths[len(outcome.turns)] += 1
        self.counts.left_out.update(outcome.left_out)
        return outcome.turns

    def _reconstructed(self, text: str) -> tuple[Turn, ...] | Failure:
        """A side without pictures is asked for its own text, which needs no model."""
        self.counts.read += 1
        if not text.strip():
            return VOID
        self.counts.reconstructed += 1
        return (Turn(question=RECONSTRUCT_TEXT, answer=text),)


def side_name(number: int) -> str:
    """What a side of a sample is called, by its place."""
    return ("query", "positive")[number] if number < 2 else f"negative_{number - 2}"
