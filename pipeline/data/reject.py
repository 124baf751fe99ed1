"""What becomes of a row that cannot be used: it is counted and written down with its reason, never lost in silence."""

from dataclasses import dataclass


class RowError(Exception):
    """Why one row, or one picture of it, cannot be used. A reader turns it into a `Reject`; it never reaches a user."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Reject:
    """A row left out: the file it stands in, its number in that file (from 0), the key it would have had, and why."""

    source: str
    row: int
    key: str
    reason: str
