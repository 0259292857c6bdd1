"""Downloads on an event loop: their turns, redirects and retries.

Redirects are followed here rather than by aiohttp, because each step is checked. No proxy, no cookie and no password
is taken from the environment.
"""

import asyncio
import random
import ssl
from collections.abc import Awaitable, Callable
from types import TracebackType
from typing import Self
from weakref import WeakValueDictionary

import aiohttp
from yarl import URL

from clipsearch.fetch import errors
from clipsearch.fetch.addresses import AddressRule, CheckedResolver, LookUp, look_up
from clipsearch.fetch.body import read_body, too_large
from clipsearch.fetch.failures import told_apart
from clipsearch.fetch.limits import FetchLimits
from clipsearch.fetch.retry import retry_after, wait_before
from clipsearch.fetch.urls import masked, parse, redirected

_REDIRECTS = {301, 302, 303, 307, 308}
_TRANSIENT = {429, 502, 503, 504}
_HEADERS = {"Accept": "image/*,*/*;q=0.5", "Accept-Encoding": "identity"}


class FetchSession:
    """The connections that downloads share, within their limits. An async context manager, on one event loop."""

    def __init__(
        self,
        limits: FetchLimits,
        *,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp = look_up,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take the limits; ``tls`` instead of the system's certificate authorities. Connects to nothing."""
        self._limits = limits
        self._tls = tls
        self._rule = AddressRule(limits)
        self._look_up = look_up
        self._sleep = sleep
        self._jitter = random.Random()
        self._turns = asyncio.Semaphore(limits.concurrency)
        # A host's semaphore lives as long as something waits for it or holds it: feeds name hosts without end.
        self._host_turns: WeakValueDictionary[URL, asyncio.Semaphore] = WeakValueDictionary()

    async def __aenter__(self) -> Self:
        """Open the session."""
        limits = self._limits
        connector = aiohttp.TCPConnector(
            limit=0,  # the semaphores count; this one would let waiting use up the time of a download
            limit_per_host=limits.per_host_concurrency,  # of the hosts that redirects lead to
            ssl=self._tls or ssl.create_default_context(),
            resolver=CheckedResolver(self._rule, self._look_up),
            socket_factory=self._rule.open_socket,
        )
        self._http = aiohttp.ClientSession(
            connector=connector,
            auto_decompress=False,
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=_HEADERS | {"User-Agent": limits.user_agent},
            timeout=aiohttp.ClientTimeout(sock_connect=limits.connect_timeout_s, sock_read=limits.read_timeout_s),
            trust_env=False,
        )
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the connections."""
        await self._http.close()

    async def fetch(self, text: str) -> bytes:
        """Return the content behind one URL, decompressed, when it is its turn; raises FetchError.

        A place is kept through the waits between tries: a host that asks for a pause gets one.
        """
        url = parse(text)
        host_turns = self._host_turns.setdefault(url.origin(), asyncio.Semaphore(self._limits.per_host_concurrency))
        # The host's first: what waits for a slow host must not keep a place from the others.
        async with host_turns, self._turns:
            try:
                async with asyncio.timeout(self._limits.total_timeout_s):
                    return await self._with_retries(url)
            except TimeoutError as error:
                limit = f"{self._limits.total_timeout_s:g} s"
                raise errors.TotalTimeExceeded(f"{masked(url)} was not downloaded within {limit}") from error

    async def _with_retries(self, url: URL) -> bytes:
        for attempt in range(1, self._limits.retries + 1):
            try:
                return await self._follow(url)
            except errors.FetchError as error:
                wait_s = wait_before(attempt, error.retry_after_s, self._jitter) if error.retryable else None
                if wait_s is None:
                    raise
            await self._sleep(wait_s)
        return await self._follow(url)

    async def _follow(self, url: URL) -> bytes:
        """Download once, along redirects."""
        for _ in range(self._limits.max_redirects + 1):
            answer = await self._get(url)
            if isinstance(answer, bytes):
                return answer
            url = answer
        raise errors.TooManyRedirects(
            f"{masked(url)} is the end of {self._limits.max_redirects} redirects, and no page"
        )

    async def _get(self, url: URL) -> bytes | URL:
        """Make one request; returns the content or where it redirects to."""
        try:
            async with self._http.get(url, allow_redirects=False) as response:
                if response.status in _REDIRECTS and (location := response.headers.get("Location")):
                    return redirected(url, location)
                self._check(url, response)
                encoding = response.headers.get("Content-Encoding", "")
                chunks = response.content.iter_any()
                return await read_body(chunks, encoding, self._limits.max_bytes, masked(url))
        except (aiohttp.ClientError, OSError) as error:
            raise told_apart(error, masked(url)) from error

    def _check(self, url: URL, response: aiohttp.ClientResponse) -> None:
        status = response.status
        if status in _TRANSIENT:
            pause = retry_after(response.headers.get("Retry-After"))
            raise errors.TransientStatus(f"{masked(url)} answers {_named(response)}", status, retry_after_s=pause)
        if status != 200:
            raise errors.HttpStatus(f"{masked(url)} answers {_named(response)}", status)
        if (length := response.content_length) is not None and length > self._limits.max_bytes:
            raise too_large(masked(url), self._limits.max_bytes)


def _named(response: aiohttp.ClientResponse) -> str:
    # The server's own words for the status are not shown: they may be anything.
    return f"HTTP status {response.status}"
