"""Reading and downloading pictures ahead of the sending, on threads."""

from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import dataclass
from threading import Lock
from typing import Self

from clipsearch.fetch import Fetcher, FetchError, FetchLimits
from clipsearch.ingest.reasons import BadRecord
from clipsearch.ingest.records import Record, UrlPicture

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

    def __init__(self, limits: FetchLimits, *, partial: bool) -> None:
        """``limits`` are those of downloads; the most bytes that a picture may have hold for files too.

        With ``partial``, an item goes without the pictures that cannot be had, as long as there is one.
        """
        self.partial = partial
        self._limits = limits
        self._files = ThreadPoolExecutor(THREADS, thread_name_prefix="read")
        self._downloads = ThreadPoolExecutor(limits.concurrency, thread_name_prefix="download")
        self._stack = ExitStack()
        self._fetcher: Fetcher | None = None
        self._making = Lock()

    def room_for(self, record: Record) -> int:
        """Return how many records may be loading beside this one: as many as there are threads for it."""
        return self._limits.concurrency if downloads(record) else THREADS

    def start(self, record: Record, stamp: str | None) -> Future[Loaded]:
        """Begin to load a record."""
        return (self._downloads if downloads(record) else self._files).submit(self._load, record, stamp)

    def _load(self, record: Record, stamp: str | None) -> Loaded:
        pictures: list[bytes] = []
        skipped: list[Skipped] = []
        for picture in record.pictures:
            try:
                pictures.append(picture.read(self._fetch, self._limits.max_bytes))
            except BadRecord as error:
                skipped.append(Skipped(picture.name, error))
        if skipped and not (self.partial and pictures):
            return Loaded(record, stamp, problem=skipped[0].problem)
        # Without one of its pictures it is not what its stamp says: the next run tries again.
        return Loaded(record, None if skipped else stamp, tuple(pictures), tuple(skipped))

    def _fetch(self, url: str) -> bytes:
        try:
            return self._started().submit(url).result()
        except FetchError as error:
            raise BadRecord(error.reason, error.message) from error

    def _started(self) -> "Fetcher":
        with self._making:
            if self._fetcher is None:
                self._fetcher = self._stack.enter_context(Fetcher(self._limits))
            return self._fetcher

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        # The fetcher first: its end is what ends the threads that wait for it.
        pools = (self._files, self._downloads)
        for pool in pools:
            pool.shutdown(wait=False, cancel_futures=True)
        self._stack.close()
        for pool in pools:
            pool.shutdown(wait=True)


def downloads(record: Record) -> bool:
    """Return whether loading a record means downloading."""
    return any(isinstance(picture, UrlPicture) for picture in record.pictures)
