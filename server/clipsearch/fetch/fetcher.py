"""Downloads for code with threads: an event loop in a thread of its own, futures in the caller's."""

import asyncio
import ssl
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self

from clipsearch.fetch.addresses import LookUp, look_up
from clipsearch.fetch.limits import FetchLimits
from clipsearch.fetch.session import FetchSession

RESOLVERS = 16
"""Names looked up at once: the system's resolver blocks a thread for each."""


class Fetcher:
    """Downloads many URLs at once. A context manager; at its end, what still runs is cancelled.

    ``tls`` replaces the system's certificate authorities, ``look_up`` its resolver. May be used from any thread.
    """

    def __init__(
        self,
        limits: FetchLimits | None = None,
        *,
        tls: ssl.SSLContext | None = None,
        look_up: LookUp = look_up,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        """Take the limits; the thread starts with the context."""
        self.limits = limits or FetchLimits()
        self._session = FetchSession(self.limits, tls=tls, look_up=look_up, sleep=sleep)
        self._stop = asyncio.Event()
        self._started: Future[asyncio.AbstractEventLoop] = Future()
        self._thread = threading.Thread(target=self._run, name="clipsearch-fetch", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None  # while open
        # What was submitted before the end is on the loop before it hears of the end, and so is cancelled by it.
        self._lock = threading.Lock()

    def submit(self, url: str) -> "Future[bytes]":
        """Download a URL when it is its turn; the future holds its content or a FetchError. Cancelling it stops it.

        Nothing bounds how many wait, and finished ones hold their content: submit as many as you can use. Raises
        RuntimeError outside the context.
        """
        with self._lock:
            if self._loop is None:
                raise RuntimeError("the fetcher is not open")
            return asyncio.run_coroutine_threadsafe(self._session.fetch(url), self._loop)

    def __enter__(self) -> Self:
        """Start the thread. A fetcher is opened once."""
        self._thread.start()
        self._loop = self._started.result()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Cancel what runs, close the connections, end the thread."""
        with self._lock:
            loop, self._loop = self._loop, None
            if loop is not None:
                loop.call_soon_threadsafe(self._stop.set)
        self._thread.join()

    def _run(self) -> None:
        # Not asyncio.run: it waits for the threads of the resolver, which may hang for as long as name servers do.
        loop = asyncio.new_event_loop()
        loop.set_default_executor(ThreadPoolExecutor(RESOLVERS, thread_name_prefix="resolve"))
        try:
            loop.run_until_complete(self._serve())
            loop.run_until_complete(loop.shutdown_asyncgens())
        finally:
            loop.close()

    async def _serve(self) -> None:
        async with self._session:
            self._started.set_result(asyncio.get_running_loop())
            await self._stop.wait()
            running = asyncio.all_tasks() - {asyncio.current_task()}
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)


def fetch_one(
    url: str, limits: FetchLimits | None = None, *, tls: ssl.SSLContext | None = None, look_up: LookUp = look_up
) -> bytes:
    """Download one URL and wait for it; raises FetchError. For more than one, a Fetcher keeps the connections."""
    with Fetcher(limits, tls=tls, look_up=look_up) as fetcher:
        return fetcher.submit(url).result()
