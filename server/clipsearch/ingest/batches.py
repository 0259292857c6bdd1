"""Items gathered into batches, and the batches that are being written."""

from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import Self

from clipsearch.ingest.sending import Outgoing, Sender, Sent

MIB = 1 << 20


@dataclass(frozen=True, slots=True, kw_only=True)
class Bounds:
    """What may be under way: items and bytes of a batch, batches, and bytes of pictures in memory in all."""

    batch_items: int = 64
    batch_bytes: int = 8 * MIB
    concurrency: int = 4
    held_bytes: int = 64 * MIB


class Batches:
    """The batch that is being gathered and those under way. A context manager; at its end all have been answered."""

    def __init__(self, sender: Sender, bounds: Bounds, done: Callable[[Future[Sent]], None]) -> None:
        """``done`` is called with the future of each batch that was written, on another thread."""
        self._sender, self._bounds, self._done = sender, bounds, done
        self._gathered: list[Outgoing] = []
        self._items = self._bytes = 0
        self._under_way: dict[Future[Sent], list[Outgoing]] = {}
        self._pool = ThreadPoolExecutor(bounds.concurrency, thread_name_prefix="write")

    @property
    def under_way(self) -> int:
        """How many batches are being written."""
        return len(self._under_way)

    @property
    def are_full(self) -> bool:
        """Whether no other may begin now."""
        return len(self._under_way) >= self._bounds.concurrency

    def add(self, out: Outgoing) -> list[Outgoing]:
        """Take an item in; returns the batch that is full with it, or without it, or an empty list."""
        full: list[Outgoing] = []
        if self._items + out.count > self._bounds.batch_items or self._bytes + out.size > self._bounds.batch_bytes:
            full = self.rest()
        self._gathered.append(out)
        self._items += out.count
        self._bytes += out.size
        return full

    def rest(self) -> list[Outgoing]:
        """Return what is gathered, and start anew."""
        batch, self._gathered, self._items, self._bytes = self._gathered, [], 0, 0
        return batch

    def begin(self, batch: list[Outgoing]) -> None:
        """Begin to write a batch."""
        future = self._pool.submit(self._sender.send, batch)
        self._under_way[future] = batch
        future.add_done_callback(self._done)

    def finished(self, future: Future[Sent]) -> tuple[list[Outgoing], Sent]:
        """Return a batch that was written, and its answers; raises what it failed with."""
        batch = self._under_way.pop(future)
        return batch, future.result()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._pool.shutdown(wait=True)
