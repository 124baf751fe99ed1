"""Sides of a benchmark that are made when they are asked for: of its pictures, those of one side are in memory at a time."""

import operator
import os
from bisect import bisect_right
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Generic, TypeVar, overload

from pipeline.data.picture_preparer import for_benchmarks
from pipeline.data.pictures import Pictures
from pipeline.data.reject import RowError
from pipeline.errors import DataError
from pipeline.sample import Side

Item = TypeVar("Item")


class Lazy(Sequence[Item], Generic[Item]):
    """`count` items, of which `make` makes each by its number, anew each time."""

    def __init__(self, count: int, make: Callable[[int], Item]) -> None:
        self._count, self._make = count, make

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, number: int) -> Item: ...
    @overload
    def __getitem__(self, number: slice) -> list[Item]: ...
    def __getitem__(self, number: int | slice) -> Item | list[Item]:
        """One of them, or a list. Raises DataError for a picture that is not what it was when the benchmark was checked."""
        numbers = range(self._count)[number]
        return self._make(numbers) if isinstance(numbers, int) else [self._make(each) for each in numbers]

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Sequence) and len(self) == len(other) and all(map(operator.eq, self, other))

    __hash__ = None  # type: ignore[assignment]


LazySides = Lazy[Side]


def mapped(function: Callable[[Side], Side], sides: Sequence[Side]) -> LazySides:
    """What a function makes of each side."""
    return LazySides(len(sides), lambda number: function(sides[number]))


def chained(*parts: Sequence[Side]) -> LazySides:
    """The sides of some sequences, one after another."""
    ends = list(accumulate(map(len, parts), initial=0))

    def made(number: int) -> Side:
        part = bisect_right(ends, number) - 1
        return parts[part][number - ends[part]]

    return LazySides(ends[-1], made)


class LatePictures:
    """Pictures of a benchmark that was checked, by their paths or as they stand in its table; not decoded where bytes stay.

    Every process opens its own archive: after a fork two would share the place that is read next.
    """

    def __init__(self, *places: Path) -> None:
        self._places = places
        self._opened: tuple[int, Pictures] | None = None

    def of(self, paths: Sequence[str]) -> Lazy[bytes]:
        """Those with these paths."""
        return Lazy(len(paths), lambda number: self.read(paths[number]))

    def read(self, picture: str | bytes) -> bytes:
        """The encoded file. Raises DataError where it is not there any more."""
        if self._opened is None or self._opened[0] != os.getpid():
            self._opened = os.getpid(), Pictures(*self._places, prepare=for_benchmarks(verify=False))
        try:
            return self._opened[1].of_row(picture)
        except RowError as error:
            raise DataError(f"{self._places[0].parent}: {error}; download the benchmark again") from error
