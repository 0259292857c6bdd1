"""The bookkeeping of many items, without I/O and for both clients: chunks, writes under way, window of streams."""

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from clipsearch.client.errors import ClientError, Internal
from clipsearch.client.types import Embedded
from clipsearch.v1 import catalogue_pb2

Key = TypeVar("Key")
_Message = TypeVar("_Message", bound=Message)
_Answer = TypeVar("_Answer")
_Call = TypeVar("_Call")
_UpsertChunk = list[catalogue_pb2.UpsertItem | ClientError]

_FRAME_BYTES = 6
"""Tag and length of a message inside another: one byte and at most five."""


class Chunker(Generic[_Message]):
    """Groups messages into chunks of at most ``max_items`` items and ``max_bytes`` bytes, in order.

    An error stands in for an item that has no message; it takes its place in the chunk and no bytes.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        if max_items < 1:
            raise ValueError(f"batch_size must be at least 1, not {max_items}")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._chunk: list[_Message | ClientError] = []
        self._items = 0
        self._bytes = 0

    def add(self, item: _Message | ClientError) -> list[_Message | ClientError]:
        """Take one item; returns the chunk that it did not fit into any more, or an empty list."""
        size = 0 if isinstance(item, ClientError) else item.ByteSize() + _FRAME_BYTES
        count = self._count(item)
        full: list[_Message | ClientError] = []
        if self._chunk and (self._items + count > self._max_items or self._bytes + size > self._max_bytes):
            full = self.rest()
        self._chunk.append(item)
        self._items += count
        self._bytes += size
        return full

    def chunks(self, items: Iterable[_Message | ClientError]) -> Iterator[list[_Message | ClientError]]:
        """Group an iterable, as lazily as the chunks allow."""
        for item in items:
            if chunk := self.add(item):
                yield chunk
        if chunk := self.rest():
            yield chunk

    def rest(self) -> list[_Message | ClientError]:
        """Return what is left, and start anew."""
        chunk, self._chunk, self._items, self._bytes = self._chunk, [], 0, 0
        return chunk

    def _count(self, item: _Message | ClientError) -> int:
        """Return how many items one counts as."""
        return 1


class UpsertChunker(Chunker[catalogue_pb2.UpsertItem]):
    """Groups items to write; each counts as many as its pictures, since that is what the server's limit counts.

    An item whose id is in the chunk already begins the next: the later one must win.
    """

    def __init__(self, max_items: int, max_bytes: int) -> None:
        super().__init__(max_items, max_bytes)
        self._ids: set[str] = set()

    def add(self, item: catalogue_pb2.UpsertItem | ClientError) -> _UpsertChunk:
        """Take one item, as ``Chunker.add``."""
        if isinstance(item, ClientError):
            return super().add(item)
        full = self.rest() if item.id in self._ids else []
        full = super().add(item) or full
        self._ids.add(item.id)
        return full

    def rest(self) -> _UpsertChunk:
        """Return what is left, and start anew."""
        self._ids.clear()
        return super().rest()

    def _count(self, item: catalogue_pb2.UpsertItem | ClientError) -> int:
        return 1 if isinstance(item, ClientError) else max(1, len(item.images.images))


class UnderWay(Generic[_Call]):
    """The chunks of ``upsert_many`` that wait for their answers, oldest first, each with its call; None without one.

    At most ``concurrency`` of them, and no two with an id in common: the server may finish them in any order, and the
    item that came last must win.
    """

    def __init__(self, concurrency: int) -> None:
        if concurrency < 1:
            raise ValueError(f"concurrency must be at least 1, not {concurrency}")
        self._concurrency = concurrency
        self._waiting: deque[tuple[_UpsertChunk, frozenset[str], _Call | None]] = deque()

    def __len__(self) -> int:
        """Return how many there are."""
        return len(self._waiting)

    def has_room_for(self, chunk: _UpsertChunk) -> bool:
        """Return whether a chunk may be sent now."""
        ids = _ids(chunk)
        return len(self._waiting) < self._concurrency and all(ids.isdisjoint(other) for _, other, _ in self._waiting)

    def add(self, chunk: _UpsertChunk, call: _Call | None) -> None:
        """Note a chunk that was sent."""
        self._waiting.append((chunk, _ids(chunk), call))

    def oldest(self) -> tuple[_UpsertChunk, _Call | None]:
        """Return the chunk whose answer is due next, and its call."""
        chunk, _, call = self._waiting[0]
        return chunk, call

    def drop_oldest(self) -> None:
        """Forget the oldest, which is answered."""
        self._waiting.popleft()

    def calls(self) -> Iterator[_Call]:
        """Iterate over the calls of those that are left."""
        return (call for _, _, call in self._waiting if call is not None)


def _ids(chunk: _UpsertChunk) -> frozenset[str]:
    return frozenset(item.id for item in messages(chunk))


def messages(chunk: Iterable[_Message | ClientError]) -> list[_Message]:
    """Return the messages of a chunk, without the errors that stand in for some."""
    return [item for item in chunk if not isinstance(item, ClientError)]


def merge(chunk: Sequence[_Message | ClientError], answers: Sequence[_Answer]) -> list[_Answer | ClientError]:
    """Put the answers to a chunk's messages in their places among its errors. Raises Internal if the number is off."""
    if len(answers) != len(messages(chunk)):
        raise Internal(
            f"the server gave {len(answers)} results for {len(messages(chunk))} items", code=grpc.StatusCode.INTERNAL
        )
    remaining = iter(answers)
    return [item if isinstance(item, ClientError) else next(remaining) for item in chunk]


class Window(Generic[Key]):
    """The items of a stream that were taken from the caller and not yet handed back, bounded by number and bytes.

    On the wire an item's name is its number in the stream: the caller's ids may repeat and may be of any type. With
    ``in_order``, answers are held until all earlier ones have been handed out; as held ones count, that is bounded too.
    """

    def __init__(self, max_items: int, max_bytes: int, in_order: bool) -> None:
        if max_items < 1:
            raise ValueError(f"window must be at least 1, not {max_items}")
        self._max_items = max_items
        self._max_bytes = max_bytes
        self._in_order = in_order
        self._next = 0
        # Insertion order is the order sent; a key leaves when its result is handed out.
        self._open: dict[int, tuple[Key, int]] = {}
        self._answered: dict[int, Embedded | ClientError] = {}
        self._bytes = 0

    def is_full(self) -> bool:
        """Return whether nothing more may be taken from the caller for now."""
        return len(self._open) >= self._max_items or self._bytes >= self._max_bytes

    def is_empty(self) -> bool:
        """Return whether everything taken has been handed back."""
        return not self._open

    def open(self, key: Key, size_bytes: int) -> str:
        """Take an item in; returns its name on the wire."""
        number = self._next
        self._next += 1
        self._open[number] = (key, size_bytes)
        self._bytes += size_bytes
        return str(number)

    def answer(self, name: str, result: Embedded | ClientError) -> list[tuple[Key, Embedded | ClientError]]:
        """Note an answer; returns what may be handed to the caller now. Raises Internal for a name not asked for."""
        number = int(name) if name.isdecimal() else -1
        if number not in self._open or number in self._answered:
            raise Internal(f"the server answered an item that was not sent: {name!r}", code=grpc.StatusCode.INTERNAL)
        self._answered[number] = result
        if not self._in_order:
            return [self._close(number)]
        ready = []
        while self._open and (first := next(iter(self._open))) in self._answered:
            ready.append(self._close(first))
        return ready

    def unanswered(self) -> tuple[Key, ...]:
        """Return the ids of items that were not handed back, in the order sent; answers held for their turn count."""
        return tuple(key for key, _ in self._open.values())

    def _close(self, number: int) -> tuple[Key, Embedded | ClientError]:
        key, size = self._open.pop(number)
        self._bytes -= size
        return key, self._answered.pop(number)
