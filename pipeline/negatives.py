"""Hard negatives: candidates that a pair brings beside the others' positives. One is a reference to a side, never a copy."""

from abc import ABC
from dataclasses import dataclass

from pipeline.errors import ConfigError
from pipeline.ranges import check_least, check_once


class Negatives(ABC):
    """Which hard negatives a pair has. A subclass that is a frozen dataclass with a field `most` may stand in a phase."""

    __slots__ = ()

    most: int
    """Of each pair, at most; a row that has fewer uses what it has."""

    @property
    def mined(self) -> "Mined | None":
        """What a stage in front of the phase has to mine; None for what nobody mines."""
        return None


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

    @property
    def mined(self) -> "Mined":
        """Itself."""
        return self


@dataclass(frozen=True, slots=True, kw_only=True)
class Judged(Negatives):
    """Of the `top` ranks, mined as `Mined` does, the first `most` of which a judge says that they are no answer to the query.

    Magic-MM-Embedding, section on judged negatives: 12 of the first 20. Datasets of `exempt` are not judged: the first `most`
    ranks stand as they were mined.
    """

    most: int = 12
    top: int = 20
    exempt: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        check_least(self, "negatives", most=1, top=1)
        check_once("negatives.exempt", self.exempt)
        if self.most > self.top:
            raise ConfigError(f"negatives.most: {self.most} of the first negatives.top = {self.top} ranks; raise negatives.top")

    @property
    def mined(self) -> Mined:
        """All of the first ranks."""
        return Mined(most=self.top, first_rank=1, last_rank=self.top)
