"""Which source rows a reader is asked for: a few ranges of a file that is read from front to back."""

from bisect import bisect_right
from collections.abc import Iterable
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class RowRanges:
    """Ranges of row numbers, in order and apart from each other; `EVERY_ROW` stands for all of a file."""

    ranges: tuple[range, ...]
    _stops: tuple[int, ...] = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_stops", tuple(rows.stop for rows in self.ranges))

    @classmethod
    def of(cls, ranges: Iterable[range]) -> "RowRanges":
        """The ranges that hold a row at all."""
        return cls(tuple(rows for rows in ranges if rows))

    def __contains__(self, row: int) -> bool:
        place = bisect_right(self._stops, row)
        return place < len(self.ranges) and row in self.ranges[place]

    def meet(self, rows: range) -> bool:
        """Whether any of some neighbouring rows is asked for."""
        place = bisect_right(self._stops, rows.start)
        return place < len(self.ranges) and self.ranges[place].start < rows.stop

    def begin_at(self, row: int) -> bool:
        """Whether a range begins with this row: nothing that a reader keeps may be carried over into it."""
        place = bisect_right(self._stops, row)
        return place < len(self.ranges) and row == self.ranges[place].start

    @property
    def stop(self) -> int:
        """No row from this one on is asked for."""
        return self._stops[-1] if self._stops else 0


EVERY_ROW = RowRanges((range(2**62),))
