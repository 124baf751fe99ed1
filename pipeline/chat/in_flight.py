"""How many requests an endpoint holds at once, found while it is asked: additive increase, multiplicative decrease.

As TCP does, it doubles first (slow start) and then grows by one a round, a round being about as many answers as the limit; by
two, four and so on in rounds after one another that show no queue, unless the server has ever refused more. It goes down at once
when the server says that it has too much to do. Latency alone tells little: a server that batches gets slower with every request
it holds, and does more in all. So latency well over the least one seen is a reason to try a lower limit, and the rate (by
Little's law limit / latency) says whether that costs answers: then it goes back, else there had been a queue.
"""

from dataclasses import dataclass

_FIRST, _MOST = 8.0, 1024
_SHRINK_FIRST, _SHRINK = 0.5, 0.85
"""Of the slow start's overshoot a half stays; later so much that the saw tooth has 92 % of what a server takes."""
_QUEUED = 1.5
"""A round's latency over the least one, from which on a queue is looked for."""
_DOUBLED_GAIN = 1.1
"""The rate over the round before that shows more work done after doubling."""
_MOST_GROWTH = 0.25
"""Of the limit, in a round behind the slow start."""
_COSTLY = 1 - (1 - _SHRINK) / 3
"""The rate under a lower limit over the rate before, below which the requests taken away were no queue."""
_LEAST_ANSWERS = 16
"""Of a round behind the slow start: a mean of fewer latencies says nothing."""


@dataclass(slots=True)
class InFlightLimit:
    """The limit of one endpoint, `most` at most. Times are seconds of one clock."""

    value: float = _FIRST
    most: int = _MOST
    is_slow_start: bool = True
    _since: float = 0.0
    _answers: int = 0
    _seconds: float = 0.0
    _was_full: bool = False
    _last_rate: float = 0.0
    _least_latency: float = float("inf")
    _before_trial: tuple[float, float] | None = None
    _next_trial: float = 0.0
    _growth: float = 1.0
    _is_bounded: bool = False

    @property
    def slots(self) -> int:
        """Requests that may be in flight."""
        return min(int(self.value), self.most)

    def answered(self, begun: float, now: float, *, is_full: bool) -> None:
        """Note an answer to a request that was sent at `begun`. `is_full`: as many as allowed were in flight."""
        if begun < self._since:
            return  # sent under another limit
        self._answers, self._seconds = self._answers + 1, self._seconds + now - begun
        self._was_full |= is_full
        if self._answers >= (self.slots if self.is_slow_start else max(self.slots, _LEAST_ANSWERS)):
            self._end_round(now)

    def overloaded(self, begun: float, now: float) -> None:
        """Note that the server had too much to do with a request sent at `begun`. One round lowers the limit once."""
        if begun >= self._since:
            factor = _SHRINK_FIRST if self.is_slow_start else _SHRINK
            self.is_slow_start, self._before_trial = False, None
            self._growth, self._is_bounded = 1.0, True
            self._begin_round(self.value * factor, now)

    def _end_round(self, now: float) -> None:
        """Choose the next limit; without more than it allows to ask, nothing was learnt."""
        latency = max(self._seconds / self._answers, 1e-6)
        rate, self._least_latency = self.value / latency, min(latency, self._least_latency)
        if not self._was_full:
            value = self.value
        elif self.is_slow_start:
            value = self._doubled(rate, latency)
        else:
            value = self._grown_or_tried(rate, latency)
        self._last_rate = rate
        self._begin_round(value, now)

    def _doubled(self, rate: float, latency: float) -> float:
        if latency <= _QUEUED * self._least_latency or rate >= _DOUBLED_GAIN * self._last_rate:
            return self.value * 2
        self.is_slow_start = False
        return self.value * _SHRINK_FIRST

    def _grown_or_tried(self, rate: float, latency: float) -> float:
        """Some more; the limit before, if a lower one has cost answers; or a lower one, to try whether it does."""
        trial, self._before_trial = self._before_trial, None
        if trial is not None:
            value, rate_before = trial
            if rate < _COSTLY * rate_before:
                self._next_trial = value / _SHRINK
                return value
            self._next_trial = 0.0
        if latency > _QUEUED * self._least_latency and self.value >= self._next_trial:
            self._before_trial, self._growth = (self.value, rate), 1.0
            return self.value * _SHRINK
        return self.value + self._grown()

    def _grown(self) -> float:
        """What a round adds; the next one twice as much where nothing has shown a bound."""
        growth = self._growth
        if not self._is_bounded:
            self._growth = min(2 * growth, max(_MOST_GROWTH * self.value, 1.0))
        return growth

    def _begin_round(self, value: float, now: float) -> None:
        self.value = min(max(value, 1.0), self.most)
        self._since, self._answers, self._seconds, self._was_full = now, 0, 0.0, False
