"""The bookkeeping of many items, shared by both clients as it does no I/O: chunks of batches, window of streams."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Generic, TypeVar

import grpc
from google.protobuf.message import Message

from clipsearch.client.errors import ClientError, Internal
from clipsearch.client.types import Embedded

Key = TypeVar("Key")
_Message = TypeVar("_Message", bound=Message)
_Answer = TypeVar("_Answer")

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
        self._bytes = 0

    def add(self, item: _Message | ClientError) -> list[_Message | ClientError]:
        """Take one item; returns the chunk that it did not fit into any more, or an empty list."""
        size = 0 if isinstance(item, ClientError) else item.ByteSize() + _FRAME_BYTES
        full: list[_Message | ClientError] = []
        if self._chunk and (len(self._chunk) >= self._max_items or self._bytes + size > self._max_bytes):
            full = self.rest()
        self._chunk.append(item)
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
        chunk, self._chunk, self._bytes = self._chunk, [], 0
        return chunk


_FRAME_BYTES = 6
"""Tag and length of a message inside another: one byte and at most five."""


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
