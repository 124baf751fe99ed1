"""Rows that a step cannot read, such as one whose picture does not decode: left out, named in a file, and the end of a run that
meets too many.

The draw of a step does not know of them, so the order of the data stays what it was, and the same row fails again.
"""

import json
import logging
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from pipeline.errors import DataError
from pipeline.train.metrics_log import lines_until

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """One side of a row that could not be read, and why."""

    key: str
    side: str
    shard: str
    reason: str


class UnreadableError(DataError):
    """Raised for a side that cannot be read; `found` says which, and may be left out."""

    def __init__(self, found: Unreadable) -> None:
        super().__init__(f"{found.shard}: {found.reason}")
        self.found = found


class UnreadableRows:
    """The rows that could not be read so far, in a file of one JSON line for each time that one was met.

    `limit` is the share of the `num_rows` rows of the corpus that may be so. A resumed run knows those of the steps before it.
    """

    def __init__(self, file: Path, limit: float, num_rows: int, *, step: int) -> None:
        self.file, self.limit, self.num_rows = file, limit, num_rows
        self.keys = {json.loads(line)["key"] for line in lines_until(file, step)}

    def note(self, step: int, found: Sequence[Unreadable], *, writes: bool) -> None:
        """Take note of what no rank could read at a step, from 1 on. Raises DataError, on all ranks, where they are too many."""
        if writes:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            with self.file.open("a", encoding="utf-8") as file:
                file.writelines(json.dumps({"step": step, **asdict(side)}) + "\n" for side in found)
            for side in found:
                logger.warning("step %d: left out, %s: %s", step, side.shard, side.reason)
        self.keys |= {side.key for side in found}
        if len(self.keys) > self.limit * self.num_rows:
            raise DataError(
                f"step {step}: {len(self.keys)} of {self.num_rows} rows could not be read, more than phase.max_unreadable = "
                f"{self.limit:g} of them; last {found[-1].shard}: {found[-1].reason}; all are listed in {self.file}"
            )
