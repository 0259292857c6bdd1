"""Reading files and downloading URLs ahead of the engine, in the order of the source."""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Self

from clipsearch.embed_job.items import Item, Problem, Url
from clipsearch.fetch import Fetcher, FetchError, FetchLimits

READERS = 4
AHEAD = 32
"""Items begun and not handed on. Each may be as large as the limit: this times that is the most held."""


class Loader:
    """Turns paths and URLs into the bytes of pictures, or into the problem of getting them. A context manager.

    A text or bytes pass through as they are. Threads and connections start with the first item that needs them.
    """

    def __init__(self, limits: FetchLimits) -> None:
        """Take the limits of downloads."""
        self._limits = limits
        self._stack = ExitStack()
        self._readers: ThreadPoolExecutor | None = None
        self._fetcher: Fetcher | None = None

    def loaded(self, items: Iterable[Item]) -> Iterator[Item]:
        """Yield the items, in order, with loaded contents."""
        ahead = max(AHEAD, 2 * self._limits.concurrency)
        waiting: deque[tuple[Item, Future[bytes] | None]] = deque()
        for item in items:
            waiting.append((item, self._begin(item)))
            if len(waiting) >= (ahead if isinstance(item.content, Url) else AHEAD):
                yield _loaded(*waiting.popleft())
        while waiting:
            yield _loaded(*waiting.popleft())

    def _begin(self, item: Item) -> "Future[bytes] | None":
        if isinstance(item.content, Path):
            if self._readers is None:
                self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="read")
                self._stack.callback(self._readers.shutdown, wait=True, cancel_futures=True)
            return self._readers.submit(item.content.read_bytes)
        if isinstance(item.content, Url):
            if self._fetcher is None:
                self._fetcher = self._stack.enter_context(Fetcher(self._limits))
            return self._fetcher.submit(item.content.text)
        return None

    def __enter__(self) -> Self:
        """Return the loader itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the threads; what is still being loaded is dropped."""
        self._stack.close()


def _loaded(item: Item, future: "Future[bytes] | None") -> Item:
    if future is None:
        return item
    try:
        content = future.result()
    except FetchError as error:
        return item._replace(content=Problem(error.reason, error.message))
    except OSError as error:
        return item._replace(content=Problem("FILE_UNREADABLE", f"the picture can't be read: {error.strerror}"))
    return item._replace(content=content)
