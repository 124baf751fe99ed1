"""Hard negatives: candidates that a pair brings beside the others' positives. One is a reference to a side, never a copy."""

from abc import ABC
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.ranges import check_least


class Negatives(ABC):
    """Which hard negatives a pair has. A subclass that is a frozen dataclass with a field `most` may stand in a phase."""

    __slots__ = ()

    most: int
    """Of each pair, at most; a row that has fewer uses what it has."""


@dataclass(frozen=True, slots=True, kw_only=True)
class InFile(Negatives):
    """The first of those that the corpus itself gives a row."""

    most: int = 0

    def __post_init__(self) -> None:
        check_least(self, "negatives", most=0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Mined(Negatives):
    """Drawn at random from a window of ranks among all candidates of the dataset, by the model that the phase begins with.

    The query's own positives, candidates equal to one of them and the query itself have no rank. Magic-MM-Embedding, section on
    global hard negative mining: 2 of the ranks 50 to 100; the first ranks are left out because of false negatives.
    """

    most: int = 2
    first_rank: int = 50
    last_rank: int = 100

    def __post_init__(self) -> None:
        check_least(self, "negatives", most=1, first_rank=1, last_rank=1)
        if self.last_rank < self.first_rank:
            raise ConfigError(f"negatives.last_rank: {self.last_rank} is before negatives.first_rank = {self.first_rank}")
