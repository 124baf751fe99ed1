"""One call of a chat endpoint over HTTP: the one door to aiohttp."""

from types import TracebackType

import aiohttp

from pipeline.chat.address import proxy_of
from pipeline.chat.reply import Answer, RetryableError, answer_in, status_error
from pipeline.errors import EndpointSetupError, RefusedError

_MAX_REPLY_BYTES = 8 << 20
_CONNECT_SECONDS = 10.0
_KEEP_SECONDS = 4.0
"""Less than the five seconds after which uvicorn closes an idle connection: a call must not meet one that is being closed."""


class Transport:
    """Connections to all endpoints, kept open between calls. Belongs to one event loop: make and close it there."""

    def __init__(self, *, timeout_seconds: float, api_key: str) -> None:
        """A call may take `timeout_seconds` in all. An empty key is none."""
        self._key, self._proxies = api_key, dict[str, str | None]()
        headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {self._key}"} if self._key else {})
        connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=_KEEP_SECONDS)
        limits = aiohttp.ClientTimeout(total=timeout_seconds, sock_connect=_CONNECT_SECONDS)
        self._session = aiohttp.ClientSession(
            connector=connector, headers=headers, timeout=limits, cookie_jar=aiohttp.DummyCookieJar()
        )

    async def __aenter__(self) -> "Transport":
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._session.close()

    async def call(self, url: str, body: bytes, *, max_tokens: int) -> Answer:
        """The answer to one call.

        Raises:
            RefusedError: this request will never pass (HTTP 4xx).
            EndpointSetupError: no request will pass: an unknown address or model, a wrong key, a redirect (none is followed, as
                the key must not travel to another host).
            RetryableError: no connection, a timeout, HTTP 5xx or 429, not the protocol.
        """
        try:
            async with self._session.post(
                f"{url}/chat/completions", data=body, proxy=self._proxy(url), allow_redirects=False
            ) as reply:
                raw = await _read(reply)
                status, retry_after = reply.status, reply.headers.get("Retry-After", "")
        except TimeoutError as error:
            raise RetryableError("no whole reply in time") from error
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise RetryableError(self._clean(f"{type(error).__name__}: {error}")) from None
        try:
            if status != 200:
                raise status_error(status, raw[:2000].decode("utf-8", "replace"), retry_after)
            return answer_in(raw, max_tokens)
        except (RefusedError, EndpointSetupError) as error:
            raise type(error)(self._clean(str(error))) from None
        except RetryableError as error:
            raise RetryableError(self._clean(str(error)), error.pause_seconds, is_busy=error.is_busy) from None

    def _proxy(self, url: str) -> str | None:
        """The proxy of an address, looked for once: the whole environment is read for it."""
        if url not in self._proxies:
            self._proxies[url] = proxy_of(url)
        return self._proxies[url]

    def _clean(self, words: str) -> str:
        """The words without the key: some servers repeat the header they refused."""
        return words.replace(self._key, "***") if self._key else words


async def _read(reply: aiohttp.ClientResponse) -> bytes:
    """The bytes of a reply. Raises ValueError for one that is too long."""
    pieces: list[bytes] = []
    size = 0
    async for piece in reply.content.iter_any():
        pieces.append(piece)
        size += len(piece)
        if size > _MAX_REPLY_BYTES:
            raise ValueError(f"reply longer than {_MAX_REPLY_BYTES} bytes")
    return b"".join(pieces)
