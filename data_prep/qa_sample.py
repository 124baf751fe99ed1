"""A few sides are asked about for real before a large synthesis: what they say, and what the rest will take.

The answers go into the journal: the large run does not ask for them again.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from data_prep.qa_join import pair_datasets, side_name
from data_prep.qa_kinds import Kind
from data_prep.qa_script import Failure, Told
from data_prep.qa_teacher import JOURNAL_NAME, Teacher, journals_beside, outcome_of
from pipeline.chat import Answer, Failed, Journal, Script
from pipeline.data.qa import kind_folder
from pipeline.data.shards import ShardIndex
from pipeline.errors import ServiceError
from pipeline.sample import Side

Progress = Callable[[int, int, str], None]
_MOST_KEPT = 100_000
_ROWS_LOOKED_AT = 4
"""Rows read for each side that is wanted, at first: some have no picture, or one that was chosen already."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """A side that was asked about, and what became of it; `tokens` are those of its requests and of their answers."""

    where: str
    side: Side
    requests: int
    tokens: tuple[int, int]
    outcome: Told | Failure


@dataclass(frozen=True, slots=True, kw_only=True)
class Sample:
    """Sides asked about, and the requests a second that were answered meanwhile (0: all had been answered before)."""

    asked: tuple[Asked, ...]
    rate: float

    @property
    def requests(self) -> float:
        """Requests that a side takes, in the mean."""
        return sum(one.requests for one in self.asked) / len(self.asked)

    def tokens(self, place: int) -> float:
        """Tokens that a side takes in the mean, of requests (0) or of answers (1)."""
        return sum(one.tokens[place] for one in self.asked) / len(self.asked)


@dataclass(slots=True)
class Distinct:
    """About how many different keys were added, in flat memory: above a number of them only a half, a quarter ... is kept.

    Which half is by the key itself, so that a key counts once however often it comes (Wegman's adaptive sampling). Exact up to
    `most`, then to about 1 / sqrt(most).
    """

    most: int = _MOST_KEPT
    _limit: int = 1 << 60
    _kept: set[int] = field(default_factory=set)

    def add(self, key: str) -> None:
        """Note a key of hexadecimal digits."""
        value = int(key[:15], 16)
        if value < self._limit:
            self._kept.add(value)
            while len(self._kept) > self.most:
                self._limit //= 2
                self._kept = {one for one in self._kept if one < self._limit}

    @property
    def count(self) -> int:
        """The number."""
        return len(self._kept) * ((1 << 60) // self._limit)


def take_sample(shards: Path, out: Path, count: int, *, teacher: Teacher, kind: Kind) -> Sample:
    """Ask about `count` sides with pictures, spread over datasets and their rows. Raises as `synthesize`."""
    index, place = ShardIndex.open(shards), kind_folder(out, kind.name)
    with Journal(place / JOURNAL_NAME, beside=journals_beside(place)) as journal, teacher.asker(kind, journal) as asker:
        begun = time.monotonic()
        asked = tuple(
            asker.run(_followed(where, side, kind, teacher) for where, side in _spread(index, kind, count, teacher.model))
        )
        seconds = time.monotonic() - begun
    if not asked:
        raise ServiceError(f"{shards}: no side of a pair that kind {kind.name} asks about has a picture")
    return Sample(asked=asked, rate=asker.totals.answers / max(seconds, 1e-6))


def sides_left(shards: Path, out: Path, *, teacher: Teacher, kind: Kind, progress: Progress) -> int:
    """About how many different sides have a first request that is not answered yet. All rows are read."""
    index, left, place = ShardIndex.open(shards), Distinct(), kind_folder(out, kind.name)
    datasets = pair_datasets(index)
    total, done, most = sum(map(len, datasets.values())), 0, teacher.sampling(kind).max_tokens
    with Journal(place / JOURNAL_NAME, beside=journals_beside(place)) as journal:
        for name, rows in datasets.items():
            for row in rows:
                for side in kind.sides(index.read(row)):
                    if not side.is_text_only and journal.known(key := _key(side, kind, teacher.model), most) is None:
                        left.add(key)
                done += 1
                progress(done, total, f"counting: {name}")
    return left.count


def forecast(sample: Sample, sides: int, price: tuple[float, float] | None) -> Iterator[str]:
    """Lines that say what so many sides more will take, by the sample. `price` is that of a million tokens in, and out."""
    requests = sides * sample.requests
    tokens = [sides * sample.tokens(place) for place in (0, 1)]
    lost = sum(isinstance(one.outcome, Failure) for one in sample.asked)
    yield f"asked for real: {len(sample.asked)} sides, {lost} without an answer to learn; {sample.requests:.2f} requests each"
    said = f"{tokens[0]:,.0f} tokens in and {tokens[1]:,.0f} out" if any(tokens) else "tokens unknown: the server does not tell"
    yield f"left: about {sides:,} different sides, {requests:,.0f} requests, {said}"
    if sample.rate:
        hours = requests / sample.rate / 3600
        yield f"{hours:.1f} hours at the {sample.rate:.2f} requests a second of this sample; a long run has more in flight"
    else:
        yield "hours unknown: all of the sample had been answered before"
    if price and any(tokens):
        cost = sum(each * count for each, count in zip(price, tokens, strict=True)) / 1e6
        yield f"cost: {cost:,.2f}, at {price[0]} and {price[1]} a million tokens"


def _spread(index: ShardIndex, kind: Kind, count: int, model: str) -> Iterator[tuple[str, Side]]:
    """Different sides with pictures, as many of each dataset as can be, from all over its rows.

    What a dataset cannot give is looked for in the others, in rows twice as close, until a look finds nothing new.
    """
    datasets, seen, left, looked_at = list(pair_datasets(index).items()), set[str](), count, _ROWS_LOOKED_AT
    while left:
        before = left
        for place, (name, rows) in enumerate(datasets):
            wanted = -(-left // (len(datasets) - place))
            step = max(len(rows) // max(wanted * looked_at, 1), 1)
            for where, side in _sides(index, kind, rows[::step]) if wanted else ():
                if (key := _key(side, kind, model)) not in seen:
                    seen.add(key)
                    wanted, left = wanted - 1, left - 1
                    yield f"{name}, {where}", side
                    if not wanted:
                        break
        if left == before:
            return
        looked_at *= 2


def _sides(index: ShardIndex, kind: Kind, rows: range) -> Iterator[tuple[str, Side]]:
    """The sides with pictures of rows, and where they stand."""
    for row in rows:
        sample = index.read(row)
        for number, side in enumerate(kind.sides(sample)):
            if not side.is_text_only:
                yield f"{sample.key}, {side_name(number)}", side


def _key(side: Side, kind: Kind, model: str) -> str:
    """The identity of a side's first request."""
    return next(kind.script(side)).identity(model)


def _followed(where: str, side: Side, kind: Kind, teacher: Teacher) -> Script[Asked]:
    """A side's script, its requests counted."""
    script = outcome_of(side, kind, model=teacher.model, sampling=teacher.sampling(kind))
    answer: Answer | Failed | None = None
    requests, tokens = 0, [0, 0]
    while True:
        try:
            request = next(script) if answer is None else script.send(answer)
        except StopIteration as end:
            return Asked(where=where, side=side, requests=requests, tokens=(tokens[0], tokens[1]), outcome=end.value)
        answer = yield request
        requests += 1
        if isinstance(answer, Answer):
            tokens = [old + new for old, new in zip(tokens, answer.tokens, strict=True)]
