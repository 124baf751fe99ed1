"""What a file of conversations holds, row by row as the conversion would judge it, without opening a picture."""

from collections import Counter
from dataclasses import dataclass

from pipeline.data import sharegpt4v
from pipeline.data.json_array import read_array
from pipeline.data.picture_count import Mentions, PictureCount
from pipeline.data.pictures import find_pictures
from pipeline.data.reject import RowError
from pipeline.data.shard_summary import plain_reason
from pipeline.data.sharegpt4v_release import ConversationFile


@dataclass(frozen=True, slots=True, kw_only=True)
class Rejected:
    """Rows that are rejected for one reason, and what is said of the first of them."""

    count: int
    row: int
    reason: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Survey:
    """Rows by what becomes of them; those whose picture is missing stand among the sources, not among `rejected`.

    A source of pictures is the first folder of their paths.
    """

    rows: int
    with_picture: int
    text_only: int
    rejected: tuple[Rejected, ...]
    sources: tuple[PictureCount, ...]

    @property
    def missing(self) -> list[PictureCount]:
        """Sources that lack pictures."""
        return [source for source in self.sources if source.missing]


def survey(talks: ConversationFile) -> Survey:
    """One pass over a file. Raises DataError for a file whose rows cannot be told apart, or a zip that is none."""
    looker, seen = _Looker(talks), Counter[str]()
    firsts: dict[str, tuple[int, str]] = {}
    reasons = Counter[str]()
    for number, row in enumerate(read_array(talks.path)):
        seen["rows"] += 1
        looker.row = number
        try:
            side = sharegpt4v.conversation(row, looker.look, Counter())
        except _MissingError:
            continue
        except RowError as error:
            reason = plain_reason(str(error))
            reasons[reason] += 1
            firsts.setdefault(reason, (number, str(error)))
        else:
            seen["with picture" if side.images else "text only"] += 1
    return Survey(
        rows=seen["rows"],
        with_picture=seen["with picture"],
        text_only=seen["text only"],
        rejected=tuple(Rejected(count=count, row=firsts[why][0], reason=firsts[why][1]) for why, count in reasons.most_common()),
        sources=looker.counts(),
    )


class _MissingError(RowError):
    """A picture that is not there."""


class _Looker:
    """Stands where pictures are read: it looks whether they are there, and counts them by source."""

    def __init__(self, talks: ConversationFile) -> None:
        self._source = find_pictures(talks.images) if talks.images.exists() else None
        self._sources: dict[str, Mentions] = {}
        self.row = 0
        """Number of the row that is looked at."""

    def look(self, path: str) -> bytes:
        """No bytes, for a picture that is there. Raises _MissingError for one that is not."""
        is_there = self._source is not None and self._source.has(path)
        mentions = self._sources.setdefault(path.removeprefix("images/").partition("/")[0], Mentions())
        mentions.add(path, row=self.row, is_there=is_there)
        if not is_there:
            raise _MissingError(path)
        return b""

    def counts(self) -> tuple[PictureCount, ...]:
        """Pictures by source, sorted."""
        return tuple(mentions.count(source) for source, mentions in sorted(self._sources.items()))
