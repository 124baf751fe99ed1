"""Which endpoint is asked next: the one with most room. One that fails is set aside, and tried again with one request."""

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from pipeline.chat.address import checked_url
from pipeline.chat.in_flight import InFlightLimit
from pipeline.errors import ConfigError, EndpointSetupError, PipelineError

logger = logging.getLogger(__name__)

_FAILURES_IN_A_ROW = 3
"""So many, and an endpoint is set aside."""
_FIRST_ASIDE_SECONDS, _MOST_ASIDE_SECONDS = 0.5, 30.0


class EndpointList:
    """Addresses given one by one, or the lines of a file, which may change while they are asked. `#` begins a comment."""

    def __init__(self, urls: Sequence[str | Path]) -> None:
        """Raises ConfigError for an address that is none, DataError for a file that cannot be read, or none at all."""
        self._fixed = [checked_url(url) for url in urls if isinstance(url, str)]
        self._files = [url for url in urls if isinstance(url, Path)]
        self._states: list[tuple[int, int]] = []
        self.urls: list[str] = []
        self.refresh()
        if not self.urls:
            raise ConfigError("--url: no address; give one such as http://127.0.0.1:8000/v1, or a file that has one a line")

    def refresh(self) -> bool:
        """Read files that have changed. Returns whether there are other addresses now; raises as the constructor."""
        try:
            states = [(file.stat().st_mtime_ns, file.stat().st_size) for file in self._files]
            if self.urls and states == self._states:
                return False
            lines = [line.partition("#")[0].strip() for file in self._files for line in file.read_text("utf-8").splitlines()]
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"--url {self._files[0]}: neither an address nor a file of addresses ({error})") from error
        found = list(dict.fromkeys([*self._fixed, *(checked_url(line) for line in lines if line)]))
        changed, self.urls, self._states = found != self.urls, found, states
        return changed


@dataclass(slots=True, eq=False)
class Endpoint:
    """One address, what is in flight there and what is known of it. Times are of `time.monotonic`."""

    url: str
    limit: InFlightLimit = field(default_factory=InFlightLimit)
    in_flight: int = 0
    answered: int = 0
    refused: int = 0
    takes_plain: bool = False
    failures_in_a_row: int = 0
    closed_until: float = 0.0
    setup_error: EndpointSetupError | None = None
    is_listed: bool = True

    def room(self, now: float) -> int:
        """Requests that it may get now; one after failures, until it has answered again."""
        if not self.is_listed or now < self.closed_until:
            return 0
        return (1 if self.failures_in_a_row >= _FAILURES_IN_A_ROW else self.limit.slots) - self.in_flight

    def lives(self) -> None:
        """Note a reply that only a working endpoint gives."""
        if self.failures_in_a_row >= _FAILURES_IN_A_ROW:
            logger.info("%s: answers again", self.url)
        self.failures_in_a_row, self.setup_error = 0, None

    def failed(self, why: str) -> None:
        """Note a call without a reply; a row of them sets it aside for longer and longer, by chance a bit more or less."""
        self.failures_in_a_row += 1
        tries = self.failures_in_a_row - _FAILURES_IN_A_ROW
        if tries < 0:
            return
        seconds = min(_FIRST_ASIDE_SECONDS * 2.0 ** min(tries, 20), _MOST_ASIDE_SECONDS) * (0.75 + random.random() / 2)
        self.closed_until = time.monotonic() + seconds
        if not tries:
            logger.warning("%s: set aside after %d failures in a row (%s)", self.url, _FAILURES_IN_A_ROW, why)

    def waits(self, seconds: float) -> None:
        """Ask nothing for so long: the server's own wish."""
        self.closed_until = max(self.closed_until, time.monotonic() + seconds)

    def refuses(self, error: EndpointSetupError) -> None:
        """Note that it takes no request of this kind: another key, address or model name is needed."""
        if self.setup_error is None and not self.answered:
            logger.warning("%s: set aside (%s)", self.url, error)
        self.setup_error = error
        self.waits(_MOST_ASIDE_SECONDS)


class Endpoints:
    """Slots of several endpoints. All methods belong to one event loop; `window` may be read from another thread."""

    def __init__(self, addresses: EndpointList, *, most_in_flight: int | None = None) -> None:
        """At most so many requests at one endpoint; None: as many as it answers without a queue."""
        self._addresses = addresses
        self._limit = InFlightLimit() if most_in_flight is None else InFlightLimit(most=most_in_flight)
        self._all = {url: self._made(url) for url in addresses.urls}
        self._waiting: deque[asyncio.Future[Endpoint]] = deque()

    def __iter__(self) -> Iterator[Endpoint]:
        return iter(list(self._all.values()))

    @property
    def window(self) -> int:
        """Requests that may be under way, so that no slot waits for one: twice what is in flight, and a few."""
        return 2 * sum(endpoint.limit.slots for endpoint in self if endpoint.is_listed) + 8

    @property
    def in_flight(self) -> int:
        """Requests that are being answered."""
        return sum(endpoint.in_flight for endpoint in self)

    async def acquire(self) -> Endpoint:
        """Wait for a slot, first come first served."""
        waiter: asyncio.Future[Endpoint] = asyncio.get_running_loop().create_future()
        self._waiting.append(waiter)
        self.assign()
        return await waiter

    def release(self, endpoint: Endpoint) -> None:
        """Give a slot back."""
        endpoint.in_flight -= 1
        self.assign()

    def assign(self) -> None:
        """Give what is free to those who wait."""
        while self._waiting and (endpoint := self._freest()):
            waiter = self._waiting.popleft()
            if not waiter.done():
                endpoint.in_flight += 1
                waiter.set_result(endpoint)

    def refresh(self) -> None:
        """Follow the file of addresses: new ones are asked, those that are gone get nothing more. A bad file changes nothing."""
        try:
            changed = self._addresses.refresh()
        except PipelineError as error:
            logger.warning("%s; going on with the addresses known", error)
            return
        if not changed:
            return
        for url in self._addresses.urls:
            self._all.setdefault(url, self._made(url))
        for endpoint in self:
            endpoint.is_listed = endpoint.url in self._addresses.urls
        logger.info("endpoints are now %s", ", ".join(self._addresses.urls) or "none")

    def setup_error(self) -> EndpointSetupError | None:
        """Why no request will ever pass: no endpoint has answered and each has said so."""
        listed = [endpoint for endpoint in self if endpoint.is_listed]
        if any(endpoint.answered for endpoint in self) or not listed or not all(one.setup_error for one in listed):
            return None
        return EndpointSetupError("; ".join(f"{endpoint.url}: {endpoint.setup_error}" for endpoint in listed))

    def _made(self, url: str) -> Endpoint:
        return Endpoint(url, replace(self._limit))

    def _freest(self) -> Endpoint | None:
        """The endpoint with the largest free share of its limit."""
        now = time.monotonic()
        free = [endpoint for endpoint in self._all.values() if endpoint.room(now) > 0]
        return min(free, key=lambda endpoint: endpoint.in_flight / endpoint.limit.value, default=None)
