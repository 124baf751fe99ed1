"""Which rank the others wait for: each rank's own seconds of a step, held against those of all."""

import logging
from collections.abc import Mapping, Sequence
from statistics import median, median_low

logger = logging.getLogger(__name__)

FIRST_STEPS, STEPS = 10, 100
"""Steps of a run after which the slowest rank is named first, and then each time."""


class SlowestRank:
    """Names it in the log now and then, by the medians over the steps since it was last named. `hosts` are by rank."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._hosts, self._noted, self._due = hosts, list[Sequence[float]](), FIRST_STEPS

    def note(self, step: int, own: Sequence[float], *, says: bool) -> Mapping[str, float]:
        """The figures of step number `step` from all ranks' own seconds; nothing of a lone rank."""
        if len(own) == 1:
            return {}
        self._noted.append(own)
        if len(self._noted) == self._due:
            if says:
                logger.info("%s", self._line(step))
            self._noted, self._due = [], STEPS
        slowest = max(range(len(own)), key=own.__getitem__)
        return {"slowest_rank": float(slowest), "slowest_rank_seconds": own[slowest], "median_rank_seconds": median_low(own)}

    def _line(self, step: int) -> str:
        usual = [median(rank) for rank in zip(*self._noted, strict=True)]
        slowest, middle = max(range(len(usual)), key=usual.__getitem__), median_low(usual)
        times = f", {usual[slowest] / middle:.2f} times the ranks' median" if middle else ""
        first = step + 1 - len(self._noted)
        return (
            f"steps {first} to {step}: slowest is rank {slowest} on {self._hosts[slowest]}, "
            f"{usual[slowest]:.3f} s a step without waits for others{times}"
        )
