"""Reading and downloading pictures ahead of the sending, on threads."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Self

from clipsearch.ingest.reasons import BadRecord
from clipsearch.ingest.records import Record

if TYPE_CHECKING:
    from clipsearch.fetch import Fetcher, FetchLimits

THREADS = 4
"""Threads that read files: enough to keep a disk busy. Downloads need one each, which only waits."""


@dataclass(frozen=True, slots=True)
class Skipped:
    """A picture of an item that goes without it."""

    name: str
    problem: BadRecord


@dataclass(frozen=True, slots=True, eq=False)
class Loaded:
    """A record with its encoded pictures and its stamp, taken before they were read; or the problem with it."""

    record: Record
    stamp: str | None
    pictures: tuple[bytes, ...] = ()
    skipped: tuple[Skipped, ...] = ()
    problem: BadRecord | None = None

    @property
    def size(self) -> int:
        """Bytes of the pictures."""
        return sum(map(len, self.pictures))


class Loader:
    """Loads the pictures of records. A context manager; what is still loading when it ends is given up."""

    def __init__(self, limits: "Callable[[], FetchLimits]", *, max_bytes: int, partial: bool, downloads: int) -> None:
        """``limits`` are asked for at the first URL, and no downloading library is needed before.

        ``max_bytes`` is the most that a picture may have. With ``partial``, an item goes without the pictures that
        cannot be had, as long as there is one. ``downloads`` is how many records may be waiting for URLs at once.
        """
        self._limits, self._max_bytes, self._partial = limits, max_bytes, partial
        self._pool = ThreadPoolExecutor(max(THREADS, downloads), thread_name_prefix="load")
        self._stack = ExitStack()
        self._fetcher: Fetcher | None = None
        self._making = Lock()
        self.room = max(THREADS, downloads)

    def start(self, record: Record, stamp: str | None) -> "Future[Loaded]":
        """Begin to load a record."""
        return self._pool.submit(self._load, record, stamp)

    def _load(self, record: Record, stamp: str | None) -> Loaded:
        pictures: list[bytes] = []
        skipped: list[Skipped] = []
        for picture in record.pictures:
            try:
                pictures.append(picture.read(self._fetch, self._max_bytes))
            except BadRecord as error:
                skipped.append(Skipped(picture.name, error))
        if skipped and not (self._partial and pictures):
            return Loaded(record, stamp, problem=skipped[0].problem)
        # Without one of its pictures it is not what its stamp says: the next run tries again.
        return Loaded(record, None if skipped else stamp, tuple(pictures), tuple(skipped))

    def _fetch(self, url: str) -> bytes:
        from clipsearch.fetch import FetchError

        try:
            return self._started().submit(url).result().content
        except FetchError as error:
            raise BadRecord(error.reason, error.message) from error

    def _started(self) -> "Fetcher":
        from clipsearch.fetch import Fetcher

        with self._making:
            if self._fetcher is None:
                self._fetcher = self._stack.enter_context(Fetcher(self._limits()))
            return self._fetcher

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The fetcher first: its end is what ends the threads that wait for it.
        self._pool.shutdown(wait=False, cancel_futures=True)
        self._stack.close()
        self._pool.shutdown(wait=True)
